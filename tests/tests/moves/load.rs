//! Writers that keep an append-only ledger of what they were told is committed, and readers who know what they must see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::{Cluster, connect};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

pub const USERS: i64 = 600;
const WRITERS: i64 = 6;

const TABLES: &str = "
create table users (id bigint primary key, email text unique, balance bigint not null default 0, kind text);
create table ledger (user_id bigint not null, n bigint not null, note text, primary key (user_id, n));
create table visits (user_id bigint not null, at timestamptz not null default now(), page text);
create index on visits (user_id);
create table kinds (kind text primary key, words text);
create table remarks (id serial primary key, text text);";

const PLACES: &str = "
select oskol.shard_table('users', 'id');
select oskol.shard_table('ledger', 'user_id');
select oskol.shard_table('visits', 'user_id');
select oskol.reference_table('kinds');
alter table ledger add foreign key (user_id) references users;";

const ROWS: &str = "
insert into users (id, email, kind) select n, 'user' || n || '@x', 'k' || n % 3 from generate_series(1, 600) n;
insert into kinds select 'k' || n, repeat('w', 20) from generate_series(0, 49) n;
insert into visits (user_id, page) select id, 'p' || id from users;
insert into remarks (text) values ('one');";

/// Tables with rows, in database postgres.
pub async fn prepare(cluster: &Cluster) {
    let client = cluster.client().await;
    client.batch_execute(TABLES).await.expect("tables");
    for place in PLACES.split(';') {
        client.batch_execute(place).await.expect("placed");
    }
    for row in ROWS.split(';') {
        client.batch_execute(row).await.expect("rows");
    }
}

/// What all writers were told.
#[derive(Debug, Default)]
pub struct Told {
    /// By user: how many entries were acknowledged.
    pub ledger: BTreeMap<i64, i64>,
    pub errors: Vec<String>,
    pub statements: u64,
    pub longest: Duration,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Told>>,
}

impl Load {
    /// `urls`: of routers, taken in turn.
    pub fn start(urls: &[String]) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writers = (0..WRITERS).map(|number| {
            let writer = Writer {
                number,
                url: urls[usize::try_from(number).unwrap() % urls.len()].clone(),
                stop: Arc::clone(&stop),
                done: Arc::clone(&done),
                told: Told::default(),
            };
            tokio::spawn(writer.run())
        });
        Self {
            writers: writers.collect(),
            stop,
            done,
        }
    }

    pub async fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for writer in self.writers {
            let told = writer.await.expect("a writer does not panic");
            all.ledger.extend(told.ledger);
            all.errors.extend(told.errors);
            all.statements += told.statements;
            all.longest = all.longest.max(told.longest);
        }
        all
    }
}

struct Writer {
    number: i64,
    url: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    told: Told,
}

impl Writer {
    async fn run(mut self) -> Told {
        let mut client = connect(&self.url).await.expect("a connection");
        let mut round = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // Each user is one writer's own.
            let user = 1 + (round * 7 % (USERS / WRITERS)) * WRITERS + self.number;
            let began = Instant::now();
            let outcome = self.round(&client, user, round).await;
            self.told.longest = self.told.longest.max(began.elapsed());
            self.told.statements += 1;
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = outcome {
                self.told.errors.push(error);
                if let Some(again) = self.learn(user).await {
                    client = again;
                }
            }
            round += 1;
        }
        self.told
    }

    async fn round(&mut self, client: &Client, user: i64, round: i64) -> Result<(), String> {
        match round % 6 {
            0 | 1 => self.append(client, user).await,
            2 => self.append_with_a_neighbour(client, user).await,
            3 => {
                let sql = "select count(*) from ledger where user_id = $1";
                let row = client.query_one(sql, &[&user]).await.map_err(said)?;
                expect(
                    row.get(0),
                    self.told.ledger.get(&user).copied().unwrap_or(0),
                    "own entries",
                )
            }
            4 => {
                let sql = "select count(*) from users";
                let row = client.query_one(sql, &[]).await.map_err(said)?;
                expect(row.get(0), USERS, "users on all shards")
            }
            _ => {
                let email = format!("user{user}@x");
                let sql = "update users set balance = balance + 1 where email = $1";
                let updated = client.execute(sql, &[&email]).await.map_err(said)?;
                expect(updated.cast_signed(), 1, "updated by email")
            }
        }
    }

    async fn append(&mut self, client: &Client, user: i64) -> Result<(), String> {
        let n = self.next(user);
        let sql = "insert into ledger values ($1, $2, 'x')";
        client.execute(sql, &[&user, &n]).await.map_err(said)?;
        self.told.ledger.insert(user, n);
        Ok(())
    }

    /// Over two shards, mostly.
    async fn append_with_a_neighbour(&mut self, client: &Client, user: i64) -> Result<(), String> {
        let other = if user + WRITERS <= USERS {
            user + WRITERS
        } else {
            user - WRITERS
        };
        let (n, m) = (self.next(user), self.next(other));
        let append = async {
            client.batch_execute("begin").await?;
            let sql = "insert into ledger values ($1, $2, 'y')";
            client.execute(sql, &[&user, &n]).await?;
            client.execute(sql, &[&other, &m]).await?;
            client.batch_execute("commit").await
        };
        if let Err(error) = append.await {
            let _ = client.batch_execute("rollback").await;
            return Err(said(error));
        }
        self.told.ledger.extend([(user, n), (other, m)]);
        Ok(())
    }

    /// After an error: what was not acknowledged may be there all the same, but what was acknowledged must be. None when
    /// the load ends meanwhile.
    async fn learn(&mut self, user: i64) -> Option<Client> {
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let Ok(client) = connect(&self.url).await else {
                continue;
            };
            let mut counts = Vec::new();
            for user in [user, user + WRITERS, user - WRITERS] {
                let sql = "select count(*) from ledger where user_id = $1";
                match client.query_one(sql, &[&user]).await {
                    Ok(row) => counts.push((user, row.get::<_, i64>(0))),
                    Err(_) => break,
                }
            }
            if counts.len() < 3 {
                continue;
            }
            for (user, count) in counts {
                let told = self.told.ledger.get(&user).copied().unwrap_or(0);
                if !(told..=told + 1).contains(&count) {
                    self.told.errors.push(format!(
                        "LOST user {user}: {count} entries, {told} were acknowledged"
                    ));
                }
                if count > 0 {
                    self.told.ledger.insert(user, count);
                }
            }
            return Some(client);
        }
        None
    }

    fn next(&self, user: i64) -> i64 {
        self.told.ledger.get(&user).copied().unwrap_or(0) + 1
    }
}

fn said(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

fn expect(found: i64, wanted: i64, what: &str) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found} and not {wanted}")),
    }
}

/// Every entry that was acknowledged is there once, and nothing else.
pub async fn check_ledger(cluster: &Cluster, told: &Told) {
    let client = cluster.client().await;
    let sql = "select user_id, count(*), min(n), max(n) from ledger group by user_id";
    let mut found = BTreeMap::new();
    for row in client.query(sql, &[]).await.expect("the ledger") {
        let (user, count, first, last): (i64, i64, i64, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!(
            (count, first),
            (last, 1),
            "user {user}: entries 1 to {last}, each once"
        );
        found.insert(user, last);
    }
    assert_eq!(
        found, told.ledger,
        "what was acknowledged is there, and nothing else"
    );
}
