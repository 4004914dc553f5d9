//! The application's side of a producer in a scene. A call only hands over; it takes effect when the world runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kommit_protocol::units::{Offset, TopicPartition};
use kommit_sender::{Command, Phase};
use kommit_txn_manager::{ConsumerGroupMetadata, OffsetAndMetadata, Ticket};

use super::World;
use super::outcome::{CallOutcome, RecordOutcome};
use super::state::{Idempotence, State};

/// A producer.
#[derive(Clone, Debug)]
pub struct Producer {
    state: Rc<RefCell<State>>,
    index: usize,
}

/// A record that was sent.
#[derive(Clone, Debug)]
pub struct Sending {
    state: Rc<RefCell<State>>,
    record: usize,
}

impl Sending {
    /// What became of it so far.
    pub fn outcome(&self) -> RecordOutcome {
        self.state.borrow().record_outcome(self.record)
    }
}

/// A call that is answered some time.
#[derive(Clone, Debug)]
pub struct Call {
    state: Rc<RefCell<State>>,
    producer: usize,
    ticket: Ticket,
}

impl Call {
    /// What became of it so far.
    pub fn outcome(&self) -> CallOutcome {
        self.state.borrow().call_outcome(self.producer, self.ticket)
    }
}

impl Producer {
    pub(crate) fn start(world: &World, transactional_id: Option<&str>, idempotence: Idempotence) -> Self {
        let index = world
            .state
            .borrow_mut()
            .add_producer(transactional_id, idempotence);
        Self {
            state: Rc::clone(&world.state),
            index,
        }
    }

    /// Asks for the identity.
    pub fn initialize(&self) -> Call {
        self.call(Command::Initialize)
    }

    /// Begins a transaction.
    ///
    /// # Panics
    ///
    /// When none can be begun.
    pub fn begin(&self) {
        self.state.borrow_mut().begin(self.index);
    }

    /// Sends a value into a partition.
    pub fn send(&self, topic: &str, partition: i32, value: &str) -> Sending {
        self.send_to(topic, Some(partition), value)
    }

    /// Sends a value without a key into whichever partition is chosen.
    pub fn send_unkeyed(&self, topic: &str, value: &str) -> Sending {
        self.send_to(topic, None, value)
    }

    fn send_to(&self, topic: &str, partition: Option<i32>, value: &str) -> Sending {
        let record = self
            .state
            .borrow_mut()
            .send(self.index, topic, partition, value.as_bytes());
        Sending {
            state: Rc::clone(&self.state),
            record,
        }
    }

    /// Puts the next offset of a partition into the transaction, for a consumer group.
    pub fn send_offset(&self, group: &str, topic: &str, offset: i64) -> Call {
        let group = ConsumerGroupMetadata::of_group(group);
        let place = TopicPartition::new(topic, 0);
        let offsets = [(place, OffsetAndMetadata::of_offset(Offset(offset)))].into();
        self.call(|ticket| Command::SendOffsets {
            ticket,
            group,
            offsets,
        })
    }

    /// Asks for the commit.
    pub fn commit(&self) -> Call {
        self.state.borrow_mut().close_gate(self.index);
        self.call(Command::Commit)
    }

    /// Asks for the commit, and for the next transaction behind it: the calls that tell of the one and of the other.
    pub fn commit_and_begin(&self) -> (Call, Call) {
        let (commit, begun) = self.state.borrow_mut().commit_and_begin(self.index);
        (self.of_ticket(commit), self.of_ticket(begun))
    }

    /// Asks for the abort.
    pub fn abort(&self) -> Call {
        self.state.borrow_mut().close_gate(self.index);
        self.call(Command::Abort)
    }

    /// Asks that everything be sent.
    pub fn flush(&self) -> Call {
        self.call(Command::Flush)
    }

    /// Asks which partitions have stopped behind a record of unknown fate.
    pub fn stopped_partitions(&self) -> Call {
        self.call(Command::StoppedPartitions)
    }

    /// Takes note of the gap in a partition.
    pub fn acknowledge_gap(&self, topic: &str, partition: i32) -> Call {
        let partition = TopicPartition::new(topic, partition);
        self.call(|ticket| Command::AcknowledgeGap { ticket, partition })
    }

    /// Closes it gracefully.
    pub fn close(&self) {
        self.state.borrow_mut().command(self.index, Command::Close);
    }

    /// Closes it by force.
    pub fn force_close(&self) {
        self.state.borrow_mut().command(self.index, Command::ForceClose);
    }

    /// Whether its sender has ended.
    pub fn is_closed(&self) -> bool {
        self.phase() == Phase::Closed
    }

    /// The pause behind a transaction that ends now.
    pub fn transaction_pause(&self) -> Duration {
        self.state.borrow().transaction_pause(self.index)
    }

    /// Where its sender stands.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase(self.index)
    }

    fn call(&self, command: impl FnOnce(Ticket) -> Command) -> Call {
        let ticket = self.state.borrow_mut().call(self.index, command);
        self.of_ticket(ticket)
    }

    fn of_ticket(&self, ticket: Ticket) -> Call {
        Call {
            state: Rc::clone(&self.state),
            producer: self.index,
            ticket,
        }
    }
}
