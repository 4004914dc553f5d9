//! Partitions that a request names more than once: Kafka keeps them in maps, so each is served and answered once, the way it was named last.

use std::collections::BTreeMap;

use kommit_protocol::units::PartitionId;

/// The topics with each partition once. Topics of the same key become one; everything has the place at which it was named first.
pub(super) fn named_once<T, P, K: Ord>(
    topics: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
    partitions: impl Fn(&mut T) -> &mut Vec<P>,
    index: impl Fn(&P) -> PartitionId,
) -> Vec<T> {
    let mut merged: Vec<T> = Vec::new();
    let mut topic_places = BTreeMap::new();
    let mut places = BTreeMap::new();
    for mut topic in topics {
        let named = std::mem::take(partitions(&mut topic));
        let place = *topic_places.entry(key(&topic)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(topic);
        }
        let Some(list) = merged.get_mut(place).map(&partitions) else {
            continue;
        };
        for partition in named {
            let at = *places.entry((place, index(&partition))).or_insert(list.len());
            match list.get_mut(at) {
                Some(before) => *before = partition,
                None => list.push(partition),
            }
        }
    }
    merged
}
