//! A broker with a data directory: what it finds there after its end, however that came.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kommit_broker::{BrokerConfig, EmbeddedBroker};
use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::frame;
use kommit_protocol::messages::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scene::{Batch, TOPIC, TV2, only_partition};

/// A directory of the test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kommit-broker-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    async fn start(&self) -> io::Result<EmbeddedBroker> {
        EmbeddedBroker::start(BrokerConfig {
            data_directory: Some(self.0.clone()),
            // The batches of scenes are from 1970.
            producer_id_expiration: Duration::MAX,
            ..BrokerConfig::default()
        })
        .await
    }

    fn file(&self) -> PathBuf {
        self.0.join("kommit.log")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).expect("the log is there")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes batches of one producer, each after the answer to the one before.
async fn produce(broker: &EmbeddedBroker, sequences: std::ops::Range<i32>) -> io::Result<()> {
    let mut stream = TcpStream::connect(broker.addresses()[0]).await?;
    for sequence in sequences {
        let request = Batch::of(7, 0, sequence).request();
        stream
            .write_all(&frame::encode_request(&request, TV2, sequence, None))
            .await?;
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).await?;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(prefix)).expect("a length")];
        stream.read_exact(&mut body).await?;
        let (_, response) = frame::decode_response::<ProduceRequest>(body.into(), TV2).expect("an answer");
        assert_eq!(only_partition(response).error_code, ErrorCode::None);
    }
    Ok(())
}

async fn filled(scratch: &Scratch, batches: i32) -> EmbeddedBroker {
    let broker = scratch.start().await.expect("an empty directory");
    broker.create_topic(TOPIC, 2).expect("new");
    produce(&broker, 0..batches).await.expect("it answers");
    broker
}

/// B-5: what was answered is in the file, without any orderly end; and the broker goes on where it was.
#[tokio::test]
async fn what_was_answered_is_there_after_a_sudden_end() {
    let scratch = Scratch::new();
    let broker = filled(&scratch, 3).await;
    let (id, log) = (
        broker.with_core(|core| core.topic_id(TOPIC)),
        broker.log(TOPIC, 0),
    );
    assert_eq!(log.len(), 3);
    let at_the_end = scratch.bytes();
    drop(broker);
    assert_eq!(scratch.bytes(), at_the_end);

    let broker = scratch.start().await.expect("a whole file");
    assert_eq!(broker.with_core(|core| core.topic_id(TOPIC)), id);
    assert_eq!(broker.log(TOPIC, 0), log);
    produce(&broker, 2..4)
        .await
        .expect("a duplicate and the next batch");
    assert_eq!(broker.log(TOPIC, 0).len(), 4);
    broker.shutdown().await;
    assert_eq!(
        scratch.start().await.expect("a whole file").log(TOPIC, 0).len(),
        4
    );
}

/// B-5: a write that the end of the process has cut is dropped, wherever it was cut, and nothing before it.
#[tokio::test]
async fn a_write_that_was_cut_is_dropped() {
    let scratch = Scratch::new();
    let broker = filled(&scratch, 2).await;
    let before = scratch.bytes().len();
    produce(&broker, 2..3).await.expect("it answers");
    drop(broker);
    let whole = scratch.bytes();
    for cut in [before + 1, before + 8, whole.len() - 1] {
        fs::write(scratch.file(), &whole[..cut]).expect("it is this test's own");
        let broker = scratch.start().await.expect("all but the last write is whole");
        assert_eq!(broker.log(TOPIC, 0).len(), 2, "cut at {cut}");
        drop(broker);
        assert!(scratch.bytes().starts_with(&whole[..before]));
    }
}

/// Bytes that were changed, and a file of somebody else, are errors that name the place.
#[tokio::test]
async fn a_damaged_file_is_an_error() {
    let scratch = Scratch::new();
    drop(filled(&scratch, 2).await);
    let mut bytes = scratch.bytes();
    bytes[40] ^= 1;
    for (bytes, told) in [(bytes, "a checksum is wrong"), (vec![7; 20], "this is no log")] {
        fs::write(scratch.file(), bytes).expect("it is this test's own");
        let error = scratch.start().await.expect_err("it cannot be read");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(told), "{error}");
    }
}

/// B-37: a broker that cannot write gives no answer and stops; here, because a newer one has taken its directory over.
#[tokio::test]
async fn a_broker_that_cannot_write_answers_nobody() {
    let scratch = Scratch::new();
    let older = filled(&scratch, 1).await;
    let newer = scratch.start().await.expect("a whole file");
    produce(&newer, 1..2).await.expect("it answers");
    assert!(produce(&older, 1..2).await.is_err());
    assert!(older.failed().await.contains("another broker"));
    drop((older, newer));
    assert_eq!(
        scratch.start().await.expect("a whole file").log(TOPIC, 0).len(),
        2
    );
}
