//! STUB
use crate::config::Config;
use crate::error::RouterError;
use crate::plan::SequenceName;
use std::sync::Arc;
use topology::{ShardId, ShardMap};
#[derive(Clone)]
pub struct Control {
    config: Arc<Config>,
}
pub struct Database {
    name: String,
    state: Arc<DatabaseState>,
}
pub struct DatabaseState {
    pub version: u64,
    pub snapshot: Arc<schema::Snapshot>,
    pub map: Arc<ShardMap>,
    pub oids: Vec<Option<schema::oids::OidMap>>,
}
pub struct IdBlock {
    pub first: i64,
    pub increment: i64,
    pub count: u32,
}
pub struct Live;
impl Live {
    pub fn enter(&self, _gid: &str) -> LiveGuard {
        LiveGuard
    }
}
pub struct LiveGuard;
impl Database {
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn version(&self) -> u64 {
        self.state.version
    }
    pub fn state(&self) -> Arc<DatabaseState> {
        self.state.clone()
    }
}
impl Control {
    pub fn start(
        config: Arc<Config>,
        _: Arc<crate::metrics::Metrics>,
        _: Vec<crate::worker::WorkerHandle>,
    ) -> anyhow::Result<Self> {
        Ok(Self { config })
    }
    pub fn stop(&self) {}
    pub async fn open_database(&self, name: &str) -> Result<Arc<Database>, RouterError> {
        let map = ShardMap::place(
            self.config.cluster.home,
            &self
                .config
                .cluster
                .shards
                .iter()
                .map(|s| topology::WeightedShard {
                    id: s.id,
                    weight: s.weight,
                })
                .collect::<Vec<_>>(),
        )
        .map_err(|e| RouterError::new("XX000", e.to_string()))?;
        Ok(Arc::new(Database {
            name: name.into(),
            state: Arc::new(DatabaseState {
                version: 1,
                snapshot: Arc::default(),
                map: Arc::new(map),
                oids: vec![],
            }),
        }))
    }
    pub async fn catalog_changed(&self, _: &Arc<Database>) -> Result<(), RouterError> {
        Ok(())
    }
    pub async fn lease_ids(
        &self,
        _: &Arc<Database>,
        _: &SequenceName,
        _: u32,
    ) -> Result<IdBlock, RouterError> {
        unimplemented!()
    }
    pub fn next_gid(&self, _: ShardId, _: usize) -> String {
        String::new()
    }
    pub fn live_transactions(&self) -> Live {
        Live
    }
}

impl crate::handshake::RoleSecrets for Control {
    fn role_secret<'a>(
        &'a self,
        _: &'a str,
    ) -> futures_util::future::BoxFuture<
        'a,
        Result<Option<crate::handshake::RoleSecret>, RouterError>,
    > {
        Box::pin(async { Ok(None) })
    }
}
impl IdBlock {
    pub fn take(&mut self) -> Option<i64> {
        None
    }
}
impl Control {
    pub fn board(&self) -> Arc<crate::admin::Board> {
        Arc::default()
    }
}
