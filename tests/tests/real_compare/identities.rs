//! InitProducerId: whose identity a producer gets, and what becomes of the transaction before.

use kommit_protocol::messages::*;
use kommit_protocol::units::{Identity, ProducerEpoch, ProducerId};
use kommit_tests::compare::Actor;
use kommit_tests::compare::requests::{add_partitions, end, init, shifted};

scripts! { at [2, 1, 3.9]:
    /// B-54 to B-57: what may be asked for.
    init_arguments;
    /// B-59, B-61, B-64: expected values after a while without transaction.
    init_expected;
    /// B-62, B-63: an open transaction is fenced.
    init_during_transaction;
    /// B-63: expected values while a transaction is open.
    init_expected_during_transaction;
    /// B-101 to B-103: a transaction that lasts too long.
    timed_out;
}

scripts! { at [2, 3.9]:
    /// B-61, B-64, B-66, B-93: the end of the epochs.
    init_exhausted;
}

async fn init_arguments(actor: &mut Actor) {
    let id = actor.name("id");
    let of = |id: i64, epoch| Identity {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
    };
    for version in 0..=5 {
        for timeout in [60_000, 0, -1, i32::MAX, 900_000, 900_001, 1] {
            let without = init(None, timeout, None);
            actor
                .ask(format_args!("no id, timeout {timeout}"), version, &without)
                .await;
            let with = init(Some(&id), timeout, None);
            actor
                .ask(format_args!("an id, timeout {timeout}"), version, &with)
                .await;
        }
        actor
            .ask("an empty id", version, &init(Some(""), 60_000, None))
            .await;
        actor
            .ask("an empty id and no timeout", version, &init(Some(""), 0, None))
            .await;
        for (producer, epoch) in [(5, -1), (-1, 5), (-1, -2), (-2, -1), (5, 5), (0, 0), (77_000, 0)] {
            let expected = Some(of(producer, epoch));
            let label = format!("expecting {producer}/{epoch}");
            actor
                .ask(
                    format_args!("no id, {label}"),
                    version,
                    &init(None, 60_000, expected),
                )
                .await;
            actor
                .ask(
                    format_args!("an id, {label}"),
                    version,
                    &init(Some(&id), 60_000, expected),
                )
                .await;
            let fresh = actor.name(format_args!("fresh-{version}-{producer}-{epoch}"));
            actor
                .ask(
                    format_args!("a new id, {label}"),
                    version,
                    &init(Some(&fresh), 60_000, expected),
                )
                .await;
        }
    }
    actor
        .ask("a version not served", 6, &init(None, 60_000, None))
        .await;
}

async fn init_expected(actor: &mut Actor) {
    let id = actor.name("id");
    let identity = actor.transactional(&id, 60_000).await;
    let other = Identity {
        id: ProducerId(identity.id.0 + 100_000),
        epoch: identity.epoch,
    };
    for version in [3, 4, 5] {
        for by in [0, 0, 1, 0, -1, 2, 1, 3, 3, 2, 5, 100, -100] {
            let expected = Some(shifted(identity, by));
            actor
                .ask(
                    format_args!("expecting {by} more"),
                    version,
                    &init(Some(&id), 60_000, expected),
                )
                .await;
        }
        actor
            .ask(
                "expecting another id",
                version,
                &init(Some(&id), 60_000, Some(other)),
            )
            .await;
        actor
            .ask("expecting nothing", version, &init(Some(&id), 30_000, None))
            .await;
        actor
            .ask(
                "the old one again",
                version,
                &init(Some(&id), 60_000, Some(identity)),
            )
            .await;
        describe(actor, "after all", &id).await;
    }
}

async fn describe(actor: &mut Actor, label: &str, id: &str) {
    let request = DescribeTransactionsRequest {
        transactional_ids: vec![id.to_owned()],
    };
    actor.ask(label, 0, &request).await;
}

/// A new id with a partition in its transaction.
async fn ongoing(actor: &mut Actor, id: &str, topic: &str) -> Identity {
    let identity = actor.transactional(id, 60_000).await;
    actor
        .ask("joins", 3, &add_partitions(id, identity, &[(topic, &[0])]))
        .await;
    identity
}

async fn init_during_transaction(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for version in [0, 2, 3, 4, 5] {
        let id = actor.name(format_args!("id-{version}"));
        let identity = ongoing(actor, &id, &topic.name).await;
        describe(actor, "ongoing", &id).await;
        actor.ask("fences", version, &init(Some(&id), 60_000, None)).await;
        actor.settled(&id).await;
        describe(actor, "fenced", &id).await;
        for (label, committed) in [("commit", true), ("abort", false)] {
            for end_version in [4, 5] {
                actor
                    .ask(
                        format_args!("{label} of the fenced"),
                        end_version,
                        &end(&id, identity, committed),
                    )
                    .await;
                actor.settled(&id).await;
            }
        }
        actor
            .ask(
                "fenced partition",
                3,
                &add_partitions(&id, identity, &[(&topic.name, &[0])]),
            )
            .await;
        actor.ask("again", version, &init(Some(&id), 60_000, None)).await;
        actor
            .ask("and again", version, &init(Some(&id), 60_000, None))
            .await;
        actor.ask("commit of the old", 5, &end(&id, identity, true)).await;
        actor.ask("abort of the old", 5, &end(&id, identity, false)).await;
        describe(actor, "at last", &id).await;
    }
    actor.log("markers", &topic, 0).await;
}

async fn init_expected_during_transaction(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for (place, (by, other_id)) in [(0, false), (-1, false), (1, false), (0, true), (2, false)]
        .into_iter()
        .enumerate()
    {
        let id = actor.name(format_args!("id-{place}"));
        actor.transactional(&id, 60_000).await;
        actor.transactional(&id, 60_000).await;
        let identity = ongoing(actor, &id, &topic.name).await;
        let mut expected = shifted(identity, by);
        if other_id {
            expected.id = ProducerId(identity.id.0 + 100_000);
        }
        let label = format!(
            "expecting {by} more of {}",
            if other_id { "another" } else { "the same" }
        );
        actor
            .ask(&label, 4, &init(Some(&id), 60_000, Some(expected)))
            .await;
        if !other_id {
            actor.settled(&id).await;
        }
        describe(actor, &label, &id).await;
        for _ in 0..3 {
            actor
                .ask(&label, 4, &init(Some(&id), 60_000, Some(expected)))
                .await;
        }
        describe(actor, &label, &id).await;
    }
    actor.log("markers", &topic, 0).await;
}

async fn init_exhausted(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    let id = actor.name("id");
    let last = actor.exhausted(&id).await;
    describe(actor, "exhausted", &id).await;
    for by in [-5, 1] {
        let expected = Some(shifted(last, by));
        actor
            .ask(
                format_args!("expecting {by} more"),
                4,
                &init(Some(&id), 60_000, expected),
            )
            .await;
    }
    actor
        .ask("joins", 3, &add_partitions(&id, last, &[(&topic.name, &[0])]))
        .await;
    actor.ask("fences", 4, &init(Some(&id), 60_000, None)).await;
    actor.settled(&id).await;
    describe(actor, "fenced", &id).await;
    actor
        .ask("the old one again", 4, &init(Some(&id), 60_000, Some(last)))
        .await;
    actor
        .ask("the old one once more", 4, &init(Some(&id), 60_000, Some(last)))
        .await;
    actor.ask("anybody", 4, &init(Some(&id), 60_000, None)).await;
    actor
        .ask("the old one at last", 4, &init(Some(&id), 60_000, Some(last)))
        .await;
    actor.log("markers", &topic, 0).await;
}

async fn timed_out(actor: &mut Actor) {
    let topic = actor.topic("t", 1, &[]).await;
    for (name, version) in [("a", 3), ("b", 4), ("c", 5)] {
        let id = actor.name(name);
        let identity = actor.transactional(&id, 100).await;
        actor
            .ask("joins", 3, &add_partitions(&id, identity, &[(&topic.name, &[0])]))
            .await;
        actor.until_state(&id, |state| state == "CompleteAbort").await;
        describe(actor, "timed out", &id).await;
        if version == 3 {
            actor.ask("commits", 4, &end(&id, identity, true)).await;
            actor.ask("aborts", 4, &end(&id, identity, false)).await;
        }
        actor.ask("commits", 5, &end(&id, identity, true)).await;
        actor
            .ask(
                "joins again",
                3,
                &add_partitions(&id, identity, &[(&topic.name, &[0])]),
            )
            .await;
        actor.ask("aborts", 5, &end(&id, identity, false)).await;
        actor.settled(&id).await;
        actor
            .ask("starts over", version, &init(Some(&id), 100, Some(identity)))
            .await;
        actor
            .ask("starts over", version, &init(Some(&id), 100, None))
            .await;
        describe(actor, "at last", &id).await;
    }
    actor.log("markers", &topic, 0).await;
}
