//! Looks at the server every two seconds over one connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::board::{Board, Look};
use crate::ShardNode;
use crate::status::{Disk, Status, told};

const PERIOD: Duration = Duration::from_secs(2);
/// A server that says nothing for so long is reported as one that does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Goes on for good; what it finds is on the board.
pub async fn watch(node: ShardNode, board: Arc<Board>) {
    let mut kept = None;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = tokio::time::timeout(ANSWERS_WITHIN, look(&node, &mut kept)).await;
        let silent = || format!("no answer within {} s", ANSWERS_WITHIN.as_secs());
        board.set_look(Look {
            at: Instant::now(),
            found: asked.unwrap_or_else(|_| Err(silent())),
            disk: Disk::of(&node.data_directory),
        });
    }
}

/// A connection that failed, or was too slow, is not kept.
async fn look(node: &ShardNode, kept: &mut Option<Client>) -> Result<Status, String> {
    let client = match kept.take() {
        Some(client) if !client.is_closed() => client,
        _ => connect(node).await?,
    };
    let status = Status::ask(&client).await?;
    *kept = Some(client);
    Ok(status)
}

async fn connect(node: &ShardNode) -> Result<Client, String> {
    let (client, connection) = node
        .connection("postgres")
        .connect(NoTls)
        .await
        .map_err(told)?;
    // It ends with the client; its error is the next statement's too.
    tokio::spawn(async { drop(connection.await) });
    Ok(client)
}
