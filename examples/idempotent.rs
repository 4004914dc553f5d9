//! A thousand records from one task, each written once and in order within its partition.
//!
//! `cargo run -p kommit-examples --example idempotent [HOST:PORT]`; the topic `measurements` must exist there.

use std::error::Error;
use std::time::Duration;

use kommit::{Producer, ProducerConfig, Record};
use kommit_examples::Stage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::enter(&["measurements"]).await?;
    let config = ProducerConfig::builder()
        .bootstrap_servers(stage.bootstrap_servers())
        .build()?;
    let producer = Producer::new(config)?;

    let mut deliveries = Vec::with_capacity(1000);
    for number in 0..1000 {
        let sensor = format!("sensor-{}", number % 7);
        let value = number.to_string();
        deliveries.push(
            producer
                .send(Record::new("measurements").key(&sensor).value(&value))
                .await?,
        );
    }
    let mut written = 0;
    for delivery in deliveries {
        match delivery.await {
            Ok(_) => written += 1,
            Err(error) => eprintln!("{error}"),
        }
    }
    println!("{written} of 1000 records are written");

    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}
