//! What comes before the objects of an older version are renewed: whoever works with them has ended, and holds no lock on them.

use std::sync::Arc;

use schema::sql;

use super::{Meta, is_current, read_meta, silence};
use crate::config::Config;
use crate::control::connections::{Connections, Lent};
use crate::control::error::{ControlError, Mismatch};
use crate::control::recovery::settle_left;

/// Of one shard. Nothing to do where its database has no such objects yet, or those of now.
///
/// # Errors
/// A router of the older version lives; a transaction in doubt cannot be settled, as its lead is not there. Nothing is renewed
/// on that shard then; where it is the home shard, which comes first, routers of the older version can go on.
pub(super) async fn make_way(
    config: &Config,
    connections: &Arc<Connections>,
    connection: &Lent,
    database: &str,
) -> Result<(), ControlError> {
    let shard = connection.shard();
    let found = read_meta(connection, shard).await?;
    if is_current(config, found.as_ref(), shard, database)? {
        return Ok(());
    }
    let Some(found) = found else { return Ok(()) };
    if shard == config.cluster.home {
        silence::wait(config, connection, older(&found, database)).await?;
    }
    // A prepared transaction has locks on what is to be renewed. No living router has made it: it would have renewed this shard.
    settle_left(connections, &config.cluster.name, database, shard).await
}

fn older(found: &Meta, database: &str) -> Mismatch {
    Mismatch::OlderSchema {
        database: database.to_owned(),
        found: found.version,
        known: sql::VERSION,
    }
}
