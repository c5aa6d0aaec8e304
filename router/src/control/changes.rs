//! Changes that every router must know of before they count as done. One that gives no sign of life is kept out of all shards
//! instead, until it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connections::{Connections, Lent};
use super::error::ControlError;
use super::exclusion::{is_heard, keep_out_of_all};
use super::watch::{CHANGED, CHANNEL, Epochs, Watched};

/// Between looks at `oskol.routers`, should the word that a router has seen the change get lost.
const LOOK: Duration = Duration::from_millis(50);

/// The catalog has been changed and committed. Returns when every living router plans with it.
pub(crate) async fn announce_catalog(
    connections: &Arc<Connections>,
    watched: &Watched,
    limit: Duration,
) -> Result<(), ControlError> {
    let home = connections.get_home(watched.database.name()).await?;
    let sql = format!("SELECT oskol.bump_epoch(), pg_notify('{CHANNEL}', '{CHANGED}')");
    let row = home.query_one(&sql, &[]).await.map_err(home.failed())?;
    let catalog = row.get::<_, i64>(0) as u64;
    Announcement {
        connections,
        home,
        watched,
        target: Epochs {
            catalog,
            ..Epochs::default()
        },
        limit,
    }
    .spread()
    .await
}

/// A sequence was set: leased ids are void. Returns when every living router has dropped its own.
pub(crate) async fn announce_sequences(
    connections: &Arc<Connections>,
    watched: &Watched,
    limit: Duration,
) -> Result<(), ControlError> {
    let home = connections.get_home(watched.database.name()).await?;
    let sql = format!("SELECT oskol.void_leases(), pg_notify('{CHANNEL}', '{CHANGED}')");
    let row = home.query_one(&sql, &[]).await.map_err(home.failed())?;
    let sequences = row.get::<_, i64>(0) as u64;
    Announcement {
        connections,
        home,
        watched,
        target: Epochs {
            sequences,
            ..Epochs::default()
        },
        limit,
    }
    .spread()
    .await
}

struct Announcement<'a> {
    connections: &'a Arc<Connections>,
    home: Lent,
    watched: &'a Watched,
    /// Epochs that every router must have reached; 0: no matter.
    target: Epochs,
    limit: Duration,
}

impl Announcement<'_> {
    async fn spread(self) -> Result<(), ControlError> {
        let deadline = Instant::now() + self.limit;
        let done = async {
            self.reach_here().await;
            self.reach_others().await
        };
        let what = "every router of the cluster to plan with the change, which is committed";
        let late = ControlError::Timeout {
            what,
            limit: self.limit,
        };
        timeout_at(deadline, done).await.unwrap_or(Err(late))
    }

    async fn reach_here(&self) {
        let mut seen = self.watched.seen.subscribe();
        self.watched.poke.notify_one();
        let reached = |seen: &Epochs| {
            seen.catalog >= self.target.catalog && seen.sequences >= self.target.sequences
        };
        // The sender lives as long as `watched`.
        let _ = seen.wait_for(reached).await;
    }

    async fn reach_others(&self) -> Result<(), ControlError> {
        loop {
            let heard = self.watched.heard.notified();
            match self.routers_behind().await? {
                (0, 0) => return Ok(()),
                (0, _) => self.keep_out().await,
                _ => drop(tokio::time::timeout(LOOK, heard).await),
            }
        }
    }

    /// What is not done now is tried again, until the change's own limit.
    async fn keep_out(&self) {
        let database = self.watched.database.name();
        if let Err(error) = keep_out_of_all(self.connections, database).await {
            tracing::warn!(database, %error, "a router that is cut off is not kept out yet");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Routers that do not plan with the change yet: how many give signs of life, and how many do not and could still reach
    /// shards.
    async fn routers_behind(&self) -> Result<(i64, i64), ControlError> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE lives), count(*) FILTER (WHERE NOT lives)
            FROM (SELECT {LIVES} AS lives FROM oskol.routers r
                WHERE (epoch < $1 OR sequence_epoch < $2) AND NOT (kept_out AND kept_out_of_all)) behind",
            LIVES = is_heard()
        );
        let (catalog, sequences) = (self.target.catalog as i64, self.target.sequences as i64);
        let row = self.home.query_one(&sql, &[&catalog, &sequences]).await;
        let row = row.map_err(self.home.failed())?;
        Ok((row.get(0), row.get(1)))
    }
}
