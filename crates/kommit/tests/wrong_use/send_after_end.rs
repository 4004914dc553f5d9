//! After the end nothing can be sent.

use kommit::{Record, TransactionalProducer};

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    transaction.abort().await.unwrap();
    transaction.send(Record::new("orders")).await.unwrap();
}

fn main() {}
