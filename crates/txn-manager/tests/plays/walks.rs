//! Long random lives of a producer, and what must hold at every step whatever the brokers do (R3, R4, R7, D-3).
//!
//! The same seed takes the same walk. A failing seed is named by the assertion.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::units::Identity;
use kommit_txn_manager::*;

use crate::stage::*;

/// A xorshift generator: small, seeded, good enough to choose steps.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let length = u64::try_from(choices.len()).expect("a short list");
        choices[usize::try_from(self.below(length)).expect("below a short length")]
    }
}

/// A batch as the wire knows it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    batch: BatchId,
    fate: Fate,
    waits: bool,
}

/// Codes that a broker gives now and then, beside success.
const CODES: [ErrorCode; 16] = [
    ErrorCode::None,
    ErrorCode::None,
    ErrorCode::None,
    ErrorCode::None,
    ErrorCode::NotCoordinator,
    ErrorCode::ConcurrentTransactions,
    ErrorCode::CoordinatorLoadInProgress,
    ErrorCode::NotEnoughReplicas,
    ErrorCode::OutOfOrderSequenceNumber,
    ErrorCode::TopicAuthorizationFailed,
    ErrorCode::TransactionAbortable,
    ErrorCode::UnknownProducerId,
    ErrorCode::InvalidProducerEpoch,
    ErrorCode::InvalidTxnState,
    ErrorCode::UnknownServerError,
    ErrorCode::RequestTimedOut,
];

struct Walk {
    stage: Stage,
    random: Random,
    request: Option<TransactionalRequest>,
    batches: Vec<Sent>,
    /// Names that may be in a log: identity, partition, first and last sequence.
    used: BTreeSet<(Identity, u32, i32)>,
    waiting: BTreeSet<Ticket>,
    /// The commits that may have been carried out, by the begun transaction's number.
    doubtful: BTreeMap<u64, ()>,
    transaction: u64,
}

impl Walk {
    fn new(seed: u64, stage: Stage) -> Self {
        Self {
            stage,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            request: None,
            batches: Vec::new(),
            used: BTreeSet::new(),
            waiting: BTreeSet::new(),
            doubtful: BTreeMap::new(),
            transaction: 0,
        }
    }

    fn step(&mut self) {
        let before = self.stage.manager.identity();
        self.stage.manager.resolve_sequences();
        self.stage.manager.recover_authorization();
        let refreshed_from = self.stage.manager.identity();
        self.stage.manager.refresh_identity();
        self.check_refresh(refreshed_from);
        self.renumber();
        match self.random.below(8) {
            0 => self.command(),
            1 | 2 => self.request_step(),
            3 | 4 => self.drain(),
            5 | 6 => self.answer_batch(),
            _ => self.turn_features(),
        }
        self.hear();
        let after = self.stage.manager.identity();
        if before != after && self.stage.manager.is_transactional() {
            assert!(
                self.batches.is_empty(),
                "R4: the epoch of a transaction went on with batches in flight"
            );
        }
    }

    /// R4 for idempotent-only producers.
    fn check_refresh(&self, before: Option<Identity>) {
        if self.stage.manager.identity() != before {
            let unknown = self
                .batches
                .iter()
                .find(|sent| !sent.waits || sent.fate == Fate::MayBeWritten);
            assert!(unknown.is_none(), "R4: the epoch passed {unknown:?}");
        }
    }

    fn renumber(&mut self) {
        for told in self.stage.renumberings() {
            let sent = self
                .batches
                .iter_mut()
                .find(|sent| sent.batch == told.batch)
                .expect("a batch in flight");
            assert!(
                sent.waits && sent.fate == Fate::NotWritten,
                "R2: {sent:?} was renamed"
            );
            sent.batch.identity = told.identity;
            sent.batch.base_sequence = told.base_sequence;
        }
    }

    fn command(&mut self) {
        let ticket = self.stage.ticket();
        let manager = &mut self.stage.manager;
        let taken = match self.random.below(6) {
            0 => manager.initialize(ticket).is_ok(),
            1 => {
                if manager.begin().is_ok() {
                    self.transaction += 1;
                }
                false
            }
            2 => manager.begin_commit(ticket).is_ok(),
            3 => manager.begin_abort(ticket).is_ok(),
            4 => {
                let index = u32::try_from(self.random.below(3)).expect("below 3");
                let _ = manager.join(partition(index), &topic_partition(index));
                false
            }
            _ => {
                let offsets = [(
                    topic_partition(0),
                    OffsetAndMetadata::of_offset(kommit_protocol::units::Offset(1)),
                )];
                let group = ConsumerGroupMetadata::of_group("g");
                manager
                    .send_offsets(ticket, group, offsets.into_iter().collect())
                    .is_ok()
            }
        };
        if taken {
            self.waiting.insert(ticket);
        }
    }

    fn request_step(&mut self) {
        let Some(request) = self.request.take() else {
            let batches = if self.batches.is_empty() {
                Batches::AllComplete
            } else {
                Batches::SomeIncomplete
            };
            let pause = Duration::from_millis(self.random.below(20_000));
            self.stage.now += pause;
            self.request = self.stage.manager.next_request(batches, self.stage.now);
            if let Some(RequestBody::EndTxn(body)) = self.request.as_ref().map(TransactionalRequest::body) {
                assert!(self.batches.is_empty(), "R5: EndTxn beside a batch");
                let doubtful = self.doubtful.contains_key(&self.transaction);
                assert!(
                    body.committed || !doubtful,
                    "R7: an abort behind a commit that may have been carried out"
                );
            }
            return;
        };
        let commits = matches!(request.body(), RequestBody::EndTxn(body) if body.committed);
        match self.random.below(6) {
            0 => self.stage.manager.put_back(request),
            1 => self.stage.manager.find_coordinator_and_put_back(request),
            2 => {
                if commits {
                    self.doubtful.insert(self.transaction, ());
                }
                self.stage.manager.answered(request, Answer::Disconnected);
            }
            _ => {
                let code = self.random.one_of(&CODES);
                let response = answer(&request, code);
                self.stage.manager.answered(request, response);
            }
        }
    }

    fn drain(&mut self) {
        let index = u32::try_from(self.random.below(3)).expect("below 3");
        let retry = self
            .batches
            .iter_mut()
            .find(|sent| sent.waits && sent.batch.partition == partition(index));
        if let Some(sent) = retry {
            let stamp = (sent.batch.identity, sent.batch.base_sequence);
            if self.stage.manager.may_drain(partition(index), Some(stamp)) {
                sent.waits = false;
            }
        } else if self.stage.manager.may_drain(partition(index), None) {
            let records = u32::try_from(self.random.below(3) + 1).expect("at most 3");
            let batch = self.stage.drain(index, records);
            for sequence in 0..records {
                let name = (
                    batch.identity,
                    index,
                    batch.base_sequence.advanced_by(sequence).number(),
                );
                assert!(!self.used.contains(&name), "R3: {name:?} is used twice");
            }
            self.batches.push(Sent {
                batch,
                fate: Fate::NotWritten,
                waits: false,
            });
        }
    }

    fn answer_batch(&mut self) {
        let out: Vec<usize> = (0..self.batches.len())
            .filter(|place| !self.batches[*place].waits)
            .collect();
        if out.is_empty() {
            return self.expire_batch();
        }
        let place = self.random.one_of(&out);
        let code = self.random.one_of(&CODES);
        let unanswered = matches!(code, ErrorCode::RequestTimedOut | ErrorCode::UnknownServerError);
        if unanswered {
            self.batches[place].fate = Fate::MayBeWritten;
            self.stage.manager.note_unanswered();
        }
        let Sent { batch, fate, .. } = self.batches[place];
        if code == ErrorCode::None {
            self.use_up(&batch);
            self.batches.remove(place);
            self.stage.manager.batch_completed(&batch);
        } else if self.stage.manager.retry(code, &batch, fate) == Retry::Requeue {
            self.batches[place].waits = true;
        } else {
            self.fail_batch(place, FailureReason::Code(code));
        }
    }

    fn expire_batch(&mut self) {
        if !self.batches.is_empty() {
            let batch = self.batches[0].batch;
            self.fail_batch(0, FailureReason::Expired);
            self.stage.manager.mark_unresolved(&batch);
        }
    }

    fn fail_batch(&mut self, place: usize, reason: FailureReason) {
        let Sent { batch, fate, .. } = self.batches.remove(place);
        if fate == Fate::MayBeWritten {
            self.use_up(&batch);
        }
        self.stage
            .manager
            .batch_failed(&batch, &BatchFailure { reason, fate });
    }

    fn use_up(&mut self, batch: &BatchId) {
        for sequence in 0..batch.records {
            let number = batch.base_sequence.advanced_by(sequence).number();
            self.used.insert((batch.identity, batch.partition.0, number));
        }
    }

    fn turn_features(&mut self) {
        let epoch = i64::try_from(self.random.below(1000)).expect("a small number");
        let level = if self.random.below(2) == 0 { 1 } else { 2 };
        self.stage.level(epoch, level);
    }

    fn hear(&mut self) {
        for (ticket, outcome) in self.stage.answered_tickets() {
            assert!(
                self.waiting.remove(&ticket),
                "{ticket:?} was answered twice, at last with {outcome:?}"
            );
        }
        if self.stage.manager.fatal_error().is_some() {
            assert!(
                self.waiting.is_empty(),
                "D-3: {:?} wait for a dead producer",
                self.waiting
            );
            self.batches.clear();
        }
    }
}

fn walk(seed: u64, stage: Stage) -> StateName {
    let mut walk = Walk::new(seed, stage);
    for _ in 0..400 {
        walk.step();
        if walk.stage.manager.fatal_error().is_some() {
            break;
        }
    }
    walk.stage.state()
}

/// R3, R5, R7, D-3: transactional lives, half of them in each flavour.
#[test]
fn a_transactional_producer_keeps_its_rules_in_every_life() {
    let mut ends = BTreeSet::new();
    for seed in 0..2000 {
        let flavour = if seed % 2 == 0 { Flavour::V1 } else { Flavour::V2 };
        let support = if seed % 5 == 0 {
            EpochBumpSupport::Unsupported
        } else {
            EpochBumpSupport::Supported
        };
        ends.insert(walk(seed, Stage::transactional_with(flavour, support)));
    }
    assert!(
        ends.len() > 4,
        "the walks are too short to prove anything: {ends:?}"
    );
}

/// R2, R3, R4: idempotent lives.
#[test]
fn an_idempotent_producer_keeps_its_rules_in_every_life() {
    for seed in 0..2000 {
        let mut stage = Stage::idempotent();
        for index in 0..3 {
            stage.join(index);
        }
        walk(seed, stage);
    }
}
