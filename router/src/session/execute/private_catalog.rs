//! The catalog as an open transaction sees it: read on the session's own connections, used to plan
//! until the transaction ends.

use std::rc::Rc;
use std::sync::Arc;

use schema::Snapshot;
use schema::oids::{OidDocument, OidMap};
use topology::ShardId;

use super::super::fault::Fault;
use super::super::settings::first_value;
use super::super::state::Session;
use super::at_once::Rows;
use crate::error::RouterError;

impl Session {
    /// Plans from now on with the catalog as the home shard's branch sees it.
    pub(in crate::session) async fn reload_private_catalog(&mut self) -> Result<(), Fault> {
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        let document = self.run_quietly(home, schema::sql::SNAPSHOT).await?;
        let text = first_value(&document).unwrap_or_default();
        let snapshot = Snapshot::from_json(&text).map_err(|error| unreadable(&error))?;
        let oids = self.private_oids(home).await?;
        let capacity = self.worker.config.limits.plan_cache;
        let space = self
            .current_space()
            .with_catalog(Arc::new(snapshot), oids, capacity);
        self.transaction.private = Some(Rc::new(space));
        Ok(())
    }

    /// OIDs of the shards that have joined; the others have no object of this transaction.
    async fn private_oids(&mut self, home: usize) -> Result<Vec<(ShardId, OidMap)>, Fault> {
        let others = self.others();
        let others: Vec<usize> = others
            .into_iter()
            .filter(|index| self.transaction.branches[*index].begun)
            .collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let asked = [&[home], others.as_slice()].concat();
        let mut documents = self
            .run_at_once(&asked, schema::sql::OIDS)
            .await
            .into_result()?;
        let position = documents.iter().position(|(index, _)| *index == home);
        let at_home = position.map(|position| documents.swap_remove(position).1);
        let at_home = oid_document(&at_home.unwrap_or_default())?;
        let maps = documents.iter().map(|(index, rows)| {
            let shard = self.transaction.branches[*index].server.shard;
            Ok((shard, OidMap::new(&at_home, &oid_document(rows)?)))
        });
        maps.collect()
    }
}

fn oid_document(rows: &Rows) -> Result<OidDocument, Fault> {
    let text = first_value(rows).unwrap_or_default();
    OidDocument::from_json(&text).map_err(|error| unreadable(&error).into())
}

fn unreadable(error: &dyn std::fmt::Display) -> RouterError {
    RouterError::new("XX000", format!("the catalog cannot be read: {error}"))
}
