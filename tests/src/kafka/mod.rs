//! A real Kafka for tests: a plain `java` process of our own, with Kafka's own tools beside it.
//!
//! Reading order: [`Stage`] (may this test use a real Kafka, and whose turn is it), [`Setup`] (which release, with which
//! properties, how many nodes), [`RealKafka`] (a running one), [`Node`] (each of its processes), [`Tools`] (Kafka's own programs),
//! [`DumpedBatch`] (what really is in a log).
//!
//! Everything comes from Maven Central and is kept under the target folder. A broker ends with the process that started it,
//! however that process ends. Nothing here uses a crate of the client or of the embedded broker.

mod broker;
mod folders;
mod jars;
mod java;
mod node;
mod probe;
mod segments;
mod setup;
mod stage;
mod tools;
mod watchdog;

pub use broker::RealKafka;
pub use node::{Frozen, Node};
pub use probe::{Coordinated, Replicas, ask};
pub use segments::{DumpedBatch, sequence_faults};
pub use setup::{Release, Setup};
pub use stage::Stage;
pub use tools::{ConsumedRecord, Isolation, Reading, Tool, Tools};
