//! While a transaction is open, no second one can be begun.

use kommit::TransactionalProducer;

async fn transfer(mut producer: TransactionalProducer) {
    let first = producer.begin().await.unwrap();
    let second = producer.begin().await.unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
}

fn main() {}
