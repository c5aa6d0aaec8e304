//! Counts all the money, again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{ACCOUNTS, BALANCE, Reads, Report};
use crate::chaos::ground::{Ground, LIMIT, code};

const SUM: &str = "select sum(balance)::bigint from accounts";

pub(super) async fn run(ground: &Ground, reads: Reads, ended: &AtomicBool, report: &mut Report) {
    let mut visits = 0;
    while !ended.load(Ordering::Relaxed) {
        let until = Instant::now() + LIMIT;
        let Some(client) = ground.client(visits, until).await else {
            continue;
        };
        visits += 1;
        while !ended.load(Ordering::Relaxed) && !client.is_closed() {
            match tokio::time::timeout(LIMIT, sum(&client, reads)).await {
                Ok(Ok(sum)) => {
                    report.sums += 1;
                    report.wrong_sums += usize::from(sum != ACCOUNTS * BALANCE);
                }
                Ok(Err(error)) => {
                    *report.failed_sums.entry(code(&error)).or_default() += 1;
                    let _ = client.batch_execute("rollback").await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(_) => {
                    *report
                        .failed_sums
                        .entry("no answer".to_owned())
                        .or_default() += 1;
                    break;
                }
            }
        }
    }
}

async fn sum(client: &Client, reads: Reads) -> Result<i64, tokio_postgres::Error> {
    if reads == Reads::Plain {
        return one(client, SUM).await;
    }
    client
        .batch_execute("begin isolation level repeatable read")
        .await?;
    let first = one(client, SUM).await?;
    let second = one(client, SUM).await?;
    client.batch_execute("commit").await?;
    // Two statements of one transaction see the same.
    Ok(if first == second { first } else { i64::MIN })
}

async fn one(client: &Client, sql: &str) -> Result<i64, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.and_then(|sum| sum.parse().ok()).unwrap_or(i64::MIN))
}
