//! Types made by users have other oids on every shard; a client that reads and writes them in binary sees the home
//! shard's only. The client here is a strict one: an oid inside a value that is not the type's own fails the test.

use std::error::Error;
use std::sync::OnceLock;

use bytes::{BufMut, BytesMut};
use tests::{Cluster, ClusterOptions, Database};
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

const TYPES: &str = "
    create type mood as enum ('sad', 'fine', 'happy');
    create domain word as text;
    create type stamp as (id int, mood mood, words word[], moods mood[]);
    create table notes (id int primary key, mood mood, moods mood[], stamp stamp, stamps stamp[]);
    create table kinds (mood mood primary key, stamps stamp[]);";

/// Where tables go, by rules of the configuration: one cluster for all tests.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let config = "[[tables]]\nname = \"notes\"\nplacement = \"sharded\"\nkey = \"id\"\n\n\
                      [[tables]]\nname = \"kinds\"\nplacement = \"reference\"\n";
        Cluster::start_with(ClusterOptions {
            config: config.to_owned(),
            ..ClusterOptions::default()
        })
    })
}

/// The types and tables, with other oids on every shard.
async fn typed(database: &Database<'_>) -> Client {
    for shard in 1..4 {
        let filler = "create type filler as (a int); drop type filler;".repeat(shard * 7);
        database
            .shard(shard)
            .await
            .batch_execute(&filler)
            .await
            .unwrap();
    }
    let client = database.client().await;
    client.batch_execute(TYPES).await.unwrap();
    let mut oids = Vec::new();
    for shard in 0..4 {
        let sql = "select 'mood'::regtype::oid";
        let row = database
            .shard(shard)
            .await
            .query_one(sql, &[])
            .await
            .unwrap();
        oids.push(row.get::<_, u32>(0));
    }
    oids.dedup();
    assert_eq!(oids.len(), 4, "the oids differ: {oids:?}");
    client
}

/// A value of any of the types here.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Int(i32),
    Text(String),
    List(Vec<Value>),
    Fields(Vec<Value>),
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn moods(number: i32) -> Value {
    let all = ["sad", "fine", "happy"];
    Value::List(
        (0..number % 4)
            .map(|at| text(all[at as usize % 3]))
            .collect(),
    )
}

fn stamp(number: i32) -> Value {
    let words = Value::List(vec![text("one"), text("two")]);
    Value::Fields(vec![Value::Int(number), text("fine"), words, moods(number)])
}

/// The columns of a row, but for its id.
fn note(number: i32) -> Vec<Value> {
    let stamps = Value::List(vec![stamp(number), stamp(number + 1)]);
    vec![text("happy"), moods(number), stamp(number), stamps]
}

impl Value {
    fn read(type_: &Type, mut bytes: &[u8]) -> Self {
        let bytes = &mut bytes;
        match type_.kind() {
            Kind::Array(member) => {
                let dimensions = int(bytes);
                int(bytes);
                assert_eq!(int(bytes) as u32, member.oid(), "the element of {type_}");
                let count = if dimensions == 0 { 0 } else { int(bytes) };
                if dimensions > 0 {
                    int(bytes);
                }
                Self::List((0..count).map(|_| Self::field(member, bytes)).collect())
            }
            Kind::Composite(fields) => {
                assert_eq!(int(bytes) as usize, fields.len());
                let mut read = |field: &tokio_postgres::types::Field| {
                    assert_eq!(int(bytes) as u32, field.type_().oid(), "{}", field.name());
                    Self::field(field.type_(), bytes)
                };
                Self::Fields(fields.iter().map(&mut read).collect())
            }
            _ if *type_ == Type::INT4 => Self::Int(int(bytes)),
            _ => text(std::str::from_utf8(bytes).unwrap()),
        }
    }

    fn field(type_: &Type, bytes: &mut &[u8]) -> Self {
        let length = int(bytes) as usize;
        let (value, rest) = bytes.split_at(length);
        *bytes = rest;
        Self::read(type_, value)
    }

    fn write(&self, type_: &Type, out: &mut BytesMut) {
        match (self, type_.kind()) {
            (Self::List(values), Kind::Array(member)) => {
                out.put_i32(i32::from(!values.is_empty()));
                out.put_i32(0);
                out.put_u32(member.oid());
                if !values.is_empty() {
                    out.put_i32(values.len() as i32);
                    out.put_i32(1);
                }
                values
                    .iter()
                    .for_each(|value| value.write_field(member, out));
            }
            (Self::Fields(values), Kind::Composite(fields)) => {
                out.put_i32(fields.len() as i32);
                for (value, field) in values.iter().zip(fields) {
                    out.put_u32(field.type_().oid());
                    value.write_field(field.type_(), out);
                }
            }
            (Self::Int(number), _) => out.put_i32(*number),
            (Self::Text(text), _) => out.put_slice(text.as_bytes()),
            _ => panic!("{self:?} is not of type {type_}"),
        }
    }

    fn write_field(&self, type_: &Type, out: &mut BytesMut) {
        let mut value = BytesMut::new();
        self.write(type_, &mut value);
        out.put_i32(value.len() as i32);
        out.put_slice(&value);
    }
}

fn int(bytes: &mut &[u8]) -> i32 {
    let (four, rest) = bytes.split_at(4);
    *bytes = rest;
    i32::from_be_bytes(four.try_into().unwrap())
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(type_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::read(type_, bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        type_: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.write(type_, out);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

const INSERT: &str = "insert into notes values ($1, $2, $3, $4, $5)";
const SELECT: &str = "select mood, moods, stamp, stamps from notes where id = $1";
const ALL: &str = "select mood, moods, stamp, stamps, id from notes order by id";
/// Enough for every shard.
const ROWS: i32 = 24;

async fn insert(client: &Client, number: i32) {
    let note = note(number);
    let done = client
        .execute(INSERT, &[&number, &note[0], &note[1], &note[2], &note[3]])
        .await;
    assert_eq!(
        done.unwrap_or_else(|error| panic!("row {number}: {error:?}")),
        1
    );
}

fn values(row: &tokio_postgres::Row) -> Vec<Value> {
    (0..4).map(|column| row.get(column)).collect()
}

async fn by_key(client: &Client, number: i32) -> Vec<Value> {
    let row = client.query_one(SELECT, &[&number]).await;
    values(&row.unwrap_or_else(|error| panic!("row {number}: {error:?}")))
}

async fn filled(database: &Database<'_>) -> Client {
    let client = typed(database).await;
    for number in 0..ROWS {
        insert(&client, number).await;
    }
    let counts = database.rows_by_shard("notes").await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    client
}

#[tokio::test]
async fn rows_are_written_and_read_by_key_in_binary_on_every_shard() {
    let database = cluster().database("by_key");
    let client = filled(&database).await;
    for number in 0..ROWS {
        assert_eq!(by_key(&client, number).await, note(number));
    }
    // Prepared once, and used on every shard.
    let select = client.prepare(SELECT).await.unwrap();
    for number in 0..ROWS {
        let row = client.query_one(&select, &[&number]).await.unwrap();
        assert_eq!(values(&row), note(number));
    }
}

#[tokio::test]
async fn rows_of_all_shards_have_the_home_shards_oids() {
    let database = cluster().database("scattered");
    let client = filled(&database).await;
    let rows = client.query(ALL, &[]).await.unwrap();
    assert_eq!(rows.len(), ROWS as usize);
    for (number, row) in (0..).zip(&rows) {
        assert_eq!(values(row), note(number));
    }
    let sad = client
        .query_one(
            "select count(*) from notes where moods = $1 and stamp = any($2::stamp[])",
            &[&moods(2), &Value::List(vec![stamp(2), stamp(6)])],
        )
        .await
        .unwrap();
    assert_eq!(sad.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn rows_that_are_fetched_in_parts_or_from_a_cursor_are_translated_too() {
    let database = cluster().database("in_parts");
    let mut client = filled(&database).await;
    let select = client
        .prepare(&SELECT.replace("= $1", "in ($1, $1)"))
        .await
        .unwrap();
    for number in 0..ROWS {
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind(&select, &[&number]).await.unwrap();
        let rows = transaction.query_portal(&portal, 1).await.unwrap();
        assert_eq!(values(&rows[0]), note(number));
        let declare = format!(
            "declare c cursor for {}",
            SELECT.replace("$1", &number.to_string())
        );
        transaction.batch_execute(&declare).await.unwrap();
        let rows = transaction.query("fetch all from c", &[]).await.unwrap();
        assert_eq!(values(&rows[0]), note(number));
    }
}

#[tokio::test]
async fn a_pipeline_over_shards_is_answered_in_order() {
    let database = cluster().database("pipeline");
    let client = typed(&database).await;
    let (insert_one, select) = (client.prepare(INSERT).await, client.prepare(SELECT).await);
    let (insert_one, select) = (insert_one.unwrap(), select.unwrap());
    let both = (0..ROWS).map(|number| {
        let (client, insert_one, select) = (&client, &insert_one, &select);
        async move {
            let note = note(number);
            let given: [&(dyn ToSql + Sync); 5] = [&number, &note[0], &note[1], &note[2], &note[3]];
            let key: [&(dyn ToSql + Sync); 1] = [&number];
            let (inserted, read) = tokio::join!(
                client.execute(insert_one, &given),
                client.query_one(select, &key)
            );
            assert_eq!(inserted.unwrap(), 1);
            assert_eq!(values(&read.unwrap()), note);
        }
    });
    futures_util::future::join_all(both).await;
}

#[tokio::test]
async fn a_statement_that_was_never_described_reads_and_writes_the_same() {
    let database = cluster().database("undescribed");
    let client = filled(&database).await;
    let insert = client.prepare(INSERT).await.unwrap();
    let types = insert.params().to_vec();
    // Declared types, and no Describe of the statement.
    for number in ROWS..2 * ROWS {
        let note = note(number);
        let mut given: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&number, types[0].clone())];
        for (value, type_) in note.iter().zip(&types[1..]) {
            given.push((value, type_.clone()));
        }
        client.query_typed(INSERT, &given).await.unwrap();
        let rows = client
            .query_typed(SELECT, &[(&number, Type::INT4)])
            .await
            .unwrap();
        assert_eq!(values(&rows[0]), note);
    }
}

#[tokio::test]
async fn rows_of_one_insert_are_divided_with_their_values_translated() {
    let database = cluster().database("divided");
    let client = typed(&database).await;
    let rows: Vec<(i32, Vec<Value>)> = (0..ROWS).map(|number| (number, note(number))).collect();
    let mut sql = "insert into notes values ".to_owned();
    let mut given: Vec<&(dyn ToSql + Sync)> = Vec::new();
    for (at, (number, note)) in rows.iter().enumerate() {
        let at = at * 5;
        let comma = if at > 0 { ", " } else { "" };
        sql += &format!(
            "{comma}(${}, ${}, ${}, ${}, ${})",
            at + 1,
            at + 2,
            at + 3,
            at + 4,
            at + 5
        );
        given.push(number);
        note.iter().for_each(|value| given.push(value));
    }
    sql += " returning mood, moods, stamp, stamps";
    let returned = client.query(&sql, &given).await.unwrap();
    for (number, row) in (0..).zip(&returned) {
        assert_eq!(values(row), note(number));
    }
    assert_eq!(returned.len(), ROWS as usize);
    for number in 0..ROWS {
        assert_eq!(by_key(&client, number).await, note(number));
    }
}

#[tokio::test]
async fn a_transaction_that_made_the_types_uses_them_at_once() {
    let database = cluster().database("at_once");
    let mut client = typed(&database).await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute(
            "create type pair as (mood mood, moods mood[]);
             alter table notes add column pair pair",
        )
        .await
        .unwrap();
    let pair = Value::Fields(vec![text("sad"), moods(3)]);
    for number in 0..ROWS {
        let sql = "insert into notes (id, pair) values ($1, $2) returning pair";
        let row = transaction.query_one(sql, &[&number, &pair]).await.unwrap();
        assert_eq!(row.get::<_, Value>(0), pair);
    }
    let rows = transaction
        .query("select pair from notes", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), ROWS as usize);
    assert!(rows.iter().all(|row| row.get::<_, Value>(0) == pair));
    transaction.commit().await.unwrap();
    let rows = client.query("select pair from notes", &[]).await.unwrap();
    assert!(rows.iter().all(|row| row.get::<_, Value>(0) == pair));
}

#[tokio::test]
async fn a_reference_table_gets_the_same_values_on_every_shard() {
    let database = cluster().database("reference");
    let client = typed(&database).await;
    let stamps = Value::List(vec![stamp(1), stamp(2)]);
    let sql = "insert into kinds values ($1, $2)";
    client.execute(sql, &[&text("sad"), &stamps]).await.unwrap();
    for shard in 0..4 {
        let there = database.shard(shard).await;
        let row = there
            .query_one("select stamps from kinds", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, Value>(0), stamps);
    }
    for _ in 0..8 {
        // Any shard may answer.
        let row = client
            .query_one("select mood, stamps from kinds", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, Value>(1), stamps);
    }
}
