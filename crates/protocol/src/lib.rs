//! Kafka's bytes, numbers and error codes as types.
//!
//! Reading order: [`units`] and [`time`] (the numbers that everything else is made of), [`error_code`] (what a broker can answer),
//! [`wire`] (bounded reading and writing of primitive fields), [`api`] (which requests exist, in which versions),
//! [`messages`] (every request and response as a table of fields), [`frame`] (headers and length prefixes),
//! [`batch`] (the record batch, format 2), [`compression`] (its codecs). [`backoff`] and [`random`] stand apart: how long to wait before
//! trying again, and the chance in it; so does `hazard_rule`, with which tests switch off what the client does against hazards.
//!
//! This crate knows no sockets, no clock, and no policy: it never decides what an answer means.

pub mod api;
pub mod backoff;
pub mod batch;
pub mod compression;
pub mod error_code;
pub mod frame;
#[doc(hidden)]
pub mod hazard_rule;
pub mod messages;
pub mod random;
pub mod time;
pub mod units;
pub mod wire;

#[cfg(test)]
mod sample;
