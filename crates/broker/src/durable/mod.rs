//! What survives a restart, as entries: a batch of a log, or the state of something else as a whole, which replaces what an earlier
//! entry said of it.
//!
//! After each turn the core gives away what changed in it, as one piece of bytes (`BrokerCore::take_unsaved`); whoever writes the
//! pieces does that before the answers of that turn leave, and gives them back in the same order at the next start
//! ([`Recovery`]). What is not in an entry is forgotten by a restart: connections, pending transitions, verifications (B-5).
//!
//! No files and no clock here. A piece that is damaged is an error, not a panic.

mod entry;
mod recovery;

use bytes::Bytes;
use kommit_protocol::wire::{DecodeError, Field, Reader, Version, Writer};

pub(crate) use entry::{
    Entry, FeatureState, GroupAgreement, GroupMember, GroupOffset, GroupProtocol, GroupState,
    OffsetsProducer, PartitionState, Place, StoredBatch, TopicSetting, TopicState, TransactionState,
};
pub use recovery::{CorruptPiece, Recovery};

/// The layout of the entries. Another one needs another number, and readers of both.
const LAYOUT: Version = Version {
    number: 0,
    flexible: true,
};

/// The entries as one piece; nothing for none.
pub(crate) fn piece(entries: &[Entry]) -> Bytes {
    let mut writer = Writer::default();
    for entry in entries {
        entry.encode(&mut writer, LAYOUT);
    }
    writer.into_bytes()
}

/// The entries of a piece.
fn entries(piece: Bytes) -> Result<Vec<Entry>, DecodeError> {
    let mut reader = Reader::new(piece);
    let mut entries = Vec::new();
    while reader.remaining() > 0 {
        entries.push(reader.take("entry", LAYOUT)?);
    }
    Ok(entries)
}
