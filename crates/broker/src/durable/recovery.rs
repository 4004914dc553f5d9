//! The way back: entries into a broker that knows again what was written.

use bytes::Bytes;
use kommit_protocol::time::Now;
use kommit_protocol::wire::DecodeError;

use super::Entry;
use crate::config::BrokerConfig;
use crate::core::{BrokerCore, World};

/// Why a piece cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptPiece {
    /// Its bytes are no entries.
    #[error("what was kept cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// It contradicts the pieces before.
    #[error("what was kept contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// A broker that is being read back. Feed it every piece in the order in which they were given away.
#[derive(Debug)]
pub struct Recovery {
    world: World,
}

impl Recovery {
    /// Begins with nothing.
    pub fn new(config: BrokerConfig) -> Self {
        Self {
            world: World::new(config),
        }
    }

    /// Takes up one piece.
    pub fn read(&mut self, piece: Bytes) -> Result<(), CorruptPiece> {
        super::entries(piece)?
            .into_iter()
            .try_for_each(|entry| self.take_up(entry))
    }

    /// Ends the reading: producers and transactions are read from the logs (B-39), every partition and every shard gets a leader of
    /// a new epoch (B-69), and decided transactions get their markers with the next turn (B-68, B-95).
    pub fn finish(mut self, now: Now) -> BrokerCore {
        self.world.cluster.finish_restore();
        self.world.expire_now(now);
        self.world.coordinators.finish_restore(now);
        self.world.count_log_bytes();
        BrokerCore::of(self.world)
    }

    fn take_up(&mut self, entry: Entry) -> Result<(), CorruptPiece> {
        let World {
            cluster,
            coordinators,
            ..
        } = &mut self.world;
        match entry {
            Entry::Features(state) => cluster.restore_features(&state),
            Entry::Topic(state) => cluster.restore_topic(state),
            Entry::TopicDeleted(name) => {
                cluster.restore_deletion(&name);
                Ok(())
            }
            Entry::Batch(batch) => cluster.restore_batch(batch),
            of_coordinators => coordinators.restore(of_coordinators),
        }
        .map_err(CorruptPiece::Contradiction)
    }
}
