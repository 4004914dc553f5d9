//! A commit in doubt can be resolved, and not aborted.

use kommit::{CommitError, TransactionalProducer};

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    if let Err(CommitError::InDoubt(in_doubt)) = transaction.commit().await {
        in_doubt.abort().await.unwrap();
    }
}

fn main() {}
