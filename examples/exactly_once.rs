//! A transfer between two topics: one that is committed, and one that is aborted and never seen by a `read_committed` reader.
//!
//! `cargo run -p kommit-examples --example exactly_once [HOST:PORT]`; the topics `debits` and `credits` must exist there.

use std::error::Error;
use std::time::Duration;

use kommit::{AbortError, CommitError, ProducerConfig, Record, TransactionalProducer};
use kommit_examples::Stage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stage = Stage::enter(&["debits", "credits"]).await?;
    let config = ProducerConfig::builder()
        .bootstrap_servers(stage.bootstrap_servers())
        .transactional_id("transfers-1")
        .build()?;
    let mut producer = TransactionalProducer::connect(config).await?;

    let transfer = producer.begin().await?;
    let debit = transfer
        .send(Record::new("debits").key("alice").value("-10"))
        .await?;
    let credit = transfer
        .send(Record::new("credits").key("bob").value("+10"))
        .await?;
    transfer.commit().await.map_err(CommitError::give_up)?;
    println!(
        "committed: debit at offset {:?}, credit at {:?}",
        debit.await?.offset,
        credit.await?.offset
    );

    let transfer = producer.begin().await?;
    let debit = transfer
        .send(Record::new("debits").key("alice").value("-1000000"))
        .await?;
    // The balance does not suffice: nobody who reads committed records will see this debit.
    transfer.abort().await.map_err(AbortError::give_up)?;
    match debit.await {
        Ok(written) => println!("aborted: the debit at offset {:?} is invisible", written.offset),
        Err(error) => println!("aborted: the debit was not sent ({error})"),
    }

    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}
