//! ON CONFLICT over unique keys that do not contain the shard key, on four shards and on one plain PostgreSQL: the
//! row in conflict may be on any shard.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::{Both, Cluster, Database};
use tokio_postgres::error::SqlState;

const TABLE: &str = "create table people (id bigint primary key, email text unique, phone text unique, \
    code uuid, visits int not null default 1, name varchar(10), constraint codes unique (code, visits))";

async fn database(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    client.batch_execute(TABLE).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    client.batch_execute(divide).await.unwrap();
    let oracle = database.oracle().await;
    oracle.batch_execute(TABLE).await.unwrap();
    database
}

#[tokio::test]
async fn conflicts_are_met_wherever_the_other_row_is() {
    let database = database("conflict_words").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "insert into people (id, email, phone) select i, 'e' || i, 'p' || i from generate_series(1, 12) i",
        "insert into people (id, email) values (100, 'e1') on conflict do nothing",
        "insert into people (id, email) values (101, 'e2') on conflict (email) do nothing returning id",
        "insert into people (id, email) values (102, 'new') on conflict (email) do nothing returning id, email",
        "insert into people (id, email) values (103, 'e3') on conflict (email) do update set visits = people.visits + 1 returning *",
        "insert into people (id, email) values (103, 'e3') on conflict (email) do update set visits = people.visits + 1 where people.visits > 5 returning *",
        "insert into people (id, email) values (103, 'e3'), (104, 'e4'), (105, 'other') on conflict (email) do update set visits = people.visits + excluded.id returning id, email, visits",
        "insert into people (id, email) values (103, 'e3'), (104, 'e3') on conflict (email) do update set visits = 9",
        "insert into people (id, email) values (106, 'twice'), (107, 'twice') on conflict (email) do update set visits = 9",
        "insert into people (id, email) values (106, 'twice'), (107, 'twice') on conflict (email) do nothing returning id",
        "insert into people (id, email) values (108, 'e4'), (109, 'moved') on conflict (email) do update set email = 'moved'",
        "insert into people (id, email) values (108, 'e4') on conflict (email) do update set email = 'e5'",
        "insert into people (id, email) values (108, 'e4') on conflict (email) do update set email = 'e4b' returning id, email",
        "insert into people (id, email, phone) values (1, 'e6', 'p7') on conflict (email) do update set visits = 77 returning id, visits",
        "insert into people (id, email, phone) values (1, 'free', 'p7') on conflict (email) do update set visits = 78",
        "insert into people (id, email, phone) values (200, 'free', 'p7') on conflict (email) do update set visits = 78",
        "insert into people (id, email, phone) values (200, 'free', 'p7') on conflict (phone) do update set email = excluded.email returning id, email",
        "insert into people (id, email, phone) values (201, null, 'p8') on conflict (email) do nothing",
        "insert into people (id, email, phone) values (201, lower('E8'), null) on conflict (email) do update set phone = 'low' returning id",
        "insert into people (id, code) values (300, '00000000-0000-0000-0000-00000000000A') on conflict on constraint codes do update set name = 'x' returning id",
        "insert into people (id, code) values (301, '00000000-0000-0000-0000-00000000000a') on conflict on constraint codes do update set name = 'y' returning id, name",
        "insert into people (id, code, visits) values (301, '{000000000000000000000000-0000000a}', 1), (302, '00000000-0000-0000-0000-00000000000a', 1) on conflict (visits, code) do update set name = 'z'",
        "insert into people (id, email) values (1, 'e9') on conflict (id) do update set email = 'e1x' returning email",
        "begin",
        "insert into people (id, email) values (400, 'mine')",
        "insert into people (id, email) values (401, 'mine') on conflict (email) do update set visits = 5 returning id, visits",
        "savepoint s",
        "insert into people (id, email) values (402, 'mine') on conflict (email) do update set visits = 6, phone = 'p9'",
        "rollback to s",
        "insert into people (id, email) values (402, 'mine') on conflict (email) do update set visits = 6 returning visits",
        "commit",
        "insert into people (id, email, name) values (500, 'e10', 'far too long for it') on conflict (email) do nothing",
        "insert into people (id, email) values (501, 'e10') on conflict (email) do update set name = 'far too long for it'",
        "insert into people (id, email) values (502, 'nobody') on conflict (nothing) do nothing",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
    for (sql, values) in [
        (
            "insert into people (id, email) values ($1, $2) on conflict (email) do update set visits = people.visits + $3 returning id, visits",
            ["600", "e11", "10"],
        ),
        (
            "insert into people (id, email, visits) values ($1, $2, $3) on conflict do nothing returning id",
            ["601", "e11", "10"],
        ),
        (
            "insert into people (id, email, visits) values ($1, $2, $3) on conflict (email) do nothing returning id",
            ["602", "e602", "10"],
        ),
    ] {
        both.agree(sql, 1, |client| {
            client.extended(sql, &values, wire::Format::Text).sync();
        })
        .await;
    }
    both.query_unordered("select * from people").await;
}

#[tokio::test]
async fn ids_are_given_by_the_router_and_skipped_as_by_a_sequence() {
    let database = Cluster::shared().database("conflict_ids");
    let mut both = Both::connect(&database).await;
    let table = "create table users (id int generated always as identity primary key, email text not null unique)";
    both.query(table).await;
    let divide = "select oskol.shard_table('users', 'id')";
    database.client().await.batch_execute(divide).await.unwrap();
    for sql in [
        "insert into users (email) values ('a'), ('b'), ('c') returning email",
        "insert into users (email) values ('a'), ('d') on conflict (email) do nothing returning email",
        "insert into users (email) values ('a') on conflict (email) do update set email = 'z' returning email",
        "insert into users (email) values ('a'), ('z') on conflict (email) do update set email = excluded.email || '!' returning email",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select email from users").await;
}

#[tokio::test]
async fn what_cannot_be_exact_is_refused() {
    let database = database("conflict_refused").await;
    let client = database.client().await;
    let index = "create unique index lowered on people (lower(name))";
    client.batch_execute(index).await.unwrap();
    for sql in [
        "insert into people (id, name) values (1, 'A') on conflict (lower(name)) do nothing",
        "insert into people (id, email) select 1, 'x' on conflict (email) do nothing",
        "insert into people (id, email) values (1, lower('A')), (2, 'b') on conflict (email) do update set visits = 2",
        "insert into people (id, email) values (1, 'a') on conflict (email) do update set visits = (select 1)",
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        let code = refused.code();
        assert_eq!(
            code,
            Some(&SqlState::FEATURE_NOT_SUPPORTED),
            "{sql}: {refused:?}"
        );
    }
    // Without a target every key arbitrates, that over an expression too.
    for (sql, made) in [
        (
            "insert into people (id, name) values (1, 'A') on conflict do nothing",
            1,
        ),
        (
            "insert into people (id, name) values (2, 'a') on conflict do nothing",
            0,
        ),
    ] {
        assert_eq!(client.execute(sql, &[]).await.unwrap(), made, "{sql}");
    }
}

#[tokio::test]
async fn counts_of_many_upserts_at_once_add_up() {
    let database = database("conflict_crowd").await;
    let writers = (0..16).map(|writer: i64| {
        let url = database.url();
        tokio::spawn(async move {
            let client = tests::connect(&url).await.unwrap();
            let mut random = StdRng::seed_from_u64(writer.unsigned_abs());
            for step in 0..20 {
                let id = writer * 1000 + step;
                let email = random.random_range(0..5);
                let sql = format!(
                    "insert into people (id, email) values ({id}, 'e{email}') \
                     on conflict (email) do update set visits = people.visits + 1"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    let client = database.client().await;
    let sql = "select count(*), count(distinct email), sum(visits) from people";
    let row = client.query_one(sql, &[]).await.unwrap();
    let counts: [i64; 3] = [0, 1, 2].map(|column| row.get(column));
    assert_eq!(counts, [5, 5, 320]);
}
