//! What the log says, as a person reads it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kommit::{ProducerConfig, Record, TransactionalProducer};
use kommit_broker::{BrokerConfig, EmbeddedBroker, Rule, Verdict};
use kommit_protocol::api::ApiKey;
use kommit_protocol::error_code::ErrorCode;
use tracing_subscriber::fmt::MakeWriter;

/// A log that is kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("nobody panics while writing");
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics while writing")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// P-3: where several producers log, each line names its own.
#[tokio::test]
async fn a_line_names_its_producer() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(kept.clone())
        .with_ansi(false)
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let broker = EmbeddedBroker::start(BrokerConfig::default())
        .await
        .expect("a free port");
    let refusal = Verdict::Answer(ErrorCode::NotEnoughReplicas);
    let _rule = broker.rule(Rule::on(ApiKey::Produce, refusal).once());
    let config = ProducerConfig::builder()
        .bootstrap_servers(broker.bootstrap_servers())
        .client_id("billing")
        .transactional_id("bills-1");
    let mut producer = TransactionalProducer::connect(config.build().expect("valid"))
        .await
        .expect("the broker gives out an id");
    let transaction = producer.begin().await.expect("idle");
    let delivery = transaction.send(Record::new("bills").value("paid")).await;
    delivery
        .expect("room")
        .await
        .expect("written at the second attempt");
    transaction.commit().await.map_err(drop).expect("committed");
    producer
        .close(Duration::from_secs(10))
        .await
        .expect("nothing waits");
    let lines = kept.lines();
    let again = lines.iter().find(|line| line.contains("a batch is sent again"));
    let again = again.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(
        again.contains(r#"producer{client_id="billing" transactional_id="bills-1"}"#),
        "{again}"
    );
}
