//! The promises of the producer against a real Kafka, judged by Kafka's own tools and by what physically is in the logs.
//!
//! Each suite runs against 4.3.1 with `transaction.version` 2 and 1, and against 3.9.1. They are one program so that they share one broker per
//! setup. What is random follows from a seed that is printed; `KOMMIT_SEED` repeats it, `RUST_LOG=debug` shows what the client does.

#[macro_use]
mod each_kafka;
mod answers;
mod broker_life;
mod carrier;
mod client;
mod closing;
mod coordinators;
mod cut_connections;
mod doubt;
mod embedded_groups;
mod fencing;
mod given_up;
mod going_on;
mod kafka_tools;
mod killed_load;
mod late_requests;
mod ledger;
mod lines;
mod mixed;
mod pipeline;
mod program;
mod records;
mod rules;
mod stopwatch;
mod three_nodes;
mod transactions;
