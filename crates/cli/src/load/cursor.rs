//! Where a load stands: the offset and metadata that travel in the same transaction as the lines.
//!
//! The group is `kommit-load.ID`, the topic-partition is partition 0 of the target topic, whatever partitions the lines went to: a cursor is kept per
//! transactional id and topic. The offset is the next byte of the file; the metadata says the lines before it and the fingerprint of the
//! file's beginning. Nothing here reads files.

use std::fmt;

use super::lines::Position;

/// The most bytes of a file's beginning that its fingerprint covers.
pub(crate) const FINGERPRINT_BYTES: u64 = 64 * 1024;

const FORMAT: &str = "kommit-load/1";

/// A hash over the first bytes of a file: another file, or one that was changed there, has another fingerprint. A file that grows keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// How many bytes were hashed.
    pub(crate) length: u64,
    hash: u128,
}

impl Fingerprint {
    /// The fingerprint of a file that begins with `beginning`, all of which is hashed (FNV-1a with 128 bits: against mistakes, not against attacks).
    pub(crate) fn of(beginning: &[u8]) -> Self {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
        let hash = beginning
            .iter()
            .fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
        Self {
            length: beginning.len() as u64,
            hash,
        }
    }
}

/// Where to go on, and in which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Behind the last committed line.
    pub(crate) next: Position,
    /// The file's beginning.
    pub(crate) fingerprint: Fingerprint,
}

/// A committed offset that no run of this program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotACursor {
    metadata: String,
}

impl fmt::Display for NotACursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the committed metadata '{}' is not a load's cursor",
            self.metadata.chars().take(80).collect::<String>()
        )
    }
}

impl Cursor {
    /// The consumer group under which the cursors of a transactional id are kept.
    pub(crate) fn group(transactional_id: &str) -> String {
        format!("kommit-load.{transactional_id}")
    }

    /// The offset to commit: the next byte.
    pub(crate) fn offset(&self) -> i64 {
        i64::try_from(self.next.byte).expect("no file has 2^63 bytes")
    }

    /// The metadata to commit; about 90 bytes, far below a broker's limit of 4096.
    pub(crate) fn metadata(&self) -> String {
        let Fingerprint { length, hash } = self.fingerprint;
        format!("{FORMAT} line={} beginning={length}:{hash:032x}", self.next.line)
    }

    /// The cursor that was committed as this offset and metadata.
    pub(crate) fn parse(offset: i64, metadata: &str) -> Result<Self, NotACursor> {
        parse(offset, metadata).ok_or_else(|| NotACursor {
            metadata: metadata.to_owned(),
        })
    }
}

fn parse(offset: i64, metadata: &str) -> Option<Cursor> {
    let mut fields = metadata.split(' ');
    if fields.next() != Some(FORMAT) {
        return None;
    }
    let line = fields.next()?.strip_prefix("line=")?.parse().ok()?;
    let (length, hash) = fields.next()?.strip_prefix("beginning=")?.split_once(':')?;
    let fingerprint = Fingerprint {
        length: length.parse().ok()?,
        hash: u128::from_str_radix(hash, 16).ok()?,
    };
    let is_bounded = fingerprint.length <= FINGERPRINT_BYTES && fields.next().is_none();
    is_bounded.then_some(Cursor {
        next: Position {
            byte: u64::try_from(offset).ok()?,
            line,
        },
        fingerprint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            next: Position {
                byte: 114_350,
                line: 4641,
            },
            fingerprint: Fingerprint::of(b"# version 2025b\n"),
        }
    }

    #[test]
    fn what_was_committed_is_read_back() {
        assert_eq!(
            Cursor::parse(cursor().offset(), &cursor().metadata()),
            Ok(cursor())
        );
    }

    /// B-118: a broker refuses metadata of more than 4096 bytes.
    #[test]
    fn the_metadata_of_the_largest_cursor_is_short() {
        let next = Position {
            byte: i64::MAX.unsigned_abs(),
            line: u64::MAX,
        };
        let largest = Cursor {
            next,
            fingerprint: Fingerprint {
                length: FINGERPRINT_BYTES,
                hash: u128::MAX,
            },
        };
        assert!(largest.metadata().len() < 128);
        assert_eq!(Cursor::parse(largest.offset(), &largest.metadata()), Ok(largest));
    }

    #[test]
    fn anything_else_under_the_group_is_not_taken_for_a_cursor() {
        let metadata = cursor().metadata();
        for (offset, text) in [
            (-1, metadata.as_str()),
            (0, ""),
            (0, "kommit-load/2 line=1 beginning=0:0"),
            (0, "kommit-load/1 line=1 beginning=70000:0"),
            (0, "kommit-load/1 line=x beginning=0:0"),
            (0, "kommit-load/1 line=1 beginning=0:0 more"),
        ] {
            assert!(Cursor::parse(offset, text).is_err(), "{offset} {text}");
        }
    }

    #[test]
    fn the_fingerprint_tells_beginnings_apart() {
        assert_ne!(Fingerprint::of(b"a"), Fingerprint::of(b"b"));
        assert_ne!(Fingerprint::of(b""), Fingerprint::of(b"\0"));
        // The published FNV-1a value for "a" with 128 bits.
        assert_eq!(
            Fingerprint::of(b"a").hash,
            0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964
        );
    }
}
