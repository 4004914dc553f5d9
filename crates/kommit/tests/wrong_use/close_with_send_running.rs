//! A producer is not closed while a send waits.

use std::time::Duration;

use kommit::{Producer, Record};

async fn hasty(producer: Producer) {
    let sending = producer.send(Record::new("orders"));
    producer.close(Duration::ZERO).await.unwrap();
    sending.await.unwrap();
}

fn main() {}
