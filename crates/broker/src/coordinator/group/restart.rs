//! What the shards of `__consumer_offsets` say, and how it comes back: offsets, the transactions that hold some back, and groups with
//! their members. Those of a group in the middle of a rebalance do not come back: they are told that they are unknown, and join again.

use std::sync::Arc;
use std::time::Duration;

use kommit_protocol::time::{Instant, Now};
use kommit_protocol::units::{ProducerId, TopicPartition};

use super::GroupCoordinator;
use super::membership::{Agreement, Group, Member, Phase, Waiting};
use super::offsets::{Key, OffsetsShard, Placed, Position, ShardProducer, StoredOffset};
use crate::coordinator::interface::shard_number;
use crate::durable::{
    Entry, GroupAgreement, GroupMember, GroupOffset, GroupProtocol, GroupState, OffsetsProducer, Place,
};

impl GroupCoordinator {
    /// What changed since the last call.
    pub(in crate::coordinator) fn take_unsaved(&mut self, out: &mut Vec<Entry>) {
        if self.members_saved != self.members_seen {
            self.members_saved = self.members_seen;
            out.push(members_seen(self.members_seen));
        }
        for id in std::mem::take(&mut self.changed) {
            out.extend(self.groups.get(&id).map(|group| group_entry(&id, group)));
        }
        for number in std::mem::take(&mut self.changed_shards) {
            if let Some(shard) = self.shards.get_mut(&number) {
                shard.take_unsaved(number, out);
            }
        }
    }

    /// Nobody keeps what changed.
    pub(in crate::coordinator) fn forget_unsaved(&mut self) {
        self.changed.clear();
        for number in std::mem::take(&mut self.changed_shards) {
            if let Some(shard) = self.shards.get_mut(&number) {
                shard.changed.clear();
                shard.changed_producers.clear();
            }
        }
    }

    /// Everything.
    pub(in crate::coordinator) fn all_entries(&self, out: &mut Vec<Entry>) {
        out.push(members_seen(self.members_seen));
        out.extend(self.groups.iter().map(|(id, group)| group_entry(id, group)));
        for (number, shard) in &self.shards {
            shard.all_entries(*number, out);
        }
    }

    /// Behind the last entry: nobody has been silent so far.
    pub(in crate::coordinator) fn finish_restore(&mut self, now: Now) {
        let members = self
            .groups
            .values_mut()
            .flat_map(|group| group.members.values_mut());
        members.for_each(|member| member.session_ends = now.instant + member.session_timeout);
    }

    /// Takes up what the shards said.
    pub(in crate::coordinator) fn restore(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry {
            Entry::MembersSeen(count) => {
                self.members_seen = count.cast_unsigned();
                self.members_saved = self.members_seen;
            }
            Entry::Group(state) => {
                let id = state.group.as_str().into();
                self.groups.insert(id, restored(state));
            }
            Entry::GroupOffset(offset) => {
                let shard = self.shards.entry(shard_number(&offset.group)).or_default();
                shard.restore_offset(offset);
            }
            Entry::OffsetsProducer(producer) => {
                let number = u32::try_from(producer.shard).map_err(|_| "a negative shard")?;
                self.shards.entry(number).or_default().restore_producer(producer);
            }
            _ => return Err("an entry that is not of groups"),
        }
        Ok(())
    }
}

/// A stable group with its members, any other one without.
fn group_entry(id: &str, group: &Group) -> Entry {
    let agreement = group.agreement.as_ref().filter(|_| group.phase == Phase::Stable);
    let agreement = agreement.map(|agreement| GroupAgreement {
        protocol: agreement.protocol.clone(),
        leader: agreement.leader.to_string(),
        members: group
            .members
            .iter()
            .map(|(id, member)| member_state(id, member))
            .collect(),
    });
    Entry::Group(GroupState {
        group: id.to_owned(),
        generation: group.generation,
        protocol_type: group.protocol_type.clone(),
        agreement: agreement.map(|agreement| vec![agreement]),
    })
}

fn restored(state: GroupState) -> Group {
    let mut group = Group {
        generation: state.generation,
        protocol_type: state.protocol_type.clone(),
        ..Group::default()
    };
    if let Some(kept) = state.agreement.into_iter().flatten().next() {
        group.phase = Phase::Stable;
        group.agreement = Some(Agreement {
            protocol_type: state.protocol_type,
            protocol: kept.protocol,
            leader: kept.leader.into(),
        });
        let members = kept.members.into_iter();
        group.members = members
            .map(|member| (member.id.as_str().into(), restored_member(member)))
            .collect();
    }
    group
}

fn member_state(id: &str, member: &Member) -> GroupMember {
    let protocols = member.protocols.iter();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    GroupMember {
        id: id.to_owned(),
        client_id: member.client_id.clone(),
        instance_id: member.instance_id.as_deref().map(str::to_owned),
        session_timeout_ms: millis(member.session_timeout),
        rebalance_timeout_ms: millis(member.rebalance_timeout),
        protocols: protocols
            .map(|(name, metadata)| GroupProtocol {
                name: name.clone(),
                metadata: metadata.clone(),
            })
            .collect(),
        assignment: member.assignment.clone(),
    }
}

fn restored_member(kept: GroupMember) -> Member {
    let time = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let protocols = kept.protocols.into_iter();
    Member {
        client_id: kept.client_id,
        instance_id: kept.instance_id.map(Into::into),
        session_timeout: time(kept.session_timeout_ms),
        rebalance_timeout: time(kept.rebalance_timeout_ms),
        protocols: protocols
            .map(|protocol| (protocol.name, protocol.metadata))
            .collect(),
        assignment: kept.assignment,
        session_ends: Instant::ORIGIN,
        waiting: Waiting::Nothing,
    }
}

impl OffsetsShard {
    fn take_unsaved(&mut self, number: u32, out: &mut Vec<Entry>) {
        for key in std::mem::take(&mut self.changed) {
            let placed = self.committed.get(&key);
            out.extend(placed.map(|placed| Entry::GroupOffset(stored(&key, placed))));
        }
        for id in std::mem::take(&mut self.changed_producers) {
            let producer = self.producers.get(&id);
            out.extend(producer.map(|producer| producer_entry(number, id, producer)));
        }
    }

    fn all_entries(&self, number: u32, out: &mut Vec<Entry>) {
        let offsets = self.committed.iter();
        out.extend(offsets.map(|(key, placed)| Entry::GroupOffset(stored(key, placed))));
        let producers = self.producers.iter();
        out.extend(producers.map(|(id, producer)| producer_entry(number, *id, producer)));
    }

    fn restore_offset(&mut self, offset: GroupOffset) {
        let (key, placed) = self.placed(offset);
        self.committed.insert(key, placed);
    }

    fn restore_producer(&mut self, stored: OffsetsProducer) {
        let open = stored
            .open
            .map(|open| open.into_iter().map(|offset| self.placed(offset)).collect());
        let producer = ShardProducer {
            epoch: stored.epoch,
            coordinator_epoch: (stored.coordinator_epoch >= 0).then_some(stored.coordinator_epoch),
            open,
        };
        self.producers.insert(stored.id, producer);
    }

    /// The offset with its place, behind which the shard's log goes on.
    fn placed(&mut self, offset: GroupOffset) -> (Key, Placed) {
        let position = Position(offset.position.cast_unsigned());
        self.next = self.next.max(Position(position.0.saturating_add(1)));
        let key = (Arc::from(offset.group), TopicPartition::from(offset.place));
        let stored = StoredOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
        };
        (key, Placed { stored, position })
    }
}

fn members_seen(count: u64) -> Entry {
    Entry::MembersSeen(count.cast_signed())
}

fn stored((group, partition): &Key, placed: &Placed) -> GroupOffset {
    GroupOffset {
        group: group.to_string(),
        place: Place::from(partition),
        position: placed.position.0.cast_signed(),
        offset: placed.stored.offset,
        leader_epoch: placed.stored.leader_epoch,
        metadata: placed.stored.metadata.clone(),
    }
}

fn producer_entry(shard: u32, id: ProducerId, producer: &ShardProducer) -> Entry {
    let open = producer.open.as_ref();
    Entry::OffsetsProducer(OffsetsProducer {
        shard: shard.cast_signed(),
        id,
        epoch: producer.epoch,
        coordinator_epoch: producer.coordinator_epoch.unwrap_or(-1),
        open: open.map(|open| open.iter().map(|(key, placed)| stored(key, placed)).collect()),
    })
}
