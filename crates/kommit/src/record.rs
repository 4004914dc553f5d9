//! What an application hands over: a record that borrows its bytes, because sending copies them once, into their batch.

use kommit_accumulator::RecordRef;
use kommit_protocol::units::{PartitionId, Timestamp};

use crate::topic::Topic;

/// A named value beside the record's own. Order and repeated keys are kept; a value of `None` travels as null.
pub use kommit_accumulator::HeaderRef as Header;

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
    pub(crate) topic: TopicRef<'a>,
    pub(crate) partition: Option<PartitionId>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) timestamp: Option<Timestamp>,
}

/// A topic by its name, which is looked up for each record, or by a handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TopicRef<'a> {
    Name(&'a str),
    Kept(&'a Topic),
}

impl<'a> TopicRef<'a> {
    fn name(self) -> &'a str {
        match self {
            TopicRef::Name(name) => name,
            TopicRef::Kept(topic) => topic.name(),
        }
    }
}

/// P-51: a topic is its name, however it was found.
impl PartialEq for TopicRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for TopicRef<'_> {}

impl<'a> Record<'a> {
    /// A record without key and value for `topic`.
    pub fn new(topic: &'a str) -> Self {
        Self::at(TopicRef::Name(topic))
    }

    /// As [`Record::new`], for a topic that is kept at hand ([`Producer::topic`](crate::Producer::topic)): saves the look-up by name.
    pub fn to(topic: &'a Topic) -> Self {
        Self::at(TopicRef::Kept(topic))
    }

    fn at(topic: TopicRef<'a>) -> Self {
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
        self.topic.name()
    }

    /// Its bytes in the form of the accumulator.
    pub(crate) fn bytes(&self) -> RecordRef<'a> {
        RecordRef {
            key: self.key,
            value: self.value,
            headers: self.headers,
            timestamp: self.timestamp,
        }
    }
}
