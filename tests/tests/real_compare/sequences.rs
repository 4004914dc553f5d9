//! Sequences and epochs of producers without transactions.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, PartitionId, ProducerEpoch, ProducerId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::batches::{Batch, TRANSACTIONAL};
use kommit_tests::compare::requests::{Topic, shifted};

use super::produce::{BY_ID, USUAL, one};

scripts! { at [2, 3.9]:
    /// B-38 to B-46: sequences of one epoch.
    sequences;
    /// B-43 to B-46: epochs, and what an epoch forgets.
    epochs;
    /// B-45: sequences wrap around.
    wrapping_sequences;
    /// B-46, B-117: deleted records do not delete their producers.
    sequences_after_deletion;
}

async fn sequences(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let identity = actor.idempotent().await;
    let batch = |sequence, count| Batch::of(identity, sequence).records(count);
    let steps = [
        (0, 1),
        (0, 1),
        (1, 3),
        (1, 3),
        (1, 2),
        (2, 2),
        (1, 4),
        (3, 1),
        (0, 4),
        (5, 1),
        (4, 1),
        (5, 1),
        (6, 1),
        (7, 1),
        (8, 1),
        (9, 2),
        (0, 1),
        (1, 3),
        (4, 1),
        (5, 1),
        (6, 1),
        (9, 2),
        (9, 1),
        (10, 1),
        (12, 1),
        (11, 1),
        (-1, 1),
        (i32::MAX, 1),
        (0, 1),
    ];
    for (sequence, count) in steps {
        for version in [3, 8, USUAL, BY_ID] {
            let label = format!("{count} from {sequence}");
            actor
                .ask(label, version, &one(&topic, &batch(sequence, count)))
                .await;
        }
    }
    actor.log("sequences", &topic, 0).await;
    odd_producers(actor, &topic, identity).await;
}

async fn odd_producers(actor: &mut Actor, topic: &Topic, known: Identity) {
    let of = |id: i64, epoch: i16, sequence| {
        let identity = Identity {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
        };
        Batch::of(identity, sequence)
    };
    let known = known.id.0;
    for (id, epoch, sequence) in [
        (-1, -1, -1),
        (-1, 0, 0),
        (-1, -1, 0),
        (-1, 0, -1),
        (-2, 0, 0),
        (900_000, -1, -1),
        (900_000, -1, 0),
        (900_001, 0, -1),
        (900_001, 0, 7),
        (900_001, 0, 8),
        (900_001, 0, 10),
        (900_002, -2, 0),
        (known, -1, 0),
        (known, -1, -1),
        (900_003, 5, 3),
        (900_003, 4, 4),
        (900_003, 5, 4),
        (900_003, 6, 5),
        (900_003, 6, 0),
    ] {
        for version in [7, USUAL] {
            let label = format!(
                "producer {}/{epoch}, sequence {sequence}",
                if id == known {
                    "known".into()
                } else {
                    id.to_string()
                }
            );
            actor
                .ask(label, version, &one(topic, &of(id, epoch, sequence)))
                .await;
        }
    }
    let unfit = Batch::of(
        Identity {
            id: ProducerId(900_005),
            epoch: ProducerEpoch(0),
        },
        0,
    );
    let transactional = unfit.clone().attributes(TRANSACTIONAL);
    actor
        .ask("transactional without an id", USUAL, &one(topic, &transactional))
        .await;
    let nobody = Batch::plain().attributes(TRANSACTIONAL);
    actor
        .ask(
            "transactional of nobody without an id",
            USUAL,
            &one(topic, &nobody),
        )
        .await;
    actor.log("odd producers", topic, 0).await;
}

async fn epochs(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let identity = actor.idempotent().await;
    for (by, sequence) in [
        (0, 0),
        (0, 1),
        (1, 2),
        (1, 1),
        (1, 0),
        (1, 0),
        (0, 2),
        (0, 0),
        (1, 1),
        (5, 0),
        (4, 0),
        (5, 1),
        (5, 0),
        (i16::MAX, 0),
        (i16::MAX, 1),
        (5, 2),
    ] {
        for version in [7, USUAL] {
            let batch = Batch::of(shifted(identity, by), sequence);
            actor
                .ask(
                    format_args!("epoch {by}, sequence {sequence}"),
                    version,
                    &one(&topic, &batch),
                )
                .await;
        }
    }
    let describe = DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: topic.name.clone(),
            partition_indexes: vec![PartitionId(0)],
        }],
    };
    actor.ask("epochs", 0, &describe).await;
    actor.log("epochs", &topic, 0).await;
}

async fn wrapping_sequences(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let identity = actor.idempotent().await;
    for (sequence, count) in [
        (i32::MAX - 2, 2),
        (i32::MAX, 1),
        (0, 1),
        (1, 1),
        (i32::MAX, 1),
        (i32::MAX - 2, 2),
        (2, 1),
    ] {
        let batch = Batch::of(identity, sequence).records(count);
        actor
            .ask(
                format_args!("{count} from {sequence}"),
                USUAL,
                &one(&topic, &batch),
            )
            .await;
    }
    let other = actor.idempotent().await;
    for (sequence, count) in [(i32::MAX - 1, 4), (2, 1), (i32::MAX - 1, 4), (3, 1), (1, 1)] {
        let batch = Batch::of(other, sequence).records(count);
        actor
            .ask(
                format_args!("{count} across the end from {sequence}"),
                USUAL,
                &one(&topic, &batch),
            )
            .await;
    }
    actor.log("wrapping", &topic, 0).await;
}

async fn sequences_after_deletion(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let identity = actor.idempotent().await;
    let ask = async |actor: &mut Actor, sequence: i32| {
        let batch = Batch::of(identity, sequence).records(2);
        actor
            .ask(format_args!("two from {sequence}"), USUAL, &one(&topic, &batch))
            .await;
    };
    for sequence in [0, 2, 4] {
        ask(actor, sequence).await;
    }
    for offset in [3, 6] {
        let deletion = DeleteRecordsRequest {
            topics: vec![DeleteRecordsRequestTopic {
                name: topic.name.clone(),
                partitions: vec![DeleteRecordsRequestPartition {
                    partition_index: PartitionId(0),
                    offset,
                }],
            }],
            timeout_ms: 5000,
        };
        actor
            .ask(format_args!("deleted before {offset}"), 2, &deletion)
            .await;
        for sequence in [0, 4, 10] {
            ask(actor, sequence).await;
        }
    }
    ask(actor, 6).await;
    actor.log("deleted", &topic, 0).await;
}
