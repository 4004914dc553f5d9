//! Sequences of one partition, step by step.

use kommit_protocol::units::{Identity, PartitionIndex, ProducerEpoch, ProducerId, Sequence};

use super::{Order, Sequences};
use crate::batch::{BatchId, Fate};

const PARTITION: PartitionIndex = PartitionIndex(2);

fn identity(epoch: i16) -> Identity {
    Identity {
        id: ProducerId(7),
        epoch: ProducerEpoch(epoch),
    }
}

fn sequence(number: i32) -> Sequence {
    Sequence::new(number).expect("not negative")
}

fn stamped(sequences: &mut Sequences, records: u32, epoch: i16) -> BatchId {
    let base_sequence = sequences.stamp(PARTITION, records, identity(epoch));
    BatchId {
        partition: PARTITION,
        identity: identity(epoch),
        base_sequence,
        records,
    }
}

/// Brings the next sequence near the wrap with acknowledged batches.
fn near_the_wrap() -> Sequences {
    let mut sequences = Sequences::default();
    for _ in 0..4 {
        let batch = stamped(&mut sequences, 1 << 29, 0);
        sequences.acknowledged(&batch);
    }
    sequences
}

/// T-64.
#[test]
fn batches_take_consecutive_sequences() {
    let mut sequences = Sequences::default();
    assert_eq!(stamped(&mut sequences, 3, 0).base_sequence, Sequence::ZERO);
    assert_eq!(stamped(&mut sequences, 2, 0).base_sequence, sequence(3));
    assert_eq!(stamped(&mut sequences, 1, 0).base_sequence, sequence(5));
}

/// T-64, T-68, W-9, D-7: behind i32::MAX comes 0, and what was acknowledged behind the wrap counts as later.
#[test]
fn sequences_and_acknowledgements_go_across_the_wrap() {
    let mut sequences = near_the_wrap();
    let batch = stamped(&mut sequences, 5, 0);
    assert_eq!(batch.base_sequence, Sequence::ZERO);
    sequences.acknowledged(&batch);
    let expired = stamped(&mut sequences, 1, 0);
    sequences.mark_unresolved(&expired);
    sequences.failed(&expired, Fate::MayBeWritten);
    let later = stamped(&mut sequences, 1, 0);
    sequences.acknowledged(&later);
    assert_eq!(sequences.resolve(), [], "a later batch succeeded");
}

/// D-16, T-80: until the first acknowledgement under an identity, one batch at a time.
#[test]
fn the_first_batch_of_an_identity_is_alone_until_it_is_acknowledged() {
    let mut sequences = Sequences::default();
    let first = stamped(&mut sequences, 1, 0);
    assert!(!sequences.may_stamp(PARTITION, identity(0)));
    sequences.acknowledged(&first);
    let _second = stamped(&mut sequences, 1, 0);
    assert!(
        sequences.may_stamp(PARTITION, identity(0)),
        "more than one in flight from now on"
    );
}

/// D-15: a batch without an answer stays among the five that its leader would know again, whatever is acknowledged behind it.
#[test]
fn no_batch_is_sent_so_far_ahead_that_an_earlier_one_would_be_forgotten() {
    let mut sequences = Sequences::default();
    let opening = stamped(&mut sequences, 1, 0);
    sequences.acknowledged(&opening);
    let unanswered = stamped(&mut sequences, 1, 0);
    for _ in 0..4 {
        assert!(sequences.may_stamp(PARTITION, identity(0)));
        let later = stamped(&mut sequences, 1, 0);
        sequences.acknowledged(&later);
    }
    assert!(
        !sequences.may_stamp(PARTITION, identity(0)),
        "the leader remembers it and four more"
    );
    sequences.waits(&unanswered, Fate::MayBeWritten);
    sequences.resent(PARTITION);
    assert!(
        !sequences.may_stamp(PARTITION, identity(0)),
        "its repetition is as old as itself"
    );
    sequences.acknowledged(&unanswered);
    assert!(sequences.may_stamp(PARTITION, identity(0)));
}

/// D-15, A-77: the parts of a split batch count one by one.
#[test]
fn each_part_of_a_split_batch_takes_its_place_in_the_memory_of_the_leader() {
    let mut sequences = Sequences::default();
    let opening = stamped(&mut sequences, 1, 0);
    sequences.acknowledged(&opening);
    let first = stamped(&mut sequences, 1, 0);
    let whole = stamped(&mut sequences, 4, 0);
    assert_eq!(sequences.split(&whole, &[1, 1, 1, 1]).len(), 4);
    assert!(!sequences.may_stamp(PARTITION, identity(0)), "one and four parts");
    sequences.acknowledged(&first);
    assert!(sequences.may_stamp(PARTITION, identity(0)), "four parts");
}

/// T-72, T-96, A-48 c: a new identity waits for the batches of the old one and starts at 0.
#[test]
fn a_partition_starts_at_zero_under_a_new_identity_when_nothing_is_in_flight() {
    let mut sequences = Sequences::default();
    let old = stamped(&mut sequences, 4, 0);
    assert!(!sequences.may_stamp(PARTITION, identity(1)));
    sequences.acknowledged(&old);
    assert!(sequences.may_stamp(PARTITION, identity(1)));
    assert_eq!(stamped(&mut sequences, 1, 1).base_sequence, Sequence::ZERO);
}

/// R3: what may have been written keeps its sequences for ever.
#[test]
fn sequences_of_unknown_fate_are_not_given_back() {
    let mut sequences = Sequences::default();
    let first = stamped(&mut sequences, 2, 0);
    let second = stamped(&mut sequences, 3, 0);
    sequences.failed(&first, Fate::NotWritten);
    sequences.failed(&second, Fate::MayBeWritten);
    assert_eq!(stamped(&mut sequences, 1, 0).base_sequence, sequence(5));
}

/// T-71: proven unused sequences are given back once nothing behind them is left.
#[test]
fn sequences_proven_unused_are_given_back_from_the_end() {
    let mut sequences = Sequences::default();
    let acked = stamped(&mut sequences, 1, 0);
    sequences.acknowledged(&acked);
    let first = stamped(&mut sequences, 2, 0);
    let second = stamped(&mut sequences, 3, 0);
    sequences.failed(&first, Fate::NotWritten);
    let behind = stamped(&mut sequences, 1, 0);
    assert_eq!(
        behind.base_sequence,
        sequence(6),
        "the second batch is still in flight"
    );
    sequences.failed(&second, Fate::NotWritten);
    sequences.failed(&behind, Fate::NotWritten);
    assert_eq!(stamped(&mut sequences, 1, 0).base_sequence, sequence(1));
}

/// R3: a gap before acknowledged sequences stays a gap.
#[test]
fn sequences_before_an_acknowledged_batch_are_not_given_back() {
    let mut sequences = Sequences::default();
    let first = stamped(&mut sequences, 2, 0);
    let second = stamped(&mut sequences, 3, 0);
    sequences.acknowledged(&second);
    sequences.failed(&first, Fate::NotWritten);
    assert_eq!(stamped(&mut sequences, 1, 0).base_sequence, sequence(5));
}

/// T-70: what waits for a retry is renumbered from 0, in order, and sole news of it is the list of renumberings.
#[test]
fn a_restart_renumbers_the_waiting_batches_in_order() {
    let mut sequences = Sequences::default();
    let failed = stamped(&mut sequences, 2, 0);
    let second = stamped(&mut sequences, 3, 0);
    let third = stamped(&mut sequences, 4, 0);
    sequences.failed(&failed, Fate::NotWritten);
    sequences.waits(&second, Fate::NotWritten);
    sequences.waits(&third, Fate::NotWritten);
    let renumberings = sequences.restart(PARTITION, identity(1));
    let told: Vec<_> = renumberings
        .iter()
        .map(|told| (told.batch, told.identity, told.base_sequence))
        .collect();
    assert_eq!(
        told,
        [
            (second, identity(1), sequence(0)),
            (third, identity(1), sequence(3))
        ]
    );
    assert_eq!(
        sequences.waiting(PARTITION, identity(1), sequence(0)),
        Some(Fate::NotWritten)
    );
    assert_eq!(
        sequences.waiting(PARTITION, identity(1), sequence(3)),
        None,
        "only the lowest goes (A-48 e)"
    );
}

/// T-70: a batch that fails before its new stamp was written is known by its old name.
#[test]
fn a_renumbered_batch_can_fail_under_its_former_name() {
    let mut sequences = Sequences::default();
    let failed = stamped(&mut sequences, 2, 0);
    let waiting = stamped(&mut sequences, 3, 0);
    sequences.failed(&failed, Fate::NotWritten);
    sequences.waits(&waiting, Fate::NotWritten);
    sequences.restart(PARTITION, identity(1));
    sequences.failed(&waiting, Fate::NotWritten);
    assert!(
        sequences.may_stamp(PARTITION, identity(1)),
        "nothing is in flight any more"
    );
    assert_eq!(stamped(&mut sequences, 1, 1).base_sequence, Sequence::ZERO);
}

/// R4: a batch without an answer, or of unknown fate, holds the epoch.
#[test]
fn nothing_is_unknown_when_every_batch_in_flight_is_proven_not_written() {
    let mut sequences = Sequences::default();
    let first = stamped(&mut sequences, 1, 0);
    assert!(!sequences.nothing_unknown());
    sequences.waits(&first, Fate::MayBeWritten);
    assert!(!sequences.nothing_unknown());
    sequences.waits(&first, Fate::NotWritten);
    assert!(sequences.nothing_unknown());
    sequences.resent(PARTITION);
    assert!(!sequences.nothing_unknown());
    sequences.acknowledged(&first);
    assert!(sequences.nothing_unknown());
}

/// H09, T-66, D-15: what is lowest in flight counts.
#[test]
fn an_out_of_order_batch_is_behind_another_or_overtaken_or_expected() {
    let mut sequences = Sequences::default();
    let first = stamped(&mut sequences, 1, 0);
    let second = stamped(&mut sequences, 1, 0);
    assert_eq!(sequences.order_of(&second), Order::BehindInFlight);
    assert_eq!(sequences.order_of(&first), Order::NextExpected);
    sequences.acknowledged(&second);
    assert_eq!(sequences.order_of(&first), Order::Overtaken);
}

/// T-88, T-89, T-91: a mark stops new batches until the partition is quiet; then the next sequence is in doubt or not.
#[test]
fn a_lost_acknowledgement_is_resolved_when_the_partition_is_quiet() {
    let mut sequences = Sequences::default();
    let acked = stamped(&mut sequences, 1, 0);
    sequences.acknowledged(&acked);
    let expired = stamped(&mut sequences, 2, 0);
    let later = stamped(&mut sequences, 2, 0);
    sequences.mark_unresolved(&expired);
    sequences.failed(&expired, Fate::MayBeWritten);
    assert!(!sequences.may_stamp(PARTITION, identity(0)));
    assert_eq!(sequences.resolve(), [], "a later batch is still in flight");
    sequences.failed(&later, Fate::MayBeWritten);
    assert_eq!(sequences.resolve(), [PARTITION]);
    assert!(sequences.may_stamp(PARTITION, identity(0)));
}

/// the parts of a split batch take its sequences in order.
#[test]
fn a_split_batch_hands_its_sequences_to_its_parts() {
    let mut sequences = near_the_wrap();
    let _gap = stamped(&mut sequences, 1, 0);
    let whole = stamped(&mut sequences, 5, 0);
    let behind = stamped(&mut sequences, 1, 0);
    assert_eq!(
        sequences.split(&whole, &[2, 2, 1]),
        [sequence(1), sequence(3), sequence(5)]
    );
    assert_eq!(behind.base_sequence, sequence(6));
}

/// A late answer to a batch of an earlier identity does not touch the sequences of the present one.
#[test]
fn a_late_acknowledgement_under_an_old_identity_changes_nothing() {
    let mut sequences = Sequences::default();
    let old = stamped(&mut sequences, 4, 0);
    sequences.forget_all();
    let new = stamped(&mut sequences, 1, 1);
    sequences.acknowledged(&old);
    assert!(
        !sequences.may_stamp(PARTITION, identity(1)),
        "the first batch is not acknowledged"
    );
    sequences.acknowledged(&new);
    assert!(sequences.may_stamp(PARTITION, identity(1)));
}
