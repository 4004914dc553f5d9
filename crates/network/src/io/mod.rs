//! Sockets: connections are made, bytes are cut into frames and frames are written, exactly as the core decides.
//!
//! No policy: nothing here chooses a node, repeats an attempt, or knows a time-out of a request.

mod connector;
mod link;
mod links;
mod memory;

pub use connector::{BoxedRead, BoxedWrite, Connector, TcpConnector};
pub use links::{Links, LinksConfig};
pub use memory::{MemoryConnector, MemoryListener, MemoryStream};

#[cfg(test)]
mod tests;
