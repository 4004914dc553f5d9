//! The public API against the embedded broker, over real sockets: one file for each group of behaviours, the stage in `stage`.

mod cancellation;
mod closing;
mod failures;
mod fencing;
mod going_on;
mod in_doubt;
mod metadata;
mod offsets;
mod partitions;
mod records;
mod refusals;
mod sending;
mod stage;
mod transactions;
mod unreachable;
