//! What can be seen of transactional ids: DescribeTransactions and ListTransactions (B-100). Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_protocol::error_code::ErrorCode;
use kommit_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribeTransactionsResponseTopic,
    DescribeTransactionsResponseTransaction, ListTransactionsRequest, ListTransactionsResponse,
    ListTransactionsResponseTransaction,
};
use kommit_protocol::units::{PartitionId, ProducerEpoch, ProducerId};

use super::TransactionCoordinator;
use super::state::StateName;
use super::transaction::Transaction;
use crate::coordinator::interface::{Call, CoordinatorKind, ShardState};
use crate::denials::Operation;

impl TransactionCoordinator {
    pub(in crate::coordinator) fn describe_transactions(
        &mut self,
        request: &DescribeTransactionsRequest,
        call: &Call<'_>,
    ) -> DescribeTransactionsResponse {
        let described = request.transactional_ids.iter().map(|id| {
            let found = self.admitted(id, call);
            let mut described = match found {
                Ok(transaction) => description(transaction),
                Err(error_code) => nothing(error_code),
            };
            described.transactional_id.clone_from(id);
            described
        });
        DescribeTransactionsResponse {
            throttle_time_ms: 0,
            transaction_states: described.collect(),
        }
    }

    fn admitted(&mut self, id: &str, call: &Call<'_>) -> Result<&Transaction, ErrorCode> {
        call.denials.check_transactional_id(Operation::Describe, id)?;
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.check_shard(id, call)?;
        self.transactions
            .get(id)
            .ok_or(ErrorCode::TransactionalIdNotFound)
    }

    pub(in crate::coordinator) fn list_transactions(
        &mut self,
        request: &ListTransactionsRequest,
        call: &Call<'_>,
    ) -> ListTransactionsResponse {
        self.observe(&call.cluster, call.now);
        let mut response = ListTransactionsResponse::default();
        let own = |state| {
            let shards = call.cluster.transaction_shards.iter();
            shards.filter(move |shard| shard.leader == Some(call.node) && shard.state == state)
        };
        if own(ShardState::Loading).next().is_some() {
            response.error_code = ErrorCode::CoordinatorLoadInProgress;
            return response;
        }
        let is_state = |text: &str| StateName::ALL.iter().any(|state| state.text() == text);
        let unknown = request.state_filters.iter().filter(|text| !is_state(text));
        response.unknown_state_filters = unknown.cloned().collect();
        let pattern = match request
            .transactional_id_pattern
            .as_deref()
            .filter(|text| !text.is_empty())
        {
            None => None,
            Some(text) => match Pattern::parse(text) {
                Some(pattern) => Some(pattern),
                None => {
                    response.error_code = ErrorCode::InvalidRegularExpression;
                    return response;
                }
            },
        };
        let is_listed = |id: &str, transaction: &Transaction| {
            call.cluster
                .coordinator_shard(CoordinatorKind::Transaction, id, call.node)
                .is_ok()
                && call
                    .denials
                    .check_transactional_id(Operation::Describe, id)
                    .is_ok()
                && passes_filters(transaction, request, call)
                && pattern.as_ref().is_none_or(|pattern| pattern.matches(id))
        };
        let listed = self
            .transactions
            .iter()
            .filter(|(id, transaction)| is_listed(id, transaction));
        response.transaction_states = listed
            .map(|(id, transaction)| ListTransactionsResponseTransaction {
                transactional_id: id.to_string(),
                producer_id: transaction.producer_id,
                transaction_state: transaction.state.name().text().to_owned(),
            })
            .collect();
        response
    }
}

/// B-100. An id without a transaction counts as open since before the epoch, so that any duration finds it.
fn passes_filters(transaction: &Transaction, request: &ListTransactionsRequest, call: &Call<'_>) -> bool {
    let state = transaction.state.name().text();
    let started = transaction.state.started().map_or(-1, |started| started.0);
    let has_lasted = call.now.wall.0.saturating_sub(started) > request.duration_filter;
    (request.state_filters.is_empty() || request.state_filters.iter().any(|wanted| wanted == state))
        && (request.producer_id_filters.is_empty()
            || request.producer_id_filters.contains(&transaction.producer_id))
        && (request.duration_filter < 0 || has_lasted)
}

fn description(transaction: &Transaction) -> DescribeTransactionsResponseTransaction {
    let mut topics: BTreeMap<Arc<str>, Vec<PartitionId>> = BTreeMap::new();
    for partition in transaction.state.partitions().into_iter().flatten() {
        topics
            .entry(Arc::clone(&partition.topic))
            .or_default()
            .push(partition.partition);
    }
    DescribeTransactionsResponseTransaction {
        error_code: ErrorCode::None,
        transactional_id: String::new(),
        transaction_state: transaction.state.name().text().to_owned(),
        transaction_timeout_ms: transaction.timeout.to_wire(),
        transaction_start_time_ms: transaction.state.started().map_or(-1, |started| started.0),
        producer_id: transaction.producer_id,
        producer_epoch: transaction.epoch.unwrap_or(ProducerEpoch::NONE),
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| DescribeTransactionsResponseTopic {
                topic: topic.to_string(),
                partitions,
            })
            .collect(),
    }
}

fn nothing(error_code: ErrorCode) -> DescribeTransactionsResponseTransaction {
    DescribeTransactionsResponseTransaction {
        error_code,
        transaction_timeout_ms: 0,
        transaction_start_time_ms: 0,
        producer_id: ProducerId(0),
        producer_epoch: ProducerEpoch(0),
        ..Default::default()
    }
}

/// The part of regular expressions that ListTransactions understands here: literal characters, `.` and `.*`, over the whole id.
///
/// Left out: everything else of RE2, which is refused as invalid. Only a person who lists transactions by pattern could notice.
#[derive(Debug)]
struct Pattern {
    atoms: Vec<Atom>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atom {
    Literal(char),
    AnyOne,
    AnyMany,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let mut atoms = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            let atom = match character {
                '.' if rest.next_if_eq(&'*').is_some() => Atom::AnyMany,
                '.' => Atom::AnyOne,
                '\\' => Atom::Literal(rest.next().filter(char::is_ascii_punctuation)?),
                '*' | '+' | '?' | '|' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
                literal => Atom::Literal(literal),
            };
            atoms.push(atom);
        }
        Some(Self { atoms })
    }

    /// Keeps the set of places in the pattern that the id read so far can have reached.
    fn matches(&self, id: &str) -> bool {
        let mut reached = vec![false; self.atoms.len() + 1];
        reached[0] = true;
        self.skip_many(&mut reached);
        for character in id.chars() {
            let mut next = vec![false; self.atoms.len() + 1];
            for (place, atom) in self.atoms.iter().enumerate().filter(|(place, _)| reached[*place]) {
                match atom {
                    Atom::Literal(literal) => next[place + 1] |= *literal == character,
                    Atom::AnyOne => next[place + 1] = true,
                    Atom::AnyMany => next[place] = true,
                }
            }
            self.skip_many(&mut next);
            reached = next;
        }
        reached[self.atoms.len()]
    }

    fn skip_many(&self, reached: &mut [bool]) {
        for (place, atom) in self.atoms.iter().enumerate() {
            if reached[place] && *atom == Atom::AnyMany {
                reached[place + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, id: &str) -> Option<bool> {
        Pattern::parse(pattern).map(|pattern| pattern.matches(id))
    }

    #[test]
    fn a_pattern_covers_the_whole_id() {
        assert_eq!(matches("orders-.*", "orders-17"), Some(true));
        assert_eq!(matches("orders-.*", "my-orders-17"), Some(false));
        assert_eq!(matches("orders-.", "orders-17"), Some(false));
        assert_eq!(matches(".*a.*b", "xxaxxbb"), Some(true));
        assert_eq!(matches("a\\.b", "a.b"), Some(true));
        assert_eq!(matches("a\\.b", "acb"), Some(false));
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_refused() {
        for pattern in ["a+", "(a|b)", "[ab]", "\\d", "*"] {
            assert_eq!(matches(pattern, "a"), None, "{pattern}");
        }
    }
}
