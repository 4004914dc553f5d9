//! Scenes with the transaction coordinator, one file per request.

mod end;
mod expiry;
mod init;
mod markers;
mod partitions;
mod queries;
mod walk;
