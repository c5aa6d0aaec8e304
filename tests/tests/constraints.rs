//! Random schemas with unique and foreign keys that leave the shard, and random statements on them: on four shards and
//! on one plain PostgreSQL the same statements succeed, the others fail with the same SQLSTATE, and the rows are the
//! same. Many sessions at once leave no duplicate and no orphan.
//!
//! A long run: `CONSTRAINTS_SEED=1 CONSTRAINTS_SCHEMAS=200 cargo test -p tests --test constraints -- --ignored --nocapture`

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::{Cluster, connect};
use tokio_postgres::Client;

/// A small world, so that rows meet.
const VALUES: i32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Local,
    Reference,
    ById,
    ByOwner,
}

#[derive(Debug)]
struct Key {
    name: String,
    column: &'static str,
    parent: usize,
    parent_column: &'static str,
    rest: String,
    deferrable: bool,
}

#[derive(Debug)]
struct Table {
    name: String,
    place: Place,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Schema {
    tables: Vec<Table>,
}

fn pick<'a, T: ?Sized>(random: &mut StdRng, from: &[&'a T]) -> &'a T {
    from[random.random_range(0..from.len())]
}

impl Schema {
    fn random(random: &mut StdRng) -> Schema {
        let count = random.random_range(2..4);
        let mut tables: Vec<Table> = (0..count)
            .map(|number| Table {
                name: format!("t{number}"),
                place: match random.random_range(0..8) {
                    0 => Place::Local,
                    1 => Place::Reference,
                    2..5 => Place::ById,
                    _ => Place::ByOwner,
                },
                keys: Vec::new(),
            })
            .collect();
        for (number, table) in tables.iter_mut().enumerate() {
            for column in ["a", "b"] {
                if random.random_bool(0.75) {
                    let key = Key::random(random, number, column, count);
                    table.keys.push(key);
                }
            }
        }
        Schema { tables }
    }

    fn create(&self) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            writeln!(
                sql,
                "create table {0} (id int, owner int not null, u int, a int default 3, b int default 4, n int, \
                 constraint {0}_pkey primary key (id), constraint {0}_u unique (u));",
                table.name
            )
            .unwrap();
        }
        sql
    }

    fn place(&self) -> String {
        let mut sql = "select 1".to_owned();
        for table in &self.tables {
            let name = &table.name;
            match table.place {
                Place::Local => {}
                Place::Reference => {
                    write!(sql, "; select oskol.reference_table('{name}')").unwrap()
                }
                Place::ById => write!(sql, "; select oskol.shard_table('{name}', 'id')").unwrap(),
                Place::ByOwner => {
                    write!(sql, "; select oskol.shard_table('{name}', 'owner')").unwrap();
                }
            }
        }
        sql
    }

    fn keys(&self) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            for key in &table.keys {
                writeln!(
                    sql,
                    "alter table {} add constraint {} foreign key ({}) references {} ({}) {};",
                    table.name,
                    key.name,
                    key.column,
                    self.tables[key.parent].name,
                    key.parent_column,
                    key.rest
                )
                .unwrap();
            }
        }
        sql
    }
}

impl Key {
    fn random(random: &mut StdRng, number: usize, column: &'static str, count: usize) -> Key {
        let actions = [
            "no action",
            "restrict",
            "cascade",
            "set null",
            "set default",
        ];
        let mut rest = String::new();
        if random.random_bool(0.8) {
            write!(rest, "on delete {} ", pick(random, &actions)).unwrap();
        }
        if random.random_bool(0.5) {
            write!(rest, "on update {} ", pick(random, &actions)).unwrap();
        }
        let deferrable = random.random_bool(0.4);
        if deferrable {
            rest.push_str(pick(
                random,
                &["deferrable", "deferrable initially deferred"],
            ));
        }
        Key {
            name: format!("fk_{number}_{column}"),
            column,
            parent: random.random_range(0..count),
            parent_column: ["id", "u"][random.random_range(0..2)],
            rest,
            deferrable,
        }
    }
}

fn value(random: &mut StdRng) -> String {
    match random.random_range(0..8) {
        0 => "null".to_owned(),
        _ => random.random_range(1..VALUES).to_string(),
    }
}

fn number(random: &mut StdRng) -> i32 {
    random.random_range(1..VALUES)
}

fn statement(random: &mut StdRng, schema: &Schema, in_block: bool) -> String {
    let table = &schema.tables[random.random_range(0..schema.tables.len())];
    let name = &table.name;
    match random.random_range(0..20) {
        0..8 => {
            let mut rows = Vec::new();
            for _ in 0..random.random_range(1..4) {
                let (id, owner, n) = (number(random), number(random), number(random));
                let (u, a, b) = (value(random), value(random), value(random));
                rows.push(format!("({id}, {owner}, {u}, {a}, {b}, {n})"));
            }
            let conflict = match random.random_range(0..6) {
                0 => " on conflict do nothing",
                1 => " on conflict (u) do update set n = excluded.n + 1",
                _ => "",
            };
            format!("insert into {name} values {}{conflict}", rows.join(", "))
        }
        8 => format!(
            "update {name} set u = {} where id = {}",
            value(random),
            number(random)
        ),
        9 => format!(
            "update {name} set a = {} where id = {}",
            value(random),
            number(random)
        ),
        10 => format!(
            "update {name} set b = {} where owner = {}",
            value(random),
            number(random)
        ),
        11 => format!(
            "update {name} set id = {} where id = {}",
            number(random),
            number(random)
        ),
        12 => format!("update {name} set n = n + 1 where u = {}", number(random)),
        13 | 14 => format!("delete from {name} where id = {}", number(random)),
        15 => format!("delete from {name} where u > {}", number(random)),
        16 if !in_block => "begin".to_owned(),
        16 | 17 if in_block => "commit".to_owned(),
        18 if in_block => "rollback".to_owned(),
        19 if in_block => {
            let mode = ["deferred", "immediate"][random.random_range(0..2)];
            format!("set constraints all {mode}")
        }
        _ => format!("delete from {name} where owner = {}", number(random)),
    }
}

/// SQLSTATE and constraint.
async fn outcome(client: &Client, sql: &str) -> Result<(), (String, Option<String>)> {
    match client.batch_execute(sql).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let told = error
                .as_db_error()
                .unwrap_or_else(|| panic!("{sql}: {error:?}"));
            let constraint = told.constraint().map(str::to_owned);
            Err((told.code().code().to_owned(), constraint))
        }
    }
}

async fn rows(client: &Client, schema: &Schema) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for table in &schema.tables {
        let sql = format!("select t::text from {} t order by 1", table.name);
        let rows = client.query(&sql, &[]).await.unwrap();
        all.push(rows.iter().map(|row| row.get(0)).collect());
    }
    all
}

#[derive(Debug, Default)]
struct Tally {
    same: usize,
    failed_alike: usize,
    named_otherwise: usize,
    refused: usize,
}

/// One schema, and so many statements in both.
async fn compare(seed: u64, statements: usize, tally: &mut Tally) {
    let mut random = StdRng::seed_from_u64(seed);
    let schema = Schema::random(&mut random);
    let database = Cluster::shared().database("constraints");
    database.oracle().await;
    let cluster = database.client().await;
    let oracle = connect(&database.oracle_url()).await.unwrap();
    let early = random.random_bool(0.5);
    for client in [&cluster, &oracle] {
        client.batch_execute(&schema.create()).await.unwrap();
    }
    if !early {
        cluster.batch_execute(&schema.place()).await.unwrap();
    }
    for client in [&cluster, &oracle] {
        client.batch_execute(&schema.keys()).await.unwrap();
    }
    if early {
        cluster.batch_execute(&schema.place()).await.unwrap();
    }
    let mut in_block = false;
    let mut told = format!(
        "seed {seed}, placed {}\n{}{}",
        if early { "after keys" } else { "before" },
        schema.create(),
        schema.keys()
    );
    writeln!(told, "{}", schema.place()).unwrap();
    for step in 0..statements {
        let sql = statement(&mut random, &schema, in_block);
        writeln!(told, "{sql};").unwrap();
        let here = outcome(&cluster, &sql).await;
        if matches!(&here, Err((code, _)) if code == "0A000") {
            tally.refused += 1;
            if in_block {
                for client in [&cluster, &oracle] {
                    client.batch_execute("rollback").await.unwrap();
                }
                in_block = false;
            }
            continue;
        }
        let there = outcome(&oracle, &sql).await;
        let code = |outcome: &Result<(), (String, Option<String>)>| match outcome {
            Ok(()) => None,
            Err((code, _)) => Some(code.clone()),
        };
        assert_eq!(code(&here), code(&there), "{told}\n{here:?} {there:?}");
        match (&here, here == there) {
            (Ok(()), _) => tally.same += 1,
            (Err(_), true) => tally.failed_alike += 1,
            (Err(_), false) => tally.named_otherwise += 1,
        }
        match sql.as_str() {
            "begin" => in_block = true,
            "commit" | "rollback" => in_block = false,
            _ if here.is_err() && in_block => {
                for client in [&cluster, &oracle] {
                    client.batch_execute("rollback").await.unwrap();
                }
                in_block = false;
            }
            _ => {}
        }
        if !in_block && (step % 8 == 0 || step + 1 == statements) {
            let (here, there) = (rows(&cluster, &schema).await, rows(&oracle, &schema).await);
            assert_eq!(here, there, "{told}");
        }
    }
    let _ = cluster.batch_execute("rollback").await;
    nothing_is_left(&database).await;
}

async fn nothing_is_left(database: &tests::Database<'_>) {
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let sql = "select (select count(*) from oskol.changes) + (select count(*) from oskol.key_changes)";
        let left: i64 = shard.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "nothing that was noted is forgotten");
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |set| set.parse().expect("a number"))
}

#[tokio::test]
async fn random_statements_fare_as_on_one_postgresql() {
    let mut tally = Tally::default();
    for seed in 1..3 {
        compare(seed, 40, &mut tally).await;
    }
    println!("{tally:?}");
    assert!(tally.same > 10 && tally.failed_alike > 10, "{tally:?}");
}

#[tokio::test]
#[ignore = "long: see above"]
async fn random_statements_for_long() {
    let first = setting("CONSTRAINTS_SEED", 1);
    let mut tally = Tally::default();
    for seed in first..first + setting("CONSTRAINTS_SCHEMAS", 50) {
        compare(seed, 100, &mut tally).await;
        println!("{seed} {tally:?}");
    }
}

/// Many sessions; nothing but what PostgreSQL might say as well.
#[tokio::test]
async fn many_sessions_leave_no_duplicate_and_no_orphan() {
    let mut random = StdRng::seed_from_u64(setting("CONSTRAINTS_SEED", 11));
    let schema = std::sync::Arc::new(Schema::random(&mut random));
    let database = Cluster::shared().database("constraints_crowd");
    let client = database.client().await;
    client.batch_execute(&schema.create()).await.unwrap();
    client.batch_execute(&schema.place()).await.unwrap();
    client.batch_execute(&schema.keys()).await.unwrap();
    let sessions = (0..6).map(|session| {
        let (url, schema) = (database.url(), std::sync::Arc::clone(&schema));
        tokio::spawn(async move {
            let client = connect(&url).await.unwrap();
            let mut random = StdRng::seed_from_u64(session);
            let mut in_block = false;
            for _ in 0..setting("CONSTRAINTS_STEPS", 40) {
                let sql = statement(&mut random, &schema, in_block);
                let outcome = outcome(&client, &sql).await;
                if let Err((code, _)) = &outcome {
                    let known = [
                        "23503", "23505", "23502", "0A000", "40001", "40P01", "21000",
                    ];
                    assert!(known.contains(&code.as_str()), "{sql}: {code}");
                }
                match sql.as_str() {
                    "begin" => in_block = true,
                    "commit" | "rollback" => in_block = false,
                    _ if outcome.is_err() && in_block => {
                        client.batch_execute("rollback").await.unwrap();
                        in_block = false;
                    }
                    _ => {}
                }
            }
            let _ = client.batch_execute("rollback").await;
        })
    });
    for session in futures_util::future::join_all(sessions).await {
        session.unwrap();
    }
    for table in &schema.tables {
        let sql = format!(
            "select count(*) - count(distinct id), count(u) - count(distinct u) from {}",
            table.name
        );
        let row = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!(
            (row.get::<_, i64>(0), row.get::<_, i64>(1)),
            (0, 0),
            "{table:?}"
        );
        for key in &table.keys {
            let sql = format!(
                "select count(*) from {} c where c.{} is not null and not exists (select from {} p where p.{} = c.{})",
                table.name,
                key.column,
                schema.tables[key.parent].name,
                key.parent_column,
                key.column
            );
            let orphans: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(orphans, 0, "{key:?}, deferrable: {}", key.deferrable);
        }
    }
    nothing_is_left(&database).await;
}
