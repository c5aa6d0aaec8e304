//! The hashes agree with a live PostgreSQL for 100,000 random keys of each type.

#[path = "support/server.rs"]
mod server;

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use server::TemporaryServer;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};
use topology::{Key, ShardMap};

const KEYS: usize = 100_000;

/// Keys of one SQL type; texts and uuids as text.
enum Keys {
    Integers(Vec<i64>),
    Texts(Vec<String>),
    Uuids(Vec<[u8; 16]>),
}

struct Case {
    sql_type: &'static str,
    function: &'static str,
    keys: Keys,
}

impl Case {
    fn new(sql_type: &'static str, function: &'static str, keys: Keys) -> Self {
        Self {
            sql_type,
            function,
            keys,
        }
    }

    fn ours(&self) -> Vec<u64> {
        match &self.keys {
            Keys::Integers(keys) => keys.iter().map(|key| Key::Int(*key).hash()).collect(),
            Keys::Texts(keys) => keys
                .iter()
                .map(|key| Key::Text(key.as_bytes()).hash())
                .collect(),
            Keys::Uuids(keys) => keys.iter().map(|key| Key::Uuid(*key).hash()).collect(),
        }
    }

    /// PostgreSQL's hash and bucket of every key, in order.
    async fn theirs(&self, client: &Client) -> Vec<(u64, u16)> {
        let parameter_type = if matches!(self.keys, Keys::Integers(_)) {
            "int8[]"
        } else {
            "text[]"
        };
        let sql = format!(
            "SELECT hash, (hash & 4095)::int4 FROM unnest($1::{parameter_type}) WITH ORDINALITY \
             AS input (key, place), {}(key::{}, 0) AS hash ORDER BY place",
            self.function, self.sql_type
        );
        let texts;
        let parameter: &(dyn ToSql + Sync) = match &self.keys {
            Keys::Integers(keys) => keys,
            Keys::Texts(keys) => keys,
            Keys::Uuids(keys) => {
                texts = keys.iter().map(|key| hex(key)).collect::<Vec<_>>();
                &texts
            }
        };
        let rows = client
            .query(&sql, &[parameter])
            .await
            .expect("PostgreSQL hashes");
        rows.iter()
            .map(|row| (row.get::<_, i64>(0) as u64, row.get::<_, i32>(1) as u16))
            .collect()
    }

    fn printed(&self) -> Vec<String> {
        match &self.keys {
            Keys::Integers(keys) => keys.iter().map(i64::to_string).collect(),
            Keys::Texts(keys) => keys.iter().map(|key| hex(key.as_bytes())).collect(),
            Keys::Uuids(keys) => keys.iter().map(|key| hex(key)).collect(),
        }
    }
}

/// `count` random keys of each type, the awkward ones first.
fn cases(count: usize) -> Vec<Case> {
    let mut random = StdRng::seed_from_u64(0x05c0_1000);
    let mut integers = |low: i64, high: i64| {
        let awkward = [0, 1, -1, low, high, low + 1, high - 1];
        let drawn =
            (0..count).map(|_| random.random_range(low..=high) >> random.random_range(0..8));
        Keys::Integers(awkward.into_iter().chain(drawn).take(count).collect())
    };
    let int2 = integers(i16::MIN.into(), i16::MAX.into());
    let int4 = integers(i32::MIN.into(), i32::MAX.into());
    let int8 = integers(i64::MIN, i64::MAX);
    let mut texts = || Keys::Texts((0..count).map(|at| text(&mut random, at)).collect());
    let (text, varchar) = (texts(), texts());
    let uuids = Keys::Uuids((0..count).map(|_| random.random()).collect());
    vec![
        Case::new("int2", "hashint2extended", int2),
        Case::new("int4", "hashint4extended", int4),
        Case::new("int8", "hashint8extended", int8),
        Case::new("text", "hashtextextended", text),
        Case::new("varchar", "hashtextextended", varchar),
        Case::new("uuid", "uuid_hash_extended", uuids),
    ]
}

/// Lengths 0 to 63 in turn, so that every length of the last block is met; one to four bytes a letter.
fn text(random: &mut StdRng, at: usize) -> String {
    let letters = ['a', 'Z', '0', ' ', 'é', 'ж', '語', '🐘'];
    let plain = random.random_bool(0.5);
    let range = if plain { 0..4 } else { 0..letters.len() };
    (0..at % 64)
        .map(|_| letters[random.random_range(range.clone())])
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn connect(server: &TemporaryServer) -> Client {
    let parameters = server.parameters("postgres");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls)
        .await
        .expect("connects");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn a_live_server_agrees_on_100000_keys_of_each_type() {
    let server = TemporaryServer::shared();
    let client = connect(&server).await;
    for case in cases(KEYS) {
        let theirs = case.theirs(&client).await;
        let ours = case.ours();
        assert_eq!(
            (ours.len(), theirs.len()),
            (KEYS, KEYS),
            "{}",
            case.sql_type
        );
        for ((ours, (hash, bucket)), key) in ours.iter().zip(theirs).zip(case.printed()) {
            assert_eq!(*ours, hash, "{} {key}", case.sql_type);
            assert_eq!((*ours & 4095) as u16, bucket, "{} {key}", case.sql_type);
        }
        println!("{}: {KEYS} keys agree", case.sql_type);
    }
}

#[tokio::test]
async fn sql_that_a_shard_runs_gives_the_bucket() {
    let server = TemporaryServer::shared();
    let client = connect(&server).await;
    let sql = "SELECT (hashint8extended(42, 0) & 4095)::int4";
    let bucket: i32 = client.query_one(sql, &[]).await.expect("a row").get(0);
    assert_eq!(bucket, i32::from(ShardMap::bucket(Key::Int(42)).0));
}

/// Run with `--ignored` to write `hash_vectors.tsv` anew.
#[tokio::test]
#[ignore = "writes the committed vectors"]
async fn write_the_vectors() {
    let server = TemporaryServer::shared();
    let client = connect(&server).await;
    let version: String = client
        .query_one("SHOW server_version_num", &[])
        .await
        .unwrap()
        .get(0);
    let mut file = format!("# Extended hashes with seed 0, from PostgreSQL {version}\n");
    for case in cases(80) {
        for (key, (hash, _)) in case.printed().iter().zip(case.theirs(&client).await) {
            writeln!(file, "{}\t{key}\t{}", case.sql_type, hash as i64).unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hash_vectors.tsv");
    std::fs::write(path, file).unwrap();
}
