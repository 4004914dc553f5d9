//! The requests that one connection carries, from queueing to their end, in the order in which they were sent (N-7).
//!
//! Counts bytes and time; never looks into a request or a response.

use std::collections::VecDeque;
use std::time::Duration;

use kommit_protocol::api::ApiKey;
use kommit_protocol::time::Instant;

use crate::boundary::{ConnectionId, Sent};

/// Whether the broker answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Expected,
    /// A produce request with acks = 0 ends when it is written.
    None,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct InFlight<P> {
    pub(crate) purpose: P,
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) answer: Answer,
    pub(crate) sent_at: Instant,
}

/// A request together with its place in the stream of bytes.
#[derive(Debug)]
struct Entry<P> {
    request: InFlight<P>,
    starts_at: u64,
    ends_at: u64,
    /// The throttle time that came while the request was out is not counted against it (N-30).
    credit: Duration,
}

/// The requests of one established connection, oldest first.
#[derive(Debug)]
pub(crate) struct Session<P> {
    id: ConnectionId,
    entries: VecDeque<Entry<P>>,
    queued: u64,
    written: u64,
    last_activity: Instant,
    throttled_until: Instant,
}

impl<P> Session<P> {
    pub(crate) fn new(id: ConnectionId, now: Instant) -> Self {
        Self {
            id,
            entries: VecDeque::new(),
            queued: 0,
            written: 0,
            last_activity: now,
            throttled_until: Instant::ORIGIN,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn in_flight_count(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn last_activity(&self) -> Instant {
        self.last_activity
    }

    pub(crate) fn throttled_until(&self) -> Instant {
        self.throttled_until
    }

    /// N-4, N-5: not throttled, and either nothing is in flight, or the newest request is completely written and there is room.
    pub(crate) fn may_send(&self, max_in_flight: usize, now: Instant) -> bool {
        let newest_is_written = self
            .entries
            .back()
            .is_none_or(|newest| newest.ends_at <= self.written);
        let has_room = self.entries.is_empty() || (newest_is_written && self.entries.len() < max_in_flight);
        self.throttled_until <= now && has_room
    }

    /// A request of `len` bytes was given to the connection.
    pub(crate) fn push(&mut self, request: InFlight<P>, len: u64) {
        let (starts_at, ends_at) = (self.queued, self.queued.saturating_add(len));
        self.queued = ends_at;
        self.last_activity = request.sent_at;
        self.entries.push_back(Entry {
            request,
            starts_at,
            ends_at,
            credit: Duration::ZERO,
        });
    }

    /// Bytes were written: requests that expect no answer and are completely written come to their end.
    pub(crate) fn wrote(&mut self, written: u64, now: Instant) -> Vec<InFlight<P>> {
        self.written = written.clamp(self.written, self.queued);
        self.last_activity = now;
        let mut ended = Vec::new();
        // A request without an answer never waits behind one with an answer: N-7 counts answers, and this one has none.
        let mut position = 0;
        while let Some(entry) = self.entries.get(position) {
            if entry.ends_at > self.written {
                break;
            }
            match entry.request.answer {
                Answer::Expected => position += 1,
                Answer::None => ended.extend(self.entries.remove(position).map(|entry| entry.request)),
            }
        }
        ended
    }

    /// How many bytes of this connection have been given to the socket.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Which answer comes next: request, version, correlation id (N-7).
    pub(crate) fn awaited(&self) -> Option<(ApiKey, i16, i32)> {
        let oldest = self
            .entries
            .iter()
            .find(|entry| entry.request.answer == Answer::Expected)?;
        Some((
            oldest.request.key,
            oldest.request.version,
            oldest.request.correlation_id,
        ))
    }

    /// The awaited answer has come: takes its request out.
    pub(crate) fn answered(&mut self, now: Instant) -> Option<InFlight<P>> {
        self.last_activity = now;
        let position = self
            .entries
            .iter()
            .position(|entry| entry.request.answer == Answer::Expected)?;
        self.entries.remove(position).map(|entry| entry.request)
    }

    /// N-30: no request is sent before `until`, which never moves back; those in flight get the time credited.
    pub(crate) fn throttle(&mut self, time: Duration, now: Instant) {
        self.throttled_until = self.throttled_until.max(now + time);
        self.entries
            .iter_mut()
            .for_each(|entry| entry.credit = entry.credit.saturating_add(time));
    }

    /// When the first request is late (N-27), with its name.
    pub(crate) fn first_deadline(&self, timeout: Duration) -> Option<(Instant, ApiKey)> {
        let deadlines = self
            .entries
            .iter()
            .map(|entry| (entry.request.sent_at + timeout + entry.credit, entry.request.key));
        deadlines.min_by_key(|(deadline, _)| *deadline)
    }

    /// Everything that was in flight when the connection ended, oldest first, and whether bytes of it may have left (R1).
    ///
    /// When the link itself reported the end, its count of written bytes is final; when we cut it off, more may have been
    /// written than we were told.
    pub(crate) fn end(self, end: End) -> impl Iterator<Item = (InFlight<P>, Sent)> {
        let written = self.written;
        self.entries.into_iter().map(move |entry| {
            let untouched = end == End::Reported && entry.starts_at >= written;
            (
                entry.request,
                if untouched {
                    Sent::NotWritten
                } else {
                    Sent::MayBeWritten
                },
            )
        })
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The link reported the end, after its last count of written bytes.
    Reported,
    /// We cut the connection off.
    Cut,
}
