//! What the benchmarks share: [`measurement`] (options and the line of JSON, those of `kommit perf`) and [`floor`] (the hand-written loop).
//!
//! The drivers of other clients, in `peers/`, use the first. Nothing here is part of the producer.

#![allow(clippy::disallowed_methods, reason = "measuring is what this is for")]

pub mod floor;
pub mod measurement;
pub mod sink;
