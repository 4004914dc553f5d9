//! Topic settings that have no meaning for this broker: what Kafka would take is taken and ignored, what it would refuse is refused.

/// What the values of a setting look like.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// A whole number from here to there.
    Numbers(i64, i64),
    /// A fraction from 0 to 1.
    Ratio,
    /// `true` or `false`, in any case of letters.
    Switch,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// Settings of the parts of Kafka that this broker does not have.
const IGNORED: &[(&str, Values)] = &[
    ("compression.gzip.level", Values::Numbers(-1, 9)),
    ("compression.lz4.level", Values::Numbers(1, 17)),
    (
        "compression.type",
        Values::Words(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
    ),
    ("compression.zstd.level", Values::Numbers(-131_072, 22)),
    ("delete.retention.ms", Values::Numbers(0, i64::MAX)),
    ("file.delete.delay.ms", Values::Numbers(0, i64::MAX)),
    ("flush.messages", Values::Numbers(1, i64::MAX)),
    ("flush.ms", Values::Numbers(0, i64::MAX)),
    ("index.interval.bytes", Values::Numbers(0, i32::MAX as i64)),
    ("max.compaction.lag.ms", Values::Numbers(1, i64::MAX)),
    ("min.cleanable.dirty.ratio", Values::Ratio),
    ("min.compaction.lag.ms", Values::Numbers(0, i64::MAX)),
    ("preallocate", Values::Switch),
    ("retention.bytes", Values::Numbers(i64::MIN, i64::MAX)),
    ("retention.ms", Values::Numbers(-1, i64::MAX)),
    ("segment.index.bytes", Values::Numbers(4, i32::MAX as i64)),
    ("segment.jitter.ms", Values::Numbers(0, i64::MAX)),
    ("segment.ms", Values::Numbers(1, i64::MAX)),
    ("unclean.leader.election.enable", Values::Switch),
];

/// Whether Kafka takes this value for a setting that is ignored here; not so for any other setting.
pub(crate) fn is_taken(name: &str, value: &str) -> bool {
    let value = value.trim();
    let Some((_, values)) = IGNORED.iter().find(|(known, _)| *known == name) else {
        return false;
    };
    match values {
        Values::Numbers(least, most) => {
            let no_level = name == "compression.gzip.level" && value == "0";
            !no_level
                && value
                    .parse()
                    .is_ok_and(|number| (*least..=*most).contains(&number))
        }
        Values::Ratio => value.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)),
        Values::Switch => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
        Values::Words(words) => words.contains(&value),
    }
}
