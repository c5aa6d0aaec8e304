//! Tables of many types and collations, on the cluster and on the oracle, and what both say.

use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database, RawClient};

const RULES: &str = "[[tables]]\nname = \"posts\"\nplacement = \"sharded\"\nkey = \"owner\"\n\n\
     [[tables]]\nname = \"users\"\nplacement = \"sharded\"\nkey = \"id\"\n\n\
     [[tables]]\nname = \"countries\"\nplacement = \"reference\"\n\n";

const TABLES: &str = "
    create type mood as enum ('sad', 'fine', 'happy');
    create collation blurred (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create domain amount as int;
    create aggregate product (int) (sfunc = int4mul, stype = int, initcond = '1');
    create function twice(int) returns int language sql immutable as 'select $1 * 2';
    create table countries (code text primary key, name text, doc json);
    create table users (id bigint primary key, name text, country text, born date, score numeric,
        alias text collate blurred);
    create table posts (owner bigint, id int, body text, stars int, small smallint, big bigint,
        price numeric(12, 4), ratio float8, paid money, took interval, made timestamptz, day date,
        tags text[], doc jsonb, raw json, mood mood, code char(6), nick varchar(10) collate \"C\",
        title text collate \"en-x-icu\", flag boolean, bits bit(8), amount amount, blob bytea,
        primary key (owner, id))";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::start_with(ClusterOptions {
            config: RULES.to_owned(),
            ..ClusterOptions::default()
        })
    })
}

/// A database whose text sorts as English does, with the same rows on the cluster and on the oracle.
pub async fn database(name: &str) -> Database<'static> {
    let english = "template template0 locale_provider icu icu_locale 'en-US'";
    let database = cluster().database_with(name, english);
    fill(&database.url()).await;
    fill(&database.oracle_url()).await;
    let rows = database.rows_by_shard("posts").await;
    assert!(rows.iter().all(|count| *count > 0), "{rows:?}");
    database
}

async fn fill(url: &str) {
    let client = tests::connect(url).await.unwrap();
    let run = async |sql: String| {
        let done = client.batch_execute(&sql).await;
        done.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    };
    for statement in TABLES.split(';') {
        run(statement.to_owned()).await;
    }
    run(
        "insert into countries values ('de', 'Germany', '{\"a\": 1}'), ('fr', 'France', '{}'), ('xx', null, null)"
            .to_owned(),
    )
    .await;
    run(format!("insert into users values {}", users())).await;
    run(format!("insert into posts values {}", posts())).await;
}

fn users() -> String {
    let rows = (1..=30i64).map(|id| {
        let country = ["'de'", "'fr'", "'xx'", "null"][usize::try_from(id % 4).unwrap()];
        let name = ["Anna", "anna", "Äpfel", "Zoë", "bob"][usize::try_from(id % 5).unwrap()];
        let month = id % 12 + 1;
        format!("({id}, '{name}', {country}, '2000-{month}-03', {id}.5, '{name}')")
    });
    rows.collect::<Vec<_>>().join(", ")
}

/// Owners 1 to 30, each with posts 1 to 5, with a NULL here and there.
fn posts() -> String {
    let ids = |owner: i64| (1..=5).map(move |id| (owner, id));
    let rows = (1..=30).flat_map(ids).map(|(owner, id)| post(owner, id));
    rows.collect::<Vec<_>>().join(", ")
}

fn post(owner: i64, id: i64) -> String {
    let seed = owner * 31 + id * 17;
    let pick = |values: &[&str], by: i64| {
        let at = usize::try_from((seed / by) % i64::try_from(values.len()).unwrap()).unwrap();
        values[at].to_owned()
    };
    let or_null = |value: String, every: i64| match seed % every {
        0 => "null".to_owned(),
        _ => value,
    };
    let values = [
        owner.to_string(),
        id.to_string(),
        or_null(
            pick(
                &[
                    "'apple'", "'Banana'", "'änd'", "'zebra'", "'Apple'", "''", "'b-c'", "'bc'",
                ],
                1,
            ),
            11,
        ),
        or_null((seed % 6).to_string(), 13),
        (seed % 7).to_string(),
        (seed * 1_000_000_007).to_string(),
        or_null(
            pick(&["1.5", "2.50", "0.0001", "99999.1234", "-3", "1.5000"], 2),
            17,
        ),
        (seed % 16).to_string(),
        format!("{seed}.25"),
        format!(
            "interval '{} months {} days {seed} seconds'",
            seed % 3,
            seed % 5
        ),
        format!(
            "timestamptz '2024-03-{:02} 10:00:00+00' + interval '{seed} minutes'",
            seed % 28 + 1
        ),
        format!("'2024-02-{:02}'", seed % 28 + 1),
        pick(&["'{a,b}'", "'{b,NULL}'", "'{}'", "'{a}'", "null"], 1),
        pick(&["'{\"k\": 1}'", "'{\"k\": 2, \"l\": [1]}'", "'null'"], 1),
        pick(&["'{\"r\": 1}'", "'[ 1 ]'", "null"], 3),
        pick(&["'sad'", "'fine'", "'happy'", "null"], 1),
        pick(&["'ab'", "'AB'", "'abc'"], 2),
        pick(&["'Zed'", "'alf'", "'Alf'", "'zed'"], 3),
        pick(&["'Zed'", "'alf'", "'Alf'", "'zed'", "'élan'"], 3),
        pick(&["true", "false", "null"], 2),
        pick(&["b'10101010'", "b'11110000'", "b'00001111'"], 1),
        (seed % 9).to_string(),
        pick(&["'\\x00ff'", "'\\xff'", "''"], 1),
    ];
    format!("({})", values.join(", "))
}

/// A connection to each.
pub struct Both {
    cluster: RawClient,
    oracle: RawClient,
}

impl Both {
    pub async fn connect(database: &Database<'_>) -> Both {
        Both {
            cluster: RawClient::connect(&database.url()).await,
            oracle: RawClient::connect(&database.oracle_url()).await,
        }
    }

    /// Says the same to both; gives what both answer, rows sorted unless their order counts.
    pub async fn say(
        &mut self,
        mut words: impl FnMut(&mut RawClient),
        is_ordered: bool,
    ) -> (Vec<String>, Vec<String>) {
        words(&mut self.cluster);
        words(&mut self.oracle);
        let cluster = self.cluster.transcript(1).await;
        let oracle = self.oracle.transcript(1).await;
        (
            comparable(cluster, is_ordered),
            comparable(oracle, is_ordered),
        )
    }
}

/// Oids of users' types differ between servers. An error may be found before a description was sent.
fn comparable(mut notes: Vec<String>, is_ordered: bool) -> Vec<String> {
    if notes.iter().any(|note| note.starts_with("error")) {
        notes.retain(|note| note.starts_with("error") || note.starts_with("ready"));
    }
    for note in &mut notes {
        if note.starts_with("columns") {
            *note = without_user_oids(note);
        }
    }
    if !is_ordered {
        notes.sort();
    }
    notes
}

fn without_user_oids(note: &str) -> String {
    let words = note.split(':').map(|word| match word.parse::<u32>() {
        Ok(oid) if oid >= 16_384 => "user".to_owned(),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(":")
}
