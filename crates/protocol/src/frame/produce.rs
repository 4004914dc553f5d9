//! A produce request as parts of a vectored write: the batches go out from the memory they were written into.

use bytes::Bytes;

use super::{LENGTH_PREFIX, put_request_header};
use crate::api::ApiKey;
use crate::units::{PartitionId, TopicId};
use crate::wire::{Field, Version, Writer};

/// One partition's part of a produce request.
#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartition<'a> {
    /// The topic's name; written up to version 12.
    pub topic: &'a str,
    /// The topic's id; written from version 13.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: PartitionId,
    /// The batch.
    pub batch: Bytes,
}

/// A produce request that is about to be written: everything but the correlation id, which the connection gives.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceFrame<'a> {
    /// The version of the request, 3 to 13.
    pub version: i16,
    /// The transactional id of a transactional producer.
    pub transactional_id: Option<&'a str>,
    /// How many replicas have to confirm: -1, 0 or 1.
    pub acks: i16,
    /// How long the broker may wait for the replicas.
    pub timeout_ms: i32,
    /// The batches. Partitions of a topic share its entry when they stand next to each other.
    pub partitions: &'a [ProducePartition<'a>],
}

impl ProduceFrame<'_> {
    /// The frame, length prefix included, as parts in the order of the wire: bytes, batch, bytes, batch and so on. The batches
    /// are the given ones, not copies.
    pub fn encode(&self, correlation_id: i32, client_id: Option<&str>) -> Vec<Bytes> {
        let version = ApiKey::Produce.version(self.version);
        let mut parts = Parts {
            w: Writer::with_capacity(256),
            batches: Vec::with_capacity(self.partitions.len()),
        };
        parts.w.put_slice(&[0; LENGTH_PREFIX]);
        self.put_head(&mut parts.w, correlation_id, client_id, version);
        let topics = || self.partitions.chunk_by(|left, right| left.is_of_topic_of(right));
        parts.w.put_len(Some(topics().count()), version);
        topics().for_each(|partitions| parts.put_topic(partitions, version));
        parts.put_end(version);
        parts.into_frame()
    }

    fn put_head(&self, w: &mut Writer, correlation_id: i32, client_id: Option<&str>, version: Version) {
        put_request_header(
            w,
            (ApiKey::Produce.code(), self.version),
            correlation_id,
            client_id,
        );
        w.put_string(self.transactional_id, version);
        self.acks.encode(w, version);
        self.timeout_ms.encode(w, version);
    }
}

impl ProducePartition<'_> {
    /// By name and by id: topics whose ids are unknown share the zero id (S-50).
    fn is_of_topic_of(&self, other: &Self) -> bool {
        self.topic == other.topic && self.topic_id == other.topic_id
    }
}

/// What was written so far, and where the batches belong in it.
struct Parts {
    w: Writer,
    batches: Vec<(usize, Bytes)>,
}

impl Parts {
    fn put_topic(&mut self, partitions: &[ProducePartition<'_>], version: Version) {
        let Some(first) = partitions.first() else { return };
        if has_topic_ids(version) {
            first.topic_id.encode(&mut self.w, version);
        } else {
            self.w.put_string(Some(first.topic), version);
        }
        self.w.put_len(Some(partitions.len()), version);
        for partition in partitions {
            partition.partition.encode(&mut self.w, version);
            self.w.put_len(Some(partition.batch.len()), version);
            self.batches.push((self.w.len(), partition.batch.clone()));
            self.put_end(version);
        }
        self.put_end(version);
    }

    /// Ends a structure.
    fn put_end(&mut self, version: Version) {
        if version.flexible {
            self.w.put_unsigned_varint(0);
        }
    }

    fn into_frame(mut self) -> Vec<Bytes> {
        let batch_len: usize = self.batches.iter().map(|(_, batch)| batch.len()).sum();
        let len = i32::try_from(self.w.len() - LENGTH_PREFIX + batch_len).unwrap_or(i32::MAX);
        self.w.set_i32(0, len);
        let mut rest = self.w.into_bytes();
        let mut written = 0;
        let mut frame = Vec::with_capacity(2 * self.batches.len() + 1);
        for (at, batch) in self.batches {
            frame.push(rest.split_to(at - written));
            frame.push(batch);
            written = at;
        }
        if !rest.is_empty() {
            frame.push(rest);
        }
        frame
    }
}

fn has_topic_ids(version: Version) -> bool {
    version.is_in(13..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode_request;
    use crate::messages::{ProduceRequest, ProduceRequestPartition, ProduceRequestTopic};

    fn partition(
        topic: &'static str,
        id: u8,
        partition: i32,
        batch: &'static [u8],
    ) -> ProducePartition<'static> {
        let batch = Bytes::from_static(batch);
        ProducePartition {
            topic,
            topic_id: TopicId([id; 16]),
            partition: PartitionId(partition),
            batch,
        }
    }

    fn request_partition(partition: &ProducePartition<'_>) -> ProduceRequestPartition {
        ProduceRequestPartition {
            index: partition.partition,
            records: Some(partition.batch.clone()),
        }
    }

    fn request_topic(partitions: &[ProducePartition<'_>], version: i16) -> ProduceRequestTopic {
        let (name, topic_id) = match version {
            13.. => (String::new(), partitions[0].topic_id),
            _ => (partitions[0].topic.to_owned(), TopicId::ZERO),
        };
        ProduceRequestTopic {
            name,
            topic_id,
            partition_data: partitions.iter().map(request_partition).collect(),
        }
    }

    /// S-49, S-50: the parts together are the bytes of the request, in every version; the batches among them are the given ones.
    #[test]
    fn the_parts_of_a_produce_frame_are_the_request() {
        let partitions = [
            partition("a", 1, 0, b"first"),
            partition("a", 1, 7, &[9; 300]),
            partition("b", 2, 0, b"third"),
        ];
        for version in 3..=13 {
            let frame = ProduceFrame {
                version,
                transactional_id: Some("t"),
                acks: -1,
                timeout_ms: 30_000,
                partitions: &partitions,
            };
            let parts = frame.encode(5, Some("me"));
            let request = ProduceRequest {
                transactional_id: Some("t".into()),
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![
                    request_topic(&partitions[..2], version),
                    request_topic(&partitions[2..], version),
                ],
            };
            assert_eq!(
                parts.concat(),
                encode_request(&request, version, 5, Some("me")),
                "version {version}"
            );
            for (part, partition) in parts.iter().skip(1).step_by(2).zip(&partitions) {
                assert_eq!(part.as_ptr(), partition.batch.as_ptr(), "the batch is not copied");
            }
        }
    }
}
