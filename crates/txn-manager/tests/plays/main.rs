//! Plays: a manager, what the application and the brokers do to it, and what it does next.
//!
//! Reading order: [`stage`] (the manager and the scripted other side), [`transactions`] (from begin to end), [`outcomes`] (what a
//! commit tells its caller), [`doubt`] (what the coordinator says of it), [`refusals`] (calls that do not fit), [`standing`] (what a manager says of itself), [`failures`] (errors and what they leave behind), [`epochs`]
//! (idempotent-only producers), [`gaps`] (their partitions behind a record of unknown fate), [`patience`] (how long things are repeated), [`every_code`] (every error code in answer to every
//! request), [`walks`] (long random lives, and what must hold at every step).

mod doubt;
mod epochs;
mod every_code;
mod failures;
mod gaps;
mod outcomes;
mod patience;
mod refusals;
mod stage;
mod standing;
mod transactions;
mod walks;
