//! What of an answer must be equal: its text without ids that brokers choose, addresses, times and the words of error messages.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kommit_protocol::api::ApiKey;
use kommit_protocol::batch;
use kommit_protocol::messages::*;

/// Times that differ from now by less count as now.
const ABOUT_NOW_MS: i64 = 3_600_000;
/// The most that a batch may expand to.
const LARGEST_EXPANSION: usize = 1 << 24;

/// Names for what brokers choose themselves, in the order in which they turn up.
#[derive(Debug, Default)]
pub struct Aliases {
    names: BTreeMap<(&'static str, String), usize>,
    members: Vec<String>,
}

impl Aliases {
    fn of(&mut self, kind: &'static str, value: &str) -> String {
        let next = self.names.keys().filter(|(known, _)| *known == kind).count() + 1;
        let number = self.names.entry((kind, value.to_owned())).or_insert(next);
        format!("{kind}{number}")
    }

    fn add_member(&mut self, id: &str) {
        if !id.is_empty() && !self.members.iter().any(|known| known == id) {
            self.members.push(id.to_owned());
        }
    }
}

/// The comparable text of an answer; only topics, groups and transactional ids that begin with `prefix` are listed.
pub fn text<T: Any + std::fmt::Debug>(mut response: T, prefix: &str, aliases: &mut Aliases) -> String {
    let extra = simplify(&mut response, prefix, aliases);
    let mut text = format!("{response:?}");
    for (number, member) in aliases.members.clone().iter().enumerate() {
        text = text.replace(member.as_str(), &format!("MEMBER{}", number + 1));
    }
    text = replaced(&text, "ProducerId(", ")", |id| match id {
        "-1" | "0" => id.to_owned(),
        id => aliases.of("P", id),
    });
    text = replaced(&text, "TopicId([", "])", |id| {
        if id.chars().all(|character| matches!(character, '0' | ',' | ' ')) {
            "0".to_owned()
        } else {
            aliases.of("T", id)
        }
    });
    for field in [
        "timestamp: ",
        "timestamp_ms: ",
        "start_time_ms: ",
        "append_time_ms: ",
    ] {
        text = replaced(&text, field, ",", about_now);
        text = replaced(&text, field, " }", about_now);
    }
    text = replaced(&text, "port: ", ",", |port| {
        if port.starts_with('-') { port } else { "PORT" }.to_owned()
    });
    for field in ["host: \"", "cluster_id: \"", "cluster_id: Some(\""] {
        text = replaced(&text, field, "\"", |value| {
            if value.is_empty() { "" } else { "X" }.to_owned()
        });
    }
    text = replaced(&text, "error_message: Some(\"", "\")", |said| {
        if said.is_empty() { "" } else { "text" }.to_owned()
    });
    text + &extra
}

/// Replaces what stands between `begin` and the next `end`, wherever `begin` stands.
pub(super) fn replaced(
    text: &str,
    begin: &str,
    end: &str,
    mut replace: impl FnMut(&str) -> String,
) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(begin) {
        let (before, behind) = rest.split_at(at + begin.len());
        result.push_str(before);
        let stop = behind.find(end).unwrap_or(behind.len());
        let (value, after) = behind.split_at(stop);
        result.push_str(&replace(value));
        rest = after;
    }
    result + rest
}

fn about_now(value: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "real answers carry real times")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    match value.parse::<i64>() {
        Ok(time) if time.abs_diff(now) < ABOUT_NOW_MS.unsigned_abs() => "NOW".to_owned(),
        _ => value.to_owned(),
    }
}

/// Takes out what other scripts have left in the broker, puts sets in order, and turns records into text.
fn simplify(response: &mut dyn Any, prefix: &str, aliases: &mut Aliases) -> String {
    let mut extra = String::new();
    if let Some(response) = response.downcast_mut::<FetchResponse>() {
        for topic in &mut response.responses {
            for partition in &mut topic.partitions {
                if let Some(records) = partition.records.take() {
                    let _ = write!(
                        extra,
                        " records of {}: {}",
                        partition.partition_index.0,
                        listed(&records, aliases)
                    );
                }
            }
        }
    } else if let Some(response) = response.downcast_mut::<MetadataResponse>() {
        response.topics.retain(|topic| {
            topic
                .name
                .as_deref()
                .is_none_or(|name| name.starts_with(prefix) || name.starts_with("__") || !name.contains('-'))
        });
        response.topics.sort_by(|one, other| one.name.cmp(&other.name));
        for topic in &mut response.topics {
            topic
                .partitions
                .sort_by_key(|partition| partition.partition_index);
        }
    } else if let Some(response) = response.downcast_mut::<JoinGroupResponse>() {
        aliases.add_member(&response.member_id);
        response
            .members
            .iter()
            .for_each(|member| aliases.add_member(&member.member_id));
        response
            .members
            .sort_by(|one, other| one.member_id.cmp(&other.member_id));
    } else if let Some(response) = response.downcast_mut::<DescribeGroupsResponse>() {
        response
            .groups
            .sort_by(|one, other| one.group_id.cmp(&other.group_id));
    } else if let Some(response) = response.downcast_mut::<ListGroupsResponse>() {
        response.groups.retain(|group| group.group_id.starts_with(prefix));
        response
            .groups
            .sort_by(|one, other| one.group_id.cmp(&other.group_id));
    } else if let Some(response) = response.downcast_mut::<ListTransactionsResponse>() {
        response
            .transaction_states
            .retain(|listed| listed.transactional_id.starts_with(prefix));
        response
            .transaction_states
            .sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
        response.unknown_state_filters.sort();
    } else {
        put_in_order(response);
    }
    extra
}

fn put_in_order(response: &mut dyn Any) {
    if let Some(response) = response.downcast_mut::<DescribeProducersResponse>() {
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition
                .active_producers
                .sort_by_key(|producer| producer.producer_id);
        }
    } else if let Some(response) = response.downcast_mut::<DescribeTransactionsResponse>() {
        for transaction in &mut response.transaction_states {
            transaction
                .topics
                .sort_by(|one, other| one.topic.cmp(&other.topic));
            transaction
                .topics
                .iter_mut()
                .for_each(|topic| topic.partitions.sort());
        }
    } else if let Some(response) = response.downcast_mut::<AddPartitionsToTxnResponse>() {
        response
            .results_by_topic_v3_and_below
            .sort_by(|one, other| one.name.cmp(&other.name));
        for topic in &mut response.results_by_topic_v3_and_below {
            topic
                .results_by_partition
                .sort_by_key(|partition| partition.partition_index);
        }
    } else if let Some(response) = response.downcast_mut::<ProduceResponse>() {
        for topic in &mut response.responses {
            topic.partition_responses.sort_by_key(|partition| partition.index);
        }
        // Ids differ between the brokers, what they say about the partitions does not.
        response
            .responses
            .sort_by_cached_key(|topic| (topic.name.clone(), format!("{:?}", topic.partition_responses)));
    } else {
        put_topics_in_order(response);
    }
}

fn put_topics_in_order(response: &mut dyn Any) {
    if let Some(response) = response.downcast_mut::<CreateTopicsResponse>() {
        for topic in &mut response.topics {
            topic.configs = topic.configs.take().map(|_| Vec::new());
        }
        response.topics.sort_by(|one, other| one.name.cmp(&other.name));
    } else if let Some(response) = response.downcast_mut::<DeleteTopicsResponse>() {
        response
            .responses
            .sort_by(|one, other| (&one.name, one.error_code).cmp(&(&other.name, other.error_code)));
    } else if let Some(response) = response.downcast_mut::<DeleteRecordsResponse>() {
        response.topics.sort_by(|one, other| one.name.cmp(&other.name));
        response.topics.iter_mut().for_each(|topic| {
            topic
                .partitions
                .sort_by_key(|partition| partition.partition_index)
        });
    } else if let Some(response) = response.downcast_mut::<ListOffsetsResponse>() {
        response.topics.sort_by(|one, other| one.name.cmp(&other.name));
        response.topics.iter_mut().for_each(|topic| {
            topic
                .partitions
                .sort_by_key(|partition| partition.partition_index)
        });
    } else if let Some(response) = response.downcast_mut::<OffsetFetchResponse>() {
        for topic in response
            .topics
            .iter_mut()
            .chain(response.groups.iter_mut().flat_map(|group| &mut group.topics))
        {
            topic
                .partitions
                .sort_by_key(|partition| partition.partition_index);
        }
    } else if let Some(response) = response.downcast_mut::<ApiVersionsResponse>() {
        response
            .supported_features
            .retain(|feature| feature.name == "transaction.version");
        response
            .finalized_features
            .retain(|feature| feature.name == "transaction.version");
        if response.finalized_features_epoch > 0 {
            response.finalized_features_epoch = 1;
        }
        // B-8: markers are written by a call here, not by a request between nodes.
        response
            .api_keys
            .retain(|api| ApiKey::from_code(api.api_key).is_some_and(|key| key != ApiKey::WriteTxnMarkers));
        response.api_keys.sort_by_key(|api| api.api_key);
    }
}

/// The batches of a fetch answer, with everything in them that does not come from the broker's clock.
fn listed(blob: &Bytes, aliases: &mut Aliases) -> String {
    let mut text = String::from("[");
    for view in batch::batches(blob.clone()) {
        let view = match view {
            Ok(view) => view,
            Err(error) => {
                let _ = write!(text, " {error}");
                break;
            }
        };
        let header = view.header.clone();
        let _ = write!(
            text,
            " ({}+{} leader epoch {} attributes {:?} {:?}/{} from {:?}, {} of {}..{}",
            header.base_offset.0,
            header.last_offset_delta,
            header.partition_leader_epoch.0,
            header.attributes,
            header.producer_id,
            header.producer_epoch.0,
            header.base_sequence,
            header.record_count,
            about_now(&header.base_timestamp.0.to_string()),
            about_now(&header.max_timestamp.0.to_string()),
        );
        if view.verify_crc().is_err() {
            text.push_str(" WRONG CRC");
        }
        match view.records(LARGEST_EXPANSION) {
            Ok(records) => records.for_each(|record| match record {
                Ok(record) => {
                    let time = about_now(&record.timestamp.0.to_string());
                    let _ = write!(
                        text,
                        " {}@{time} {:?}={:?}",
                        record.offset.0, record.key, record.value
                    );
                }
                Err(error) => text.push_str(&error.to_string()),
            }),
            Err(error) => text.push_str(&error.to_string()),
        }
        text.push(')');
    }
    text.push(']');
    replaced(&text, "ProducerId(", ")", |id| match id {
        "-1" | "0" => id.to_owned(),
        id => aliases.of("P", id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_chooses_gets_a_name_by_its_first_use() {
        let mut aliases = Aliases::default();
        let mut said = |id| {
            let answer = InitProducerIdResponse {
                producer_id: kommit_protocol::units::ProducerId(id),
                ..Default::default()
            };
            text(answer, "", &mut aliases)
        };
        let first = said(4711);
        assert!(first.contains("ProducerId(P1)"), "{first}");
        assert!(said(4712).contains("ProducerId(P2)"));
        assert_eq!(said(4711), first);
        assert!(said(-1).contains("ProducerId(-1)"));
    }

    #[test]
    fn words_and_ports_do_not_count_but_their_presence_does() {
        let of = |error_message: Option<&str>, port| {
            let answer = FindCoordinatorResponse {
                error_message: error_message.map(str::to_owned),
                port,
                ..Default::default()
            };
            text(answer, "", &mut Aliases::default())
        };
        assert_eq!(of(Some("one"), 9092), of(Some("another"), 19092));
        assert_ne!(of(Some("one"), 9092), of(None, 9092));
        assert_ne!(of(None, -1), of(None, 9092));
    }
}
