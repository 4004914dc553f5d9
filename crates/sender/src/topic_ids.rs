//! Which topic stands behind a name: the ids that metadata told last, kept for longer than metadata keeps its topics (H11).
//!
//! Never forgets: it has one entry for each topic that the producer wrote to, as the accumulator has.

use std::collections::BTreeMap;
use std::sync::Arc;

use kommit_network::ClusterSnapshot;
use kommit_protocol::units::TopicId;

#[derive(Debug, Default)]
pub(crate) struct TopicIds {
    last: BTreeMap<Arc<str>, TopicId>,
    /// The snapshot that was looked at last.
    seen: Option<u64>,
}

impl TopicIds {
    /// The topics that have another id than when they were seen last. A topic that is only missing for a while is not among them.
    pub(crate) fn created_anew(&mut self, cluster: &ClusterSnapshot) -> Vec<Arc<str>> {
        if self.seen.replace(cluster.update_version) == Some(cluster.update_version) {
            return Vec::new();
        }
        let mut created = Vec::new();
        for (name, topic) in &cluster.topics {
            if !topic.id.is_known() || topic.error.is_some() {
                continue;
            }
            let last = self.last.insert(Arc::clone(name), topic.id);
            if last.is_some_and(|last| last != topic.id) {
                created.push(Arc::clone(name));
            }
        }
        created
    }
}
