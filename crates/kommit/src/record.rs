//! What an application hands over: a record that borrows its bytes, because sending copies them once, into their batch.

use kommit_protocol::units::{PartitionId, Timestamp};

/// A named value beside the record's own. Order and repeated keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name.
    pub key: &'a str,
    /// The value; `None` travels as null.
    pub value: Option<&'a [u8]>,
}

/// A record for a topic. Borrows everything; nothing is copied before [`send`](crate::Producer::send).
///
/// ```
/// use kommit::Record;
///
/// let record = Record::new("orders").key("order-7").value("paid").headers(&[]);
/// assert_eq!(record.topic(), "orders");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    topic: &'a str,
    pub(crate) partition: Option<PartitionId>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) timestamp: Option<Timestamp>,
}

impl<'a> Record<'a> {
    /// A record without key and value for `topic`.
    pub fn new(topic: &'a str) -> Self {
        Self {
            topic,
            partition: None,
            key: None,
            value: None,
            headers: &[],
            timestamp: None,
        }
    }

    /// Sets the key. Records with equal keys go to the same partition, as long as the topic's partition count does not change.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value. A record without one is a tombstone in a compacted topic.
    #[must_use]
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Places the record itself, whatever its key says (A-33).
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionId(partition));
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch; otherwise the record gets the time of its `send`.
    #[must_use]
    pub fn timestamp_millis(mut self, millis: i64) -> Self {
        self.timestamp = Some(Timestamp(millis));
        self
    }

    /// The topic that the record is for.
    pub fn topic(&self) -> &'a str {
        self.topic
    }
}
