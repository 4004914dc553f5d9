//! The embedded broker as scenes: requests in, answers out, in virtual time; the last module uses sockets.

mod connections;
mod denials;
mod directories;
mod discarding;
mod failover;
mod faults;
mod fetch;
mod idempotence;
mod limits;
mod metadata;
mod produce;
mod producer_state;
mod restarts;
mod scene;
mod sockets;
mod throttling;
mod timeouts;
mod transactions;
mod verification;
