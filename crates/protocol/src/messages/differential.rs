//! Every message in every version, against an independent implementation. Test code only.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as ReferenceKey, RequestKind, ResponseKind};

use crate::api::{ApiKey, Request};
use crate::messages::*;
use crate::sample::{Random, Sample};
use crate::wire::{Field, Reader, Version, Writer};

const SAMPLES: usize = 60;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Request,
    Response,
}

/// What is done with one message type in one version.
pub(super) trait Visit {
    fn visit<T: Field + Sample + PartialEq + std::fmt::Debug>(
        &mut self,
        key: ApiKey,
        version: i16,
        side: Side,
    );
}

pub(super) fn visit_all(visit: &mut impl Visit) {
    macro_rules! visit_exchanges {
        ($($key:ident: $request:ident => $response:ident;)*) => {$(
            assert_eq!($request::KEY, ApiKey::$key);
            for version in ApiKey::$key.supported().min..=ApiKey::$key.supported().max {
                visit.visit::<$request>(ApiKey::$key, version, Side::Request);
                visit.visit::<$response>(ApiKey::$key, version, Side::Response);
            }
        )*};
    }
    with_exchanges!(visit_exchanges);
}

fn encoded<T: Field>(message: &T, version: Version) -> Bytes {
    let mut w = Writer::default();
    message.encode(&mut w, version);
    w.into_bytes()
}

pub(super) fn sampled<T: Field + Sample>(random: &mut Random, version: Version) -> (T, Bytes) {
    let message = T::sample(random, version);
    let bytes = encoded(&message, version);
    (message, bytes)
}

/// What the reference makes of our bytes: decoded and encoded again.
fn through_reference(key: ApiKey, version: i16, side: Side, mut bytes: Bytes) -> Bytes {
    let key = ReferenceKey::try_from(key.code()).expect("a key that the reference knows");
    let mut out = BytesMut::new();
    match side {
        Side::Request => {
            let message =
                RequestKind::decode(key, &mut bytes, version).expect("the reference reads our bytes");
            message
                .encode(&mut out, version)
                .expect("the reference writes what it read");
        }
        Side::Response => {
            let message =
                ResponseKind::decode(key, &mut bytes, version).expect("the reference reads our bytes");
            message
                .encode(&mut out, version)
                .expect("the reference writes what it read");
        }
    }
    assert!(
        bytes.is_empty(),
        "the reference leaves {} of our bytes",
        bytes.len()
    );
    out.freeze()
}

/// The versions of which the reference has no layout yet. They are compared with ourselves only.
const NEWER_THAN_REFERENCE: [(ApiKey, i16); 4] = [
    (ApiKey::ListOffsets, 11),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::WriteTxnMarkers, 2),
];

struct Differential {
    random: Random,
    compared: usize,
}

impl Visit for Differential {
    fn visit<T: Field + Sample + PartialEq + std::fmt::Debug>(
        &mut self,
        key: ApiKey,
        number: i16,
        side: Side,
    ) {
        let version = key.version(number);
        let is_known_to_reference = !NEWER_THAN_REFERENCE.contains(&(key, number));
        for _ in 0..SAMPLES {
            let (message, bytes) = sampled::<T>(&mut self.random, version);
            let mut r = Reader::new(bytes.clone());
            assert_eq!(
                T::decode(&mut r, version).as_ref(),
                Ok(&message),
                "{key} version {number}"
            );
            assert_eq!(r.remaining(), 0, "{key} version {number}");
            if is_known_to_reference {
                let reference = through_reference(key, number, side, bytes.clone());
                assert_eq!(reference, bytes, "{key} version {number}: {message:?}");
                self.compared += 1;
            }
        }
    }
}

/// Every message in every version has the bytes of an independent implementation, and comes back from them unchanged.
#[test]
fn every_message_agrees_with_the_reference_in_every_version() {
    let mut differential = Differential {
        random: Random(1),
        compared: 0,
    };
    visit_all(&mut differential);
    assert!(
        differential.compared > 10_000,
        "only {} messages were compared",
        differential.compared
    );
}

struct LeastLengths;

impl Visit for LeastLengths {
    fn visit<T: Field + Sample + PartialEq + std::fmt::Debug>(
        &mut self,
        key: ApiKey,
        number: i16,
        _side: Side,
    ) {
        let version = key.version(number);
        let least = T::min_len(version);
        for seed in 0..SAMPLES as u64 {
            let (_, bytes) = sampled::<T>(&mut Random(seed), version);
            assert!(
                bytes.len() >= least,
                "{key} version {number}: {} bytes, at least {least}",
                bytes.len()
            );
        }
    }
}

/// A declared count is checked against the least size of an element, so that size must never be too large.
#[test]
fn no_message_is_shorter_than_its_least_length() {
    visit_all(&mut LeastLengths);
}

/// The versions that the reference does not know, by their difference from the version before.
#[test]
fn the_newest_versions_differ_as_the_schemas_say() {
    let topic_id = crate::units::TopicId([7; 16]);
    let with_id = [&[7; 16][..], &[1, 0]].concat();
    let at_10 = |key: ApiKey| key.version(10);

    let topic = OffsetCommitRequestTopic {
        topic_id,
        ..Default::default()
    };
    assert_eq!(encoded(&topic, at_10(ApiKey::OffsetCommit)), with_id);
    let topic = OffsetCommitResponseTopic {
        topic_id,
        ..Default::default()
    };
    assert_eq!(encoded(&topic, at_10(ApiKey::OffsetCommit)), with_id);
    let topic = OffsetFetchRequestTopic {
        topic_id,
        ..Default::default()
    };
    assert_eq!(encoded(&topic, at_10(ApiKey::OffsetFetch)), with_id);
    let topic = OffsetFetchResponseTopic {
        topic_id,
        ..Default::default()
    };
    assert_eq!(encoded(&topic, at_10(ApiKey::OffsetFetch)), with_id);

    let marker = WriteTxnMarkersRequestMarker {
        transaction_version: 2,
        ..Default::default()
    };
    let mut expected = encoded(&marker, ApiKey::WriteTxnMarkers.version(1)).to_vec();
    expected.insert(expected.len() - 1, 2);
    assert_eq!(encoded(&marker, ApiKey::WriteTxnMarkers.version(2)), expected);

    let (request, bytes) = sampled::<ListOffsetsRequest>(&mut Random(3), ApiKey::ListOffsets.version(10));
    assert_eq!(encoded(&request, ApiKey::ListOffsets.version(11)), bytes);
}
