//! Every message in every version, against hostile bytes: decoding ends, and takes memory in proportion to the bytes. Test code only.

use allocation_counter::measure;
use bytes::Bytes;

use super::differential::{Side, Visit, sampled, visit_all};
use crate::api::ApiKey;
use crate::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use crate::sample::{Random, Sample};
use crate::units::NodeId;
use crate::wire::{Field, Reader, Version, Writer};

const SAMPLES: usize = 12;

struct Hostile {
    random: Random,
}

impl Hostile {
    /// Truncations of legal bytes, legal bytes with a few bytes replaced, and noise.
    fn attack<T: Field>(&mut self, legal: &Bytes, version: Version) {
        for end in 0..legal.len() {
            let cut = T::decode(&mut Reader::new(legal.slice(..end)), version);
            assert!(
                cut.is_err(),
                "a message that ends {} bytes early",
                legal.len() - end
            );
        }
        for _ in 0..40 {
            let mut bytes = legal.to_vec();
            for _ in 0..=self.random.below(3) {
                let at = self.random.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0xff, 0x7f, 0x80, self.random.next() as u8][self.random.below(4) as usize];
                }
            }
            self.decode_anything::<T>(bytes, version);
        }
        let len = self.random.below(120) as usize;
        let noise = self.random.bytes(len);
        self.decode_anything::<T>(noise, version);
    }

    /// Decodes; the only demand is that it ends, and that an error tells a place within the bytes.
    fn decode_anything<T: Field>(&mut self, bytes: Vec<u8>, version: Version) {
        let len = bytes.len();
        if let Err(error) = T::decode(&mut Reader::new(Bytes::from(bytes)), version) {
            assert!(error.at <= len, "{error} of {len} bytes");
        }
    }
}

impl Visit for Hostile {
    fn visit<T: Field + Sample + PartialEq + std::fmt::Debug>(
        &mut self,
        key: ApiKey,
        number: i16,
        _side: Side,
    ) {
        let version = key.version(number);
        for _ in 0..SAMPLES {
            let (_, legal) = sampled::<T>(&mut self.random, version);
            self.attack::<T>(&legal, version);
        }
    }
}

/// B-12: a malformed body is an error and never a panic, whatever the message and its version.
#[test]
fn hostile_bytes_are_errors() {
    visit_all(&mut Hostile { random: Random(2) });
}

/// How many bytes stand behind a hostile count.
const FLOOD: usize = 8 << 10;

/// Oracle of the fuzz targets: so much memory per byte, and so much besides.
const MEMORY_PER_BYTE: u64 = 16;
const MEMORY_BESIDES: u64 = 64 << 10;

/// The most memory that any message took, and which one.
struct Floods {
    most: (u64, String),
}

impl Floods {
    /// Declares as many elements as the frame can hold behind the beginning of a legal message, and lets the shortest elements follow.
    fn flood<T: Field>(legal: &[u8], version: Version) -> u64 {
        let mut most = 0;
        for (filler, element_len) in [(0, 1), (1, 1), (0, 4), (0, 16), (1, 16)] {
            let count = u32::try_from(FLOOD / element_len).expect("few");
            let mut w = Writer::default();
            match version.flexible {
                true => w.put_unsigned_varint(count),
                false => w.put_slice(&count.to_be_bytes()),
            }
            let bytes = Bytes::from([legal, &w.into_bytes()[..], &[filler; FLOOD]].concat());
            let counted = measure(|| drop(T::decode(&mut Reader::new(bytes.clone()), version)));
            most = most.max(counted.bytes_max);
        }
        most
    }
}

impl Visit for Floods {
    fn visit<T: Field + Sample + PartialEq + std::fmt::Debug>(
        &mut self,
        key: ApiKey,
        number: i16,
        _side: Side,
    ) {
        let (oldest, newest) = (key.supported().min, key.supported().max);
        if ![oldest, newest].contains(&number) {
            return;
        }
        let version = key.version(number);
        let (_, legal) = sampled::<T>(&mut Random(11), version);
        for end in 0..legal.len() {
            let took = Self::flood::<T>(&legal[..end], version);
            if took > self.most.0 {
                self.most = (took, format!("{key} version {number} after {end} bytes"));
            }
        }
    }
}

/// Targets F2 and F3: however many elements are declared and however short they are, memory stays in proportion to the frame.
#[test]
fn a_hostile_count_takes_no_more_memory_than_its_frame_justifies() {
    let mut floods = Floods {
        most: (0, String::new()),
    };
    visit_all(&mut floods);
    let allowed = MEMORY_PER_BYTE * FLOOD as u64 + MEMORY_BESIDES;
    assert!(floods.most.0 <= allowed, "{:?}", floods.most);
}

/// F2, the other side of the bound: metadata of a large cluster, and a long list of unknown topics with short names, are read.
#[test]
fn large_legal_messages_stay_below_the_bound() {
    let partition = MetadataResponsePartition {
        replica_nodes: vec![NodeId(1); 3],
        isr_nodes: vec![NodeId(1); 3],
        ..MetadataResponsePartition::default()
    };
    let topic = |name: String, partitions: usize| MetadataResponseTopic {
        name: Some(name),
        partitions: vec![partition.clone(); partitions],
        ..MetadataResponseTopic::default()
    };
    let many_partitions = (0..20).map(|number| topic(format!("t{number}"), 1_000)).collect();
    let many_topics = (0..10_000)
        .map(|number| topic(format!("{number:04}"), 0))
        .collect();
    for topics in [many_partitions, many_topics] {
        let message = MetadataResponse {
            topics,
            ..MetadataResponse::default()
        };
        for number in [0, 8, 9, 13] {
            let version = ApiKey::Metadata.version(number);
            let mut w = Writer::default();
            message.encode(&mut w, version);
            let read = MetadataResponse::decode(&mut Reader::new(w.into_bytes()), version);
            assert_eq!(read.map(|read| read.topics.len()), Ok(message.topics.len()));
        }
    }
}
