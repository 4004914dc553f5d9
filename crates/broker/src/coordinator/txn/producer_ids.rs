//! Producer ids: unique in the cluster, handed to brokers in blocks, never given out twice (B-53).
//!
//! It knows nothing of transactional ids.

use std::collections::BTreeMap;
use std::ops::Range;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::{NodeId, ProducerId};

/// How many ids a broker gets at once.
const BLOCK_LENGTH: i64 = 1000;

/// The blocks, and what each broker has left of its own.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next_block: i64,
    blocks: BTreeMap<NodeId, Range<i64>>,
    /// The next block as it was last given away.
    saved: i64,
}

impl ProducerIds {
    /// The first id of the next block, if another block was taken since the last call.
    pub(super) fn take_unsaved(&mut self) -> Option<i64> {
        let is_new = self.next_block != self.saved;
        self.saved = self.next_block;
        is_new.then_some(self.next_block)
    }

    /// The first id of the next block.
    pub(super) fn next_block(&self) -> i64 {
        self.next_block
    }

    /// Goes on after a restart: what is left of the blocks is lost.
    pub(super) fn restore(&mut self, next_block: i64) -> Result<(), &'static str> {
        if next_block < 0 {
            return Err("a negative producer id");
        }
        self.next_block = next_block;
        self.saved = next_block;
        Ok(())
    }

    /// The next id of `node`'s block, or of a new one. When all ids are used up the client is asked to try again, as after
    /// any failed allocation.
    pub(super) fn allocate(&mut self, node: NodeId) -> Result<ProducerId, ErrorCode> {
        let block = self.blocks.entry(node).or_insert(0..0);
        if block.is_empty() {
            let end = self
                .next_block
                .checked_add(BLOCK_LENGTH)
                .ok_or(ErrorCode::CoordinatorLoadInProgress)?;
            *block = self.next_block..end;
            self.next_block = end;
        }
        block
            .next()
            .map(ProducerId)
            .ok_or(ErrorCode::CoordinatorLoadInProgress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-53: each broker has its own block of 1000, and takes another when it is empty.
    #[test]
    fn brokers_hand_out_ids_from_blocks_of_their_own() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.allocate(NodeId(1)), Ok(ProducerId(0)));
        assert_eq!(ids.allocate(NodeId(2)), Ok(ProducerId(1000)));
        for expected in 1..1000 {
            assert_eq!(ids.allocate(NodeId(1)), Ok(ProducerId(expected)));
        }
        assert_eq!(ids.allocate(NodeId(1)), Ok(ProducerId(2000)));
    }

    /// B-53: no id is negative and none comes twice, not even at the end of all ids.
    #[test]
    fn the_end_of_all_ids_is_an_error_that_clients_retry() {
        let mut ids = ProducerIds {
            next_block: i64::MAX - 10,
            ..ProducerIds::default()
        };
        assert_eq!(ids.allocate(NodeId(1)), Err(ErrorCode::CoordinatorLoadInProgress));
    }
}
