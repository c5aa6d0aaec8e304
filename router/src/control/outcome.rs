//! How a global transaction has ended, as `oskol.decision` on its lead says, and having the shards do so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use topology::ShardId;

use super::connections::{Connections, Lent};
use super::error::ControlError;
use super::gid::GlobalId;
use crate::settings::quote_literal;

const UNDEFINED_OBJECT: &str = "42704";
/// "prepared transaction with identifier ... is busy"
const BUSY: &str = "55000";
/// Looks at a transaction that somebody else is ending, and the time between them.
const LOOKS: usize = 500;
const NEXT_LOOK: Duration = Duration::from_millis(2);

/// How a global transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
}

impl Outcome {
    /// As `oskol.decision` has it.
    pub(crate) fn of(decision: &str) -> Self {
        match decision {
            "commit" => Self::Committed,
            _ => Self::Aborted,
        }
    }

    /// What has a prepared branch end so.
    pub(crate) fn statement(self, gid: &str) -> String {
        let verb = match self {
            Self::Committed => "COMMIT",
            Self::Aborted => "ROLLBACK",
        };
        format!("{verb} PREPARED {}", quote_literal(gid))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "rolled back",
        }
    }
}

/// The outcome as far as the lead still knows it; `None` of a transaction that is open, or long over.
pub(crate) async fn decided(
    connections: &Arc<Connections>,
    database: &str,
    id: &GlobalId,
) -> Result<Option<Outcome>, ControlError> {
    let lead = connections.get(id.lead, database).await?;
    let sql = "SELECT outcome FROM oskol.decision WHERE gid = $1";
    let row = lead.query_opt(sql, &[&id.to_string()]).await;
    let row = row.map_err(lead.failed())?;
    Ok(row.map(|row| Outcome::of(row.get(0))))
}

/// The outcome of a transaction, which is an abort from now on if it was open.
pub(crate) async fn settle(
    connections: &Arc<Connections>,
    database: &str,
    id: &GlobalId,
) -> Result<Outcome, ControlError> {
    let lead = connections.get(id.lead, database).await?;
    let row = lead
        .query_one("SELECT oskol.settle($1)", &[&id.to_string()])
        .await;
    Ok(Outcome::of(row.map_err(lead.failed())?.get(0)))
}

/// Does on `shards` what the lead has decided, or decides now.
pub(crate) async fn finish(
    connections: &Arc<Connections>,
    database: &str,
    id: &GlobalId,
    shards: &[ShardId],
) -> Result<Outcome, ControlError> {
    let outcome = settle(connections, database, id).await?;
    let gid = id.to_string();
    // One that cannot be reached does not keep the others waiting.
    let ended = join_all(
        shards
            .iter()
            .map(async |shard| end_on(connections, database, *shard, &gid, outcome).await),
    );
    ended.await.into_iter().collect::<Result<(), _>>()?;
    Ok(outcome)
}

/// Commits what is prepared on the shards named, and known to be decided; what is done already is done.
pub(crate) async fn finish_decided(
    connections: &Arc<Connections>,
    database: &str,
    decided: &[(ShardId, String)],
) -> Result<(), ControlError> {
    for (shard, gid) in decided {
        end_on(connections, database, *shard, gid, Outcome::Committed).await?;
    }
    Ok(())
}

/// Ends what is prepared on one shard, as was decided; what is ended already is.
pub(crate) async fn end_on(
    connections: &Arc<Connections>,
    database: &str,
    shard: ShardId,
    gid: &str,
    outcome: Outcome,
) -> Result<(), ControlError> {
    let connection = connections.get(shard, database).await?;
    end_prepared(&connection, gid, outcome).await
}

/// Looks first, as someone else may have been quicker, and then does what was decided.
pub(crate) async fn end_prepared(
    connection: &Lent,
    gid: &str,
    outcome: Outcome,
) -> Result<(), ControlError> {
    let failed = connection.failed();
    let end = outcome.statement(gid);
    let mut looks = 0;
    while is_prepared(connection, gid).await? {
        looks += 1;
        match connection.batch_execute(&end).await {
            Ok(()) => return Ok(()),
            // Somebody else is ending it, with the same outcome, as both read it from the same row: look again.
            Err(error) if is_ended_elsewhere(&error) && looks < LOOKS => {
                tokio::time::sleep(NEXT_LOOK).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

async fn is_prepared(connection: &Lent, gid: &str) -> Result<bool, ControlError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_prepared_xacts
        WHERE gid = $1 AND database = current_database())";
    let row = connection.query_one(sql, &[&gid]).await;
    Ok(row.map_err(connection.failed())?.get(0))
}

/// It is gone, or another connection is at it.
fn is_ended_elsewhere(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(|code| code.code());
    matches!(code, Some(UNDEFINED_OBJECT | BUSY))
}
