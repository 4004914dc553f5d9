//! While a commit runs, nothing can be sent.

use kommit::{Record, TransactionalProducer};

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    let commit = transaction.commit();
    transaction.send(Record::new("orders")).await.unwrap();
    commit.await.unwrap();
}

fn main() {}
