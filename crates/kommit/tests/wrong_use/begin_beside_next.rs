//! The transaction that was begun behind a commit is the only one.

use kommit::TransactionalProducer;

async fn transfer(mut producer: TransactionalProducer) {
    let transaction = producer.begin().await.unwrap();
    let (next, outcome) = transaction.commit_and_begin().await.unwrap();
    let second = producer.begin().await.unwrap();
    outcome.await.unwrap();
    next.commit().await.unwrap();
    second.commit().await.unwrap();
}

fn main() {}
