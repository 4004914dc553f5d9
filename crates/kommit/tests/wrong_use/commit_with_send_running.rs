//! A commit waits for nobody who still sends: a send that runs keeps the transaction from being committed.

use kommit::{Record, TransactionalProducer};

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    let send = transaction.send(Record::new("orders"));
    transaction.commit().await.unwrap();
    send.await.unwrap();
}

fn main() {}
