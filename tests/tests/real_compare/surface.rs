//! What a client meets first: ApiVersions, Metadata, FindCoordinator, DescribeCluster.

use kommit_protocol::messages::*;
use kommit_protocol::units::TopicId;
use kommit_tests::compare::Actor;

scripts! { at [2, 1, 3.9]:
    /// The brokers, as administrators ask for them.
    describe_cluster;
}

scripts! { at [2, 1]:
    /// B-8 to B-10: versions and features.
    api_versions;
    /// B-15 to B-17: named, unknown, illegal, all and no topics.
    metadata;
    /// B-21: coordinators of groups and transactions.
    find_coordinator;
}

async fn api_versions(actor: &mut Actor) {
    let request = |name: &str, version: &str| ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: version.to_owned(),
    };
    for version in 0..=4 {
        actor
            .ask("good names", version, &request("kommit", "0.1.0"))
            .await;
    }
    for (name, version) in [
        ("", "1"),
        ("a", ""),
        ("a b", "1"),
        ("-a", "1"),
        ("a-", "1"),
        ("a-b.c", "1.0-rc.1"),
        ("a_b", "1"),
        ("a", "1 "),
        ("ä", "1"),
        ("a", ".1"),
        (".", "1"),
        ("a", "v1"),
    ] {
        for api_version in [2, 3, 4] {
            actor
                .ask(
                    format_args!("{name:?} {version:?}"),
                    api_version,
                    &request(name, version),
                )
                .await;
        }
    }
    for version in [5, 6, 100, -1, i16::MAX] {
        actor.ask("an unknown version", version, &request("a", "1")).await;
    }
    actor.ask("after an unknown version", 3, &request("a", "1")).await;
}

fn wanted(names: &[&str]) -> Option<Vec<MetadataRequestTopic>> {
    let topics = names.iter().map(|name| MetadataRequestTopic {
        name: Some((*name).to_owned()),
        ..Default::default()
    });
    Some(topics.collect())
}

fn not_created(topics: Option<Vec<MetadataRequestTopic>>) -> MetadataRequest {
    MetadataRequest {
        topics,
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

async fn metadata(actor: &mut Actor) {
    let one = actor.topic("one", 1, &[]).await;
    let two = actor.topic("two", 2, &[]).await;
    let unknown = actor.name("unknown");
    for version in 0..=13 {
        actor
            .ask(
                "two topics",
                version,
                &not_created(wanted(&[&one.name, &two.name])),
            )
            .await;
        if version >= 1 {
            actor
                .ask("no topic", version, &not_created(Some(Vec::new())))
                .await;
            actor.ask("all topics", version, &not_created(None)).await;
        }
        if version >= 4 {
            actor
                .ask(
                    "an unknown topic",
                    version,
                    &not_created(wanted(&[&unknown, &one.name])),
                )
                .await;
        }
    }
    metadata_names(actor, &one.name).await;
    metadata_ids(actor, &one.name, one.id).await;
}

async fn metadata_names(actor: &mut Actor, known: &str) {
    let long = "x".repeat(249);
    let longer = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ä", "a:b", "a,b", &longer] {
        for version in [1, 4, 9, 12, 13] {
            actor
                .ask(
                    format_args!("the illegal name {name:?}"),
                    version,
                    &not_created(wanted(&[name, known])),
                )
                .await;
            let creating = MetadataRequest {
                topics: wanted(&[name]),
                ..Default::default()
            };
            actor
                .ask(
                    format_args!("creating the illegal name {name:?}"),
                    version,
                    &creating,
                )
                .await;
        }
    }
    actor
        .ask("the longest name", 12, &not_created(wanted(&[&long])))
        .await;
    actor
        .ask("a name twice", 12, &not_created(wanted(&[known, known])))
        .await;
    for version in [0, 3, 4, 8, 10, 13] {
        let name = actor.name(format_args!("created-{version}"));
        let creating = MetadataRequest {
            topics: wanted(&[&name]),
            ..Default::default()
        };
        actor.ask("creating", version, &creating).await;
        actor.known_topic(name).await;
        actor.ask("created", version, &creating).await;
    }
    let operations = MetadataRequest {
        topics: wanted(&[known]),
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    for version in [8, 10, 12] {
        actor.ask("authorized operations", version, &operations).await;
    }
    for name in ["__consumer_offsets", "__transaction_state"] {
        for version in [1, 12] {
            actor
                .ask(
                    format_args!("the internal {name}"),
                    version,
                    &not_created(wanted(&[name])),
                )
                .await;
        }
    }
}

async fn metadata_ids(actor: &mut Actor, known: &str, id: TopicId) {
    let topic = |topic_id: TopicId, name: Option<&str>| MetadataRequestTopic {
        topic_id,
        name: name.map(str::to_owned),
    };
    let other = TopicId([7; 16]);
    let cases = [
        ("by id", vec![topic(id, None)]),
        ("by an unknown id", vec![topic(other, None)]),
        ("by id and name", vec![topic(id, Some(known))]),
        ("by an unknown id and a name", vec![topic(other, Some(known))]),
        ("neither", vec![topic(TopicId::ZERO, None)]),
        (
            "a known and an unknown id",
            vec![topic(id, None), topic(other, None)],
        ),
        (
            "an id and a name apart",
            vec![topic(id, None), topic(TopicId::ZERO, Some(known))],
        ),
        ("by id, twice", vec![topic(id, None), topic(id, None)]),
    ];
    for (label, topics) in cases {
        for version in 10..=13 {
            actor
                .ask(label, version, &not_created(Some(topics.clone())))
                .await;
        }
    }
}

async fn find_coordinator(actor: &mut Actor) {
    let key = actor.name("key");
    for version in 0..=6 {
        for key_type in [0, 1, 2, 3, -1] {
            let request = FindCoordinatorRequest {
                key: key.clone(),
                key_type,
                coordinator_keys: vec![key.clone(), "other".to_owned()],
            };
            actor
                .ask(format_args!("key type {key_type}"), version, &request)
                .await;
        }
        for key_type in [0, 1] {
            let empty = FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec![String::new()],
                ..Default::default()
            };
            actor
                .ask(format_args!("an empty key of type {key_type}"), version, &empty)
                .await;
            let twice = FindCoordinatorRequest {
                key: "a".to_owned(),
                key_type,
                coordinator_keys: vec!["a".to_owned(), "a".to_owned()],
            };
            actor
                .ask(format_args!("a key of type {key_type} twice"), version, &twice)
                .await;
            let none = FindCoordinatorRequest {
                key_type,
                ..Default::default()
            };
            actor
                .ask(format_args!("no key of type {key_type}"), version, &none)
                .await;
        }
    }
}

async fn describe_cluster(actor: &mut Actor) {
    for version in 0..=2 {
        for (endpoint_type, operations, fenced) in [
            (1, false, false),
            (1, true, false),
            (1, false, true),
            (2, false, false),
            (3, false, false),
            (0, false, false),
        ] {
            let request = DescribeClusterRequest {
                include_cluster_authorized_operations: operations,
                endpoint_type,
                include_fenced_brokers: fenced,
            };
            let label = format_args!("endpoints {endpoint_type}, operations {operations}, fenced {fenced}")
                .to_string();
            actor.ask(label, version, &request).await;
        }
    }
}
