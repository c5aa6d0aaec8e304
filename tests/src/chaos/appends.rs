//! Clients append to lists on random shards and read them; what they saw is a history for [`crate::history`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::ground::{Ended, Ground, LIMIT, SHARDS, code, commit, is_fatal};
use super::{Kills, Options, killer};
use crate::differential::dice::Dice;
use crate::history::{self, End, Findings, Key, Level, Operation, Transaction, Value};

/// Lists that are appended to at a time; one that is full makes room for a new one.
const LISTS: i64 = 16;
/// Appends after which the next list is taken: short lists keep reads cheap.
const FULL: i64 = 40;

const TABLES: &str = "create table lists (k bigint primary key, v text not null);
    select oskol.shard_table('lists', 'k')";

/// What a run has seen.
pub struct Report {
    pub kills: Kills,
    pub findings: Findings,
}

/// What clients share.
struct Course {
    level: Level,
    until: Instant,
    /// The last value that was taken.
    last: AtomicI64,
}

pub fn run(options: &Options, level: Level) -> Report {
    let ground = Ground::start(TABLES);
    let course = Course {
        level,
        until: Instant::now() + options.time,
        last: AtomicI64::new(0),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime for the clients");
    let (kills, history) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| match options.kills {
            true => killer::run(&ground, options.seed, course.until),
            false => Kills::default(),
        });
        let clients = (0..options.clients).map(|number| {
            let dice = Dice::new(options.seed + 1 + number as u64);
            client(&ground, &course, number, dice)
        });
        let history = runtime.block_on(futures_util::future::join_all(clients));
        let kills = killer.join();
        (
            kills.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            history.concat(),
        )
    });
    let (settled, lists) =
        runtime.block_on(async { (ground.settled().await, lists(&ground).await) });
    let mut findings = history::check(&history, &lists, level);
    if !settled {
        let account = "transactions stay prepared".to_owned();
        findings.anomalies.push(("left", account));
    }
    if !findings.anomalies.is_empty() {
        ground.cluster.report_failure();
    }
    Report { kills, findings }
}

async fn client(
    ground: &Ground,
    course: &Course,
    number: usize,
    mut dice: Dice,
) -> Vec<Transaction> {
    let mut history = Vec::new();
    let mut visits = number;
    while Instant::now() < course.until {
        let Some(client) = ground.client(visits, course.until).await else {
            break;
        };
        visits += 1;
        // Lists are taken in any order: what waits in a circle is to end.
        if client
            .batch_execute("set lock_timeout = '2s'")
            .await
            .is_err()
        {
            continue;
        }
        while Instant::now() < course.until {
            let (operations, ended) = transaction(&client, course, &mut dice).await;
            let fatal = is_fatal(&client, &ended);
            let end = match ended {
                Ended::Committed => End::Committed,
                Ended::Refused(_) => End::Aborted,
                Ended::Unknown(_) => End::Unknown,
            };
            history.push(Transaction {
                client: number,
                operations,
                end,
            });
            if fatal {
                break;
            }
            if end != End::Committed {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    history
}

async fn transaction(client: &Client, course: &Course, dice: &mut Dice) -> (Vec<Operation>, Ended) {
    let mut operations = Vec::new();
    let begin = match course.level {
        Level::ReadCommitted => "begin",
        Level::RepeatableRead => "begin isolation level repeatable read",
    };
    let run = async {
        client.batch_execute(begin).await?;
        for _ in 0..dice.between(1, 5) {
            operate(client, course, dice, &mut operations).await?;
        }
        Ok::<(), tokio_postgres::Error>(())
    };
    let refused = match tokio::time::timeout(LIMIT, run).await {
        Ok(Ok(())) => return (operations, commit(client).await),
        Ok(Err(error)) => code(&error),
        Err(_) => "no answer".to_owned(),
    };
    let _ = tokio::time::timeout(LIMIT, client.batch_execute("rollback")).await;
    (operations, Ended::Refused(refused))
}

/// An append is recorded before it is sent: it may have been done without an answer.
async fn operate(
    client: &Client,
    course: &Course,
    dice: &mut Dice,
    operations: &mut Vec<Operation>,
) -> Result<(), tokio_postgres::Error> {
    let first = course.last.load(Ordering::Relaxed) / FULL;
    let key = first + dice.between(0, LISTS - 1);
    if dice.chance(45) {
        let messages = client
            .simple_query(&format!("select v from lists where k = {key}"))
            .await?;
        operations.push(Operation::Read(key, list_in(&messages)));
        return Ok(());
    }
    let value = course.last.fetch_add(1, Ordering::Relaxed) + 1;
    operations.push(Operation::Append(key, value));
    let append = format!(
        "insert into lists values ({key}, '{value},') on conflict (k) do update set v = lists.v || excluded.v"
    );
    client.batch_execute(&append).await
}

/// A list that is not there is empty.
fn list_in(messages: &[SimpleQueryMessage]) -> Vec<Value> {
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    values(text.unwrap_or_default())
}

fn values(text: &str) -> Vec<Value> {
    let values = text.split_terminator(',');
    values
        .map(|value| value.parse().expect("only numbers are appended"))
        .collect()
}

async fn lists(ground: &Ground) -> BTreeMap<Key, Vec<Value>> {
    let mut lists = BTreeMap::new();
    for shard in 0..SHARDS {
        let client = ground.cluster.shard(shard).await;
        let rows = client.query("select k, v from lists", &[]).await;
        for row in rows.unwrap_or_else(|error| panic!("shard {shard}: {error}")) {
            lists.insert(row.get(0), values(row.get(1)));
        }
    }
    lists
}
