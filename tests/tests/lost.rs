//! Transactions that end otherwise than their clients wished: a shard's connection is gone, or a time is over.

use tests::{Cluster, ClusterOptions, Database, RawClient, eventually};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

async fn database<'a>(cluster: &'a Cluster, name: &str) -> Database<'a> {
    let database = cluster.database(name);
    let client = database.client().await;
    client
        .batch_execute(
            "create table accounts (id bigint primary key, amount bigint not null);
            select oskol.shard_table('accounts', 'id');
            insert into accounts select i, 100 from generate_series(1, 100) i",
        )
        .await
        .unwrap();
    database
}

async fn keys(database: &Database<'_>, count: usize) -> Vec<i64> {
    let mut keys = Vec::new();
    for shard in 0..count {
        let shard = database.shard(shard).await;
        let row = shard.query_one("select min(id) from accounts", &[]).await;
        keys.push(row.unwrap().get(0));
    }
    keys
}

fn change(key: i64) -> String {
    format!("update accounts set amount = amount + 1 where id = {key}")
}

async fn change_both(client: &Client, keys: &[i64]) {
    let sql = format!("begin; {}; {}", change(keys[0]), change(keys[1]));
    client.batch_execute(&sql).await.unwrap();
}

/// Ends the connections of clients' transactions on a shard; true when there was one.
async fn terminate(shard: &Client, which: &str) -> bool {
    let sql = format!(
        "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()
        and datname = current_database() and backend_type = 'client backend' and {which}) t"
    );
    shard.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0
}

async fn is_free(shard: &Client, key: i64) -> bool {
    let sql = format!("select id from accounts where id = {key} for update nowait");
    shard.query(&sql, &[]).await.is_ok()
}

async fn total(client: &Client) -> i64 {
    let sql = "select sum(amount)::bigint from accounts";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_shard_lost_while_the_client_is_silent_is_told_at_its_next_statement() {
    let database = database(Cluster::shared(), "silent").await;
    let keys = keys(&database, 2).await;
    let client = database.client().await;
    change_both(&client, &keys).await;
    let (first, second) = (database.shard(0).await, database.shard(1).await);
    assert!(terminate(&first, "state = 'idle in transaction'").await);
    eventually("the other shard's locks are free", async || {
        is_free(&second, keys[1]).await
    })
    .await;
    let told = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::CONNECTION_FAILURE), "{told:?}");
    let failed = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(total(&client).await, 10_000);
}

#[tokio::test]
async fn commit_after_a_shard_was_lost_is_an_error_and_not_a_silent_rollback() {
    let database = database(Cluster::shared(), "commit").await;
    let keys = keys(&database, 2).await;
    let client = database.client().await;
    change_both(&client, &keys).await;
    let (first, second) = (database.shard(0).await, database.shard(1).await);
    assert!(terminate(&first, "state = 'idle in transaction'").await);
    eventually("the router knows", async || is_free(&second, keys[1]).await).await;
    let told = client.batch_execute("commit").await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::CONNECTION_FAILURE), "{told:?}");
    assert_eq!(total(&client).await, 10_000);
}

#[tokio::test]
async fn a_shard_lost_in_a_statement_is_one_error_and_fails_the_block_only() {
    let database = database(Cluster::shared(), "statement").await;
    let keys = keys(&database, 2).await;
    let mut client = RawClient::connect(&database.url()).await;
    client
        .query("begin")
        .query(&change(keys[1]))
        .transcript(2)
        .await;
    let slow = format!("{} and pg_sleep(60) is not null", change(keys[0]));
    client.query(&slow).send().await;
    let shard = database.shard(0).await;
    eventually("it runs and is ended", async || {
        terminate(&shard, "query like '%pg_sleep%' and state = 'active'").await
    })
    .await;
    let notes = client.transcript(1).await;
    let errors: Vec<_> = notes
        .iter()
        .filter(|note| note.starts_with("error"))
        .collect();
    assert_eq!(errors.len(), 1, "{notes:?}");
    assert!(errors[0].starts_with("error 57P01"), "{notes:?}");
    assert!(notes.last().unwrap().ends_with('E'), "{notes:?}");
    assert!(is_free(&database.shard(1).await, keys[1]).await);
    let notes = client
        .query("rollback")
        .query("select 1")
        .transcript(2)
        .await;
    assert!(notes.last().unwrap().ends_with('I'), "{notes:?}");
}

#[tokio::test]
async fn idle_in_transaction_for_too_long_ends_the_session_and_every_branch() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        config: "[limits]\nidle_in_transaction_timeout = \"700ms\"\n".into(),
        ..ClusterOptions::default()
    });
    let database = database(&cluster, "idle").await;
    let keys = keys(&database, 2).await;
    let mut client = RawClient::connect(&database.url()).await;
    client
        .query("begin")
        .query(&change(keys[0]))
        .query(&change(keys[1]));
    client.transcript(3).await;
    let notes = client.transcript(1).await;
    assert!(notes[0].contains("25P03"), "{notes:?}");
    assert_eq!(notes.last().unwrap(), "closed by the peer");
    for (shard, key) in keys.iter().enumerate() {
        let shard = database.shard(shard).await;
        eventually("its locks are free", async || is_free(&shard, *key).await).await;
    }
}

#[tokio::test]
async fn a_clients_own_idle_timeout_ends_the_session_and_every_branch() {
    let database = database(Cluster::shared(), "own").await;
    let keys = keys(&database, 2).await;
    let mut client = RawClient::connect(&database.url()).await;
    client.query("set idle_in_transaction_session_timeout = '500ms'");
    client
        .query("begin")
        .query(&change(keys[0]))
        .query(&change(keys[1]));
    client.transcript(4).await;
    let notes = client.transcript(1).await;
    assert!(notes[0].contains("25P03"), "{notes:?}");
    assert_eq!(notes.last().unwrap(), "closed by the peer");
    for (shard, key) in keys.iter().enumerate() {
        let shard = database.shard(shard).await;
        eventually("its locks are free", async || is_free(&shard, *key).await).await;
    }
}

#[tokio::test]
async fn a_lock_timeout_is_told_as_such_and_lets_go_of_all_shards() {
    let database = database(Cluster::shared(), "lock").await;
    let keys = keys(&database, 2).await;
    let holder = database.client().await;
    let hold = format!("begin; {}", change(keys[0]));
    holder.batch_execute(&hold).await.unwrap();
    let client = database.client().await;
    let sql = format!("set lock_timeout = '200ms'; begin; {}", change(keys[1]));
    client.batch_execute(&sql).await.unwrap();
    let told = client.batch_execute(&change(keys[0])).await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    assert!(is_free(&database.shard(1).await, keys[1]).await);
    client.batch_execute("rollback").await.unwrap();
}
