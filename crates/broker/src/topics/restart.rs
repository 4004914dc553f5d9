//! The cluster across a restart: what is given away of it, and how it comes back.

use std::sync::Arc;

use kommit_protocol::units::{NodeId, TopicPartition};

use super::{Cluster, Topic};
use crate::config::TopicConfig;
use crate::coordinator::interface::TransactionVersion;
use crate::durable::{Entry, FeatureState, PartitionState, Place, StoredBatch, TopicSetting, TopicState};
use crate::partition::Partition;

impl Cluster {
    /// What changed since the last call, without batches.
    pub(crate) fn take_unsaved(&mut self, out: &mut Vec<Entry>) {
        let features = self.feature_state();
        if self.saved_features.as_ref() != Some(&features) {
            out.push(Entry::Features(features.clone()));
            self.saved_features = Some(features);
        }
        for name in std::mem::take(&mut self.changed) {
            out.push(match self.topics.get(&name) {
                Some(topic) => Entry::Topic(topic_state(topic)),
                None => Entry::TopicDeleted(name.to_string()),
            });
        }
    }

    /// Nobody keeps what changed.
    pub(crate) fn forget_unsaved(&mut self) {
        self.changed.clear();
    }

    /// The batches of a partition that were appended since the last call.
    pub(crate) fn take_unsaved_batches(&mut self, name: &TopicPartition, out: &mut Vec<Entry>) {
        let Ok(partition) = self.partition_mut(name) else {
            return;
        };
        for bytes in partition.take_unsaved() {
            out.push(batch_entry(name, bytes));
        }
    }

    /// Everything.
    pub(crate) fn all_entries(&self, out: &mut Vec<Entry>) {
        out.push(Entry::Features(self.feature_state()));
        for topic in self.topics.values() {
            out.push(Entry::Topic(topic_state(topic)));
            for (partition, index) in topic.partitions.iter().zip(0..) {
                let name = TopicPartition::new(&*topic.name, index);
                let batches = partition.log().batches();
                out.extend(batches.map(|batch| batch_entry(&name, batch.bytes.clone())));
            }
        }
    }

    /// Takes up the features.
    pub(crate) fn restore_features(&mut self, state: &FeatureState) -> Result<(), &'static str> {
        self.transaction_version = TransactionVersion::from_level(state.level)
            .ok_or("a level of transaction.version that there is not")?;
        self.features_epoch = state.epoch;
        self.random = state.random.cast_unsigned();
        Ok(())
    }

    /// Takes up a topic; the records of a topic of the same id stay.
    pub(crate) fn restore_topic(&mut self, state: TopicState) -> Result<(), &'static str> {
        let mut config = TopicConfig::default();
        for setting in &state.settings {
            config
                .set(&setting.name, &setting.value)
                .map_err(|_| "a topic setting that there is not")?;
        }
        let name: Arc<str> = state.name.into();
        let mut known = match self.topics.remove(&name) {
            Some(topic) if topic.id == state.id => topic.partitions,
            Some(topic) => {
                self.names.remove(&topic.id);
                Vec::new()
            }
            None => Vec::new(),
        };
        let nodes: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        for (index, kept) in state.partitions.into_iter().enumerate() {
            let mut replicas = kept.replicas;
            replicas.retain(|node| nodes.contains(node));
            if replicas.is_empty() {
                replicas = self.replicas(index, 1);
            }
            if known.len() == index {
                known.push(Partition::new(replicas.clone()));
            }
            if let Some(partition) = known.get_mut(index) {
                partition.restore(replicas, kept.leader_epoch, kept.log_start);
            }
        }
        self.insert_topic(Topic {
            name,
            id: state.id,
            config,
            partitions: known,
        });
        Ok(())
    }

    /// Takes up a topic's deletion. One that came and went between two turns was never written.
    pub(crate) fn restore_deletion(&mut self, name: &str) {
        let _known = self.delete_topic(name);
    }

    /// Takes up a batch.
    pub(crate) fn restore_batch(&mut self, batch: StoredBatch) -> Result<(), &'static str> {
        self.partition_mut(&batch.place.into())
            .map_err(|_| "a batch of a partition that there is not")?
            .restore_batch(&batch.bytes)
    }

    /// Behind the last entry: every partition reads its log, under a leader of a new epoch.
    pub(crate) fn finish_restore(&mut self) {
        for topic in self.topics.values_mut() {
            topic.partitions.iter_mut().for_each(Partition::finish_restore);
            self.changed.insert(Arc::clone(&topic.name));
        }
        for name in self.changed.clone() {
            self.refresh_shards(&name);
        }
    }

    fn feature_state(&self) -> FeatureState {
        FeatureState {
            level: self.transaction_version.level(),
            epoch: self.features_epoch,
            random: self.random.cast_signed(),
        }
    }
}

fn topic_state(topic: &Topic) -> TopicState {
    let settings = topic.config.entries().into_iter();
    let partitions = topic.partitions.iter().map(|partition| PartitionState {
        replicas: partition.replicas.clone(),
        leader_epoch: partition.leader_epoch,
        log_start: partition.log().start(),
    });
    TopicState {
        name: topic.name.to_string(),
        id: topic.id,
        settings: settings
            .map(|(name, value)| TopicSetting {
                name: name.to_owned(),
                value,
            })
            .collect(),
        partitions: partitions.collect(),
    }
}

fn batch_entry(name: &TopicPartition, bytes: bytes::Bytes) -> Entry {
    Entry::Batch(StoredBatch {
        place: Place::from(name),
        bytes,
    })
}
