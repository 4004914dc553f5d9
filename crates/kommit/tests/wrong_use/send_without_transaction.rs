//! A transactional producer sends only inside a transaction.

use kommit::{Record, TransactionalProducer};

async fn transfer(producer: TransactionalProducer) {
    producer.send(Record::new("orders")).await.unwrap();
}

fn main() {}
