//! One client of the bank.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{ACCOUNTS, Transfers};
use crate::chaos::ground::{Ended, Ground, LIMIT, code, commit, is_fatal};
use crate::differential::dice::Dice;

/// Transfers of one client.
const MOST: i64 = 100_000_000;

pub(super) async fn run(
    ground: &Ground,
    number: usize,
    mut dice: Dice,
    until: Instant,
) -> Transfers {
    let mut transfers = Transfers::new();
    let mut transfer = number as i64 * MOST;
    let mut visits = number;
    while Instant::now() < until {
        let Some(client) = ground.client(visits, until).await else {
            break;
        };
        visits += 1;
        while Instant::now() < until {
            transfer += 1;
            let ended = move_money(&client, transfer, &mut dice).await;
            let fatal = is_fatal(&client, &ended);
            let refused = !matches!(ended, Ended::Committed);
            transfers.push((transfer, ended));
            if fatal {
                break;
            }
            if refused {
                // A shard is away: as an application would, not at full speed.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    transfers
}

async fn move_money(client: &Client, transfer: i64, dice: &mut Dice) -> Ended {
    let statements = statements(transfer, dice);
    for statement in &statements {
        let refused = match tokio::time::timeout(LIMIT, client.batch_execute(statement)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => code(&error),
            // The connection is given up, with its transaction.
            Err(_) => return Ended::Refused("no answer".to_owned()),
        };
        // Where the connection is lost there is nothing to roll back.
        let _ = client.batch_execute("rollback").await;
        return Ended::Refused(refused);
    }
    commit(client).await
}

fn statements(transfer: i64, dice: &mut Dice) -> Vec<String> {
    let (from, to) = (dice.between(1, ACCOUNTS), dice.between(1, ACCOUNTS - 1));
    let to = to + i64::from(to >= from);
    let amount = dice.between(1, 100);
    let change = |account: i64, amount: i64| {
        format!("update accounts set balance = balance + {amount} where id = {account}")
    };
    let mut statements = vec!["begin".to_owned()];
    statements.push(change(from, -amount));
    statements.push(change(to, amount));
    statements.push(format!(
        "insert into ledger values ({from}, {transfer}, -{amount}), ({to}, {transfer}, {amount})"
    ));
    if dice.chance(15) {
        statements.push(format!(
            "update accounts set email = 'a{from}-{transfer}' where id = {from}"
        ));
    }
    statements
}
