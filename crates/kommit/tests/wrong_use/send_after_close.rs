//! A closed producer takes nothing more.

use std::time::Duration;

use kommit::{Producer, Record};

async fn goodbye(producer: Producer) {
    producer.close(Duration::ZERO).await.unwrap();
    producer.send(Record::new("orders")).await.unwrap();
}

fn main() {}
