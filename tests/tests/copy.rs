//! COPY over four shards: in by key, out from all, ids added, one error however many shards there are.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tests::{Cluster, ClusterOptions, Database, eventually};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

const TABLES: &str = "
    create table users (id serial primary key, name text not null);
    create table posts (id bigserial, user_id bigint not null, body text, primary key (user_id, id));
    create table always (id int generated always as identity, owner text not null, note text);
    create table countries (id serial primary key, name text);";

/// Where tables go, by rules of the configuration: one cluster for all tests.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let sharded = |name: &str, key: &str| {
            format!("[[tables]]\nname = \"{name}\"\nplacement = \"sharded\"\nkey = \"{key}\"\n\n")
        };
        let config = sharded("users", "id")
            + &sharded("posts", "user_id")
            + &sharded("always", "owner")
            + "[[tables]]\nname = \"countries\"\nplacement = \"reference\"\n";
        Cluster::start_with(ClusterOptions {
            config,
            ..ClusterOptions::default()
        })
    })
}

async fn tables(database: &Database<'_>) -> Client {
    let client = database.client().await;
    client.batch_execute(TABLES).await.unwrap();
    client
}

/// Sends `data` in pieces of `size` bytes; the rows copied.
async fn copy_in(client: &Client, sql: &str, data: &str, size: usize) -> Result<u64, Error> {
    let sink = client.copy_in::<_, Bytes>(sql).await?;
    futures_util::pin_mut!(sink);
    for piece in data.as_bytes().chunks(size) {
        sink.send(Bytes::copy_from_slice(piece)).await?;
    }
    sink.finish().await
}

async fn copy_out(client: &Client, sql: &str) -> Vec<u8> {
    let stream = client.copy_out(sql).await.unwrap();
    let whole: BytesMut = stream.try_collect().await.unwrap();
    whole.to_vec()
}

fn lines(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

async fn count(client: &Client, table: &str) -> i64 {
    let sql = format!("select count(*) from {table}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

fn code(error: &Error) -> &str {
    error.code().unwrap_or_else(|| panic!("{error:?}")).code()
}

#[tokio::test]
async fn rows_go_to_their_shards_with_ids_and_come_out_once() {
    let database = cluster().database("copy_text");
    let client = tables(&database).await;
    let data: String = (0..5000).map(|n| format!("{n}\tbody \\t {n}\n")).collect();
    for size in [1_000_000, 7] {
        client.batch_execute("delete from posts").await.unwrap();
        let copied = copy_in(
            &client,
            "copy posts (user_id, body) from stdin",
            &data,
            size,
        )
        .await;
        assert_eq!(copied.unwrap(), 5000);
        let rows = database.rows_by_shard("posts").await;
        assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
        let out = copy_out(&client, "copy posts (user_id, body) to stdout").await;
        assert_eq!(lines(&out), lines(data.as_bytes()));
        let ids = lines(&copy_out(&client, "copy posts (id) to stdout").await);
        assert_eq!(ids.len(), 5000);
    }
    let last = client
        .query_one("select currval('posts_id_seq')", &[])
        .await;
    let last: i64 = last.unwrap().get(0);
    let greatest = client.query_one("select max(id) from posts", &[]).await;
    assert_eq!(last, greatest.unwrap().get::<_, i64>(0));
    let wrong = client
        .query("select * from posts where user_id = 77", &[])
        .await;
    assert_eq!(wrong.unwrap().len(), 1);
}

#[tokio::test]
async fn csv_with_a_header_goes_in_and_out() {
    let database = cluster().database("copy_csv");
    let client = tables(&database).await;
    let data = "owner,note\nann,\"a, b\"\nbob,\"two\nlines\"\ncid,\"say \"\"hi\"\"\"\ndan,\n\"e,f\",x\ngus,1\nhal,2\n";
    let sql = "copy always (owner, note) from stdin with (format csv, header)";
    assert_eq!(copy_in(&client, sql, data, 11).await.unwrap(), 7);
    let out = copy_out(
        &client,
        "copy always (owner, note) to stdout with (format csv, header)",
    )
    .await;
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("owner,note\n"), "{out}");
    assert_eq!(out.matches("owner,note").count(), 1);
    assert_eq!(lines(out.as_bytes()), lines(data.as_bytes()));
    let ids = lines(&copy_out(&client, "copy always (id) to stdout").await);
    assert_eq!(ids.len(), 7);
    let matched = "copy always (owner, note) from stdin with (format csv, header match)";
    let error = copy_in(&client, matched, "owner,nota\nx,y\n", 99)
        .await
        .unwrap_err();
    assert_eq!(code(&error), "22P04");
    assert_eq!(count(&client, "always").await, 7);
}

#[tokio::test]
async fn binary_goes_in_and_out() {
    let database = cluster().database("copy_binary");
    let client = tables(&database).await;
    let sink = client
        .copy_in("copy users (name) from stdin binary")
        .await
        .unwrap();
    let writer = BinaryCopyInWriter::new(sink, &[Type::TEXT]);
    futures_util::pin_mut!(writer);
    for n in 0..1000 {
        writer
            .as_mut()
            .write(&[&format!("user {n}")])
            .await
            .unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 1000);
    let rows = database.rows_by_shard("users").await;
    assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
    let stream = client
        .copy_out("copy users (id, name) to stdout binary")
        .await
        .unwrap();
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT])
        .map(|row| {
            let row = row.unwrap();
            (row.get::<i32>(0), row.get::<&str>(1).to_owned())
        })
        .collect()
        .await;
    let ids: BTreeSet<i32> = rows.iter().map(|row| row.0).collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.1.as_str()).collect();
    assert_eq!((ids.len(), names.len()), (1000, 1000));
}

#[tokio::test]
async fn a_row_that_fails_takes_all_back_and_gives_one_error() {
    let database = cluster().database("copy_fails");
    let client = tables(&database).await;
    let good: String = (0..20_000)
        .map(|n| format!("{n}\tbody of some length {n}\n"))
        .collect();
    for (bad, expected) in [
        ("abc\tx\n", "22P02"),
        ("5\tx\ty\n", "22P04"),
        ("\\N\tx\n", "23502"),
        ("5\n", "22P04"),
    ] {
        for data in [format!("{good}{bad}"), format!("{bad}{good}")] {
            let sql = "copy posts (user_id, body) from stdin";
            let error = copy_in(&client, sql, &data, 8192).await.unwrap_err();
            assert_eq!(code(&error), expected, "{bad}");
            assert_eq!(count(&client, "posts").await, 0);
        }
    }
    client.batch_execute("begin").await.unwrap();
    let error = copy_in(
        &client,
        "copy posts (user_id, body) from stdin",
        "x\ty\n",
        99,
    )
    .await;
    assert_eq!(code(&error.unwrap_err()), "22P02");
    let error = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(code(&error), "25P02");
    client.batch_execute("rollback").await.unwrap();
    let twice = "copy posts (id, user_id) from stdin";
    let error = copy_in(&client, twice, "1\t1\n2\t2\n1\t1\n3\t3\n", 99).await;
    assert_eq!(code(&error.unwrap_err()), "23505");
    assert_eq!(count(&client, "posts").await, 0);
    let missing = copy_in(&client, "copy posts (nothing) from stdin", "", 1).await;
    assert_eq!(code(&missing.unwrap_err()), "42703");
    client.batch_execute("select 1").await.unwrap();
}

#[tokio::test]
async fn a_client_that_gives_up_or_goes_leaves_no_row() {
    let database = cluster().database("copy_given_up");
    let client = tables(&database).await;
    {
        let sink = client
            .copy_in::<_, Bytes>("copy posts (user_id, body) from stdin")
            .await
            .unwrap();
        futures_util::pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\ta\n2\tb\n3\tc\n4\td\n"))
            .await
            .unwrap();
        // Dropped: CopyFail.
    }
    assert_eq!(count(&client, "posts").await, 0);
    let leaving = database.client().await;
    let sink = leaving
        .copy_in::<_, Bytes>("copy posts (user_id, body) from stdin")
        .await
        .unwrap();
    let mut sink = Box::pin(sink);
    sink.send(Bytes::from_static(b"1\ta\n2\tb\n3\tc\n4\td\n"))
        .await
        .unwrap();
    drop(leaving);
    drop(sink);
    eventually("nothing is left of it", async || {
        let shard = database.shard(1).await;
        let sql = "select count(*) from pg_stat_activity
            where query ilike 'copy posts%' and state <> 'idle' and datname = current_database()";
        shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(database.rows_by_shard("posts").await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn copy_in_a_transaction_is_committed_with_it() {
    let database = cluster().database("copy_transaction");
    let mut client = tables(&database).await;
    let data: String = (0..100).map(|n| format!("{n}\tx\n")).collect();
    for keep in [false, true] {
        let transaction = client.transaction().await.unwrap();
        let sink = transaction
            .copy_in::<_, Bytes>("copy posts (user_id, body) from stdin")
            .await
            .unwrap();
        futures_util::pin_mut!(sink);
        sink.send(Bytes::from(data.clone())).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 100);
        let seen = transaction
            .query_one("select count(*) from posts", &[])
            .await
            .unwrap();
        assert_eq!(seen.get::<_, i64>(0), 100);
        if keep {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let rows: i64 = database.rows_by_shard("posts").await.iter().sum();
        assert_eq!(rows, if keep { 100 } else { 0 });
    }
}

#[tokio::test]
async fn a_reference_table_gets_the_same_rows_everywhere() {
    let database = cluster().database("copy_reference");
    let client = tables(&database).await;
    let sql = "copy countries (name) from stdin";
    assert_eq!(
        copy_in(&client, sql, "Chile\nPeru\nFiji", 4).await.unwrap(),
        3
    );
    let mut all = BTreeSet::new();
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let rows = shard
            .query("select id, name from countries order by id", &[])
            .await
            .unwrap();
        let rows: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows.len(), 3);
        all.insert(rows);
    }
    assert_eq!(all.len(), 1);
}

#[test]
fn psql_copies_in_the_simple_protocol() {
    let database = cluster().database("copy_psql");
    database.psql(TABLES).ok();
    let script = "\\copy posts (user_id, body) from pstdin\n1\ta\n2\tb\n3\tc\n4\td\n\\.\nselect count(*) from posts;
        begin;\n\\copy posts (user_id, body) from pstdin\n5\ta\n6\tb\n\\.\nrollback;\nselect count(*) from posts;
        copy users (name) from stdin;\nann\nbob\n\\.\nselect count(*) from users;
        copy (select name from users where id in (1, 2)) to stdout;";
    let output = tests::psql(&database.url(), &["--tuples-only", "--no-align"], script).ok();
    let mut names: Vec<&str> = output.lines().collect();
    names[3..].sort_unstable();
    assert_eq!(names, ["4", "4", "2", "ann", "bob"]);
    let failing = tests::psql(
        &database.url(),
        &["--set=ON_ERROR_STOP=0", "--tuples-only", "--no-align"],
        "copy posts (user_id, body) from stdin;\n1\ta\nx\tb\n3\tc\n\\.\nselect count(*) from posts;",
    );
    assert_eq!(failing.stdout, "4\n", "{failing:?}");
    assert_eq!(failing.stderr.matches("ERROR").count(), 1, "{failing:?}");
}

#[tokio::test]
async fn copies_of_merged_queries_are_those_of_one_postgresql() {
    let database = cluster().database("copy_query");
    let client = tables(&database).await;
    let oracle = database.oracle().await;
    oracle.batch_execute(TABLES).await.unwrap();
    let rows = "insert into posts (id, user_id, body) select n, n % 23, case n % 7 when 0 then null
            when 1 then 'tab' || chr(9) || n when 2 then 'line' || chr(10) || chr(13) when 3 then 'a\\b'
            when 4 then 'say \"' || n || '\", twice' when 5 then '' else '\\.' end
        from generate_series(1, 300) n";
    for client in [&client, &oracle] {
        client.batch_execute(rows).await.unwrap();
    }
    let queries = [
        "select * from posts order by id",
        "select body from posts order by id limit 50 offset 3",
        "select user_id, count(*), max(body collate \"C\"), avg(id) from posts group by user_id order by 1",
        "select count(*) from posts",
        "select a.id, b.id from posts a join posts b on a.id = b.user_id + 100 order by 1, 2",
        "select distinct body from posts where body > '' order by body",
        "with w as (select id from posts) select * from w order by id desc fetch first 4 rows only",
    ];
    let options = [
        "",
        "with (format csv)",
        "with (format csv, header, force_quote (body, id), null 'tab', delimiter ';')",
        "with (format csv, force_quote *, quote '''', escape '\\')",
        "with (delimiter 'a', null '', header)",
        "with (format binary)",
    ];
    for query in queries {
        for options in options {
            let sql = format!("copy ({query}) to stdout {options}");
            let wanted = match oracle.copy_out(&sql).await {
                Ok(_) => copy_out(&oracle, &sql).await,
                Err(refused) => {
                    let Err(error) = client.copy_out(&sql).await else {
                        panic!("{sql}: not refused");
                    };
                    assert_eq!(code(&error), code(&refused), "{sql}");
                    continue;
                }
            };
            assert!(copy_out(&client, &sql).await == wanted, "{sql}");
        }
    }
}
