//! What the suites of the workspace stand on.
//!
//! Reading order: [`kafka`] (a real Kafka as a plain child process, and Kafka's own tools), [`proxy`] (a TCP proxy that
//! cuts, holds and loses what passes through it), [`compare`] (the same script to the embedded broker and to a real one),
//! [`world`] (a producer and the embedded broker in virtual time).
//!
//! The first two know nothing of the client under test: what judges it shares no code with it.

pub mod compare;
pub mod kafka;
pub mod proxy;
pub mod world;
