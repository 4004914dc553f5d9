//! Keys together: what contradicts what, what gives way, and which error comes first.

use super::{millis, refused, valid, warned};

/// C-42, C-43: what contradicts idempotence is an error when idempotence was asked for, and switches it off otherwise.
#[test]
fn idempotence_gives_way_only_when_nobody_asked_for_it() {
    for contradiction in [("acks", "1"), ("acks", "0"), ("retries", "0")] {
        assert!(!valid(&[contradiction]).idempotence);
        let text = refused(&[contradiction, ("enable.idempotence", "true")]);
        assert!(text.starts_with("enable.idempotence = true and "), "{text}");
    }
}

/// C-44: more than five in flight is refused even where idempotence would be switched off by another rule.
#[test]
fn six_in_flight_are_too_many_for_an_idempotent_producer() {
    let six = ("max.in.flight.requests.per.connection", "6");
    assert!(refused(&[six]).contains("at most 5"));
    assert!(refused(&[six, ("acks", "1")]).contains("at most 5"));
    assert_eq!(valid(&[six, ("enable.idempotence", "false")]).max_in_flight, 6);
}

/// C-15, C-45: transactions need a name, and idempotence, however that was lost.
#[test]
fn a_transactional_id_needs_a_name_and_idempotence() {
    let id = ("transactional.id", "t");
    assert!(refused(&[("transactional.id", "  ")]).contains("not empty"));
    assert!(valid(&[id]).idempotence);
    for loss in [("acks", "1"), ("retries", "0"), ("enable.idempotence", "false")] {
        assert!(refused(&[id, loss]).contains("transactions need idempotence"));
    }
}

/// C-46: a delivery time-out that leaves no room for a request is an error, and a default one is raised, with a warning.
#[test]
fn the_delivery_timeout_leaves_room_for_a_request() {
    assert!(
        refused(&[("delivery.timeout.ms", "30004")])
            .contains("at least linger.ms + request.timeout.ms = 30005")
    );
    assert_eq!(
        valid(&[("delivery.timeout.ms", "30005")]).delivery_timeout,
        millis(30_005)
    );
    let slow = [("request.timeout.ms", "130000")];
    assert_eq!(valid(&slow).delivery_timeout, millis(130_005));
    assert!(warned(&slow)[0].contains("raised"));
    let endless = [("request.timeout.ms", "2147483647")];
    assert_eq!(valid(&endless).delivery_timeout, millis(2_147_483_647));
}

/// C-17, C-47: two-phase commit has no time-out, and is not there.
#[test]
fn two_phase_commit_is_refused() {
    let on = ("transaction.two.phase.commit.enable", "true");
    assert!(refused(&[on, ("transaction.timeout.ms", "60000")]).contains("no time-out"));
    assert!(refused(&[on]).contains("not there yet"));
}

/// C-25, C-27: a base above its maximum is a constant wait of the maximum, with a warning.
#[test]
fn a_backoff_above_its_maximum_is_constant() {
    let retry = [("retry.backoff.ms", "2000")];
    assert_eq!(valid(&retry).retry_backoff, (millis(1_000), millis(1_000)));
    assert!(warned(&retry)[0].starts_with("retry.backoff.ms"));
    let setup = [("socket.connection.setup.timeout.ms", "40000")];
    assert_eq!(
        valid(&setup).connection_setup_timeout,
        (millis(30_000), millis(30_000))
    );
    assert!(warned(&setup)[0].starts_with("socket.connection.setup.timeout.ms"));
}

/// C-26, N-13: a reconnect back-off without its maximum is constant, and one above its maximum too.
#[test]
fn a_reconnect_backoff_alone_is_constant() {
    let alone = valid(&[("reconnect.backoff.ms", "70")]);
    assert_eq!(alone.reconnect_backoff, (millis(70), millis(70)));
    let above = valid(&[("reconnect.backoff.ms", "70"), ("reconnect.backoff.max.ms", "60")]);
    assert_eq!(above.reconnect_backoff, (millis(60), millis(60)));
}

/// C-35: four protocols in any case of letters, of which one is there.
#[test]
fn only_plaintext_is_there() {
    valid(&[("security.protocol", "plaintext")]);
    for (protocol, said) in [
        ("ssl", "not there yet"),
        ("SASL_SSL", "not there yet"),
        ("TLS", "one of"),
    ] {
        assert!(
            refused(&[("security.protocol", protocol)]).contains(said),
            "{protocol}"
        );
    }
}

/// C-48: SASL without a mechanism is a contradiction.
#[test]
fn sasl_needs_a_mechanism() {
    let text = refused(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "")]);
    assert!(text.contains("SASL needs a mechanism"), "{text}");
}

/// C-51: of several faults, the one that Kafka's producer would meet first is told.
#[test]
fn of_several_faults_the_first_is_told() {
    let mut faults = vec![
        ("delivery.timeout.ms", "1"),
        ("transaction.two.phase.commit.enable", "true"),
        ("transactional.id", "t"),
        ("max.in.flight.requests.per.connection", "6"),
        ("acks", "1"),
        ("enable.idempotence", "true"),
        ("retries", "0"),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", ""),
        ("linger.ms", "soon"),
    ];
    for (said, mended) in [
        ("linger.ms = \"soon\"", 1),
        ("SASL needs a mechanism", 2),
        ("retries = 0", 1),
        ("acks = 1", 2),
        ("at most 5", 1),
    ] {
        let text = refused(&faults);
        assert!(text.contains(said), "{text}");
        faults.truncate(faults.len() - mended);
    }
    faults.push(("enable.idempotence", "false"));
    assert!(refused(&faults).contains("transactions need idempotence"));
    faults.pop();
    assert!(refused(&faults).contains("two.phase"));
    faults.remove(1);
    assert!(refused(&faults).contains("delivery.timeout.ms"));
}

/// A key that another one makes idle is told.
#[test]
fn a_key_that_another_one_makes_idle_is_warned_of() {
    for pairs in [
        &[
            ("partitioner.ignore.keys", "true"),
            ("partitioner.class", "RoundRobinPartitioner"),
        ][..],
        &[("transaction.timeout.ms", "5000")],
        &[("compression.gzip.level", "5")],
        &[("compression.lz4.level", "5"), ("compression.type", "lz4")],
    ] {
        let warnings = warned(pairs);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(pairs[0].0),
            "{warnings:?}"
        );
    }
}
