//! The shards that are known by now: at first those of the configuration, then those that the catalog adds.

use std::sync::{Arc, PoisonError, RwLock};

use topology::ShardId;

use super::ShardConfig;

/// Ascending by id. Clones share one list, so that every part of the router learns of a shard that is added.
#[derive(Debug, Clone, Default)]
pub struct ShardList {
    known: Arc<RwLock<Arc<[ShardConfig]>>>,
    /// Those of the configuration, which also has the last word on their addresses.
    configured: Arc<[ShardId]>,
}

impl ShardList {
    /// All of now.
    pub fn all(&self) -> Arc<[ShardConfig]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn find(&self, id: ShardId) -> Option<ShardConfig> {
        self.all().iter().find(|shard| shard.id == id).cloned()
    }

    /// Whether the configuration names it.
    pub fn is_configured(&self, id: ShardId) -> bool {
        self.configured.contains(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Adds a shard, or gives it another address or weight.
    pub fn put(&self, shard: ShardConfig) {
        self.change(|shards| {
            shards.retain(|known| known.id != shard.id);
            shards.push(shard);
        });
    }

    pub fn remove(&self, id: ShardId) {
        self.change(|shards| shards.retain(|known| known.id != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<ShardConfig>)) {
        let mut current = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut shards = current.to_vec();
        change(&mut shards);
        shards.sort_by_key(|shard| shard.id);
        *current = shards.into();
    }
}

impl From<Vec<ShardConfig>> for ShardList {
    fn from(shards: Vec<ShardConfig>) -> Self {
        Self {
            configured: shards.iter().map(|shard| shard.id).collect(),
            known: Arc::new(RwLock::new(shards.into())),
        }
    }
}

impl FromIterator<ShardConfig> for ShardList {
    fn from_iter<I: IntoIterator<Item = ShardConfig>>(shards: I) -> Self {
        shards.into_iter().collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: u16, port: u16) -> ShardConfig {
        ShardConfig {
            id: ShardId(id),
            host: "h".into(),
            port,
            weight: 1.0,
            patroni: None,
        }
    }

    #[test]
    fn clones_learn_of_what_is_added_and_removed() {
        let list = ShardList::from(vec![shard(2, 1)]);
        let other = list.clone();
        list.put(shard(1, 1));
        list.put(shard(2, 9));
        let ports: Vec<_> = other.all().iter().map(|s| (s.id.0, s.port)).collect();
        assert_eq!(ports, [(1, 1), (2, 9)]);
        other.remove(ShardId(1));
        assert!(list.find(ShardId(1)).is_none());
    }
}
