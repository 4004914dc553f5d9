//! Behind a commit, records belong to the next transaction; the one that is committed takes none.

use kommit::{Record, TransactionalProducer};

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    let (next, outcome) = transaction.commit_and_begin().await.unwrap();
    transaction.send(Record::new("orders")).await.unwrap();
    outcome.await.unwrap();
    next.commit().await.unwrap();
}

fn main() {}
