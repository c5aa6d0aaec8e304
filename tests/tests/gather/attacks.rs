//! Clients that cancel or leave, and shards that fail, at each step.

use tests::{Database, RawClient, eventually};
use tokio::io::AsyncWriteExt as _;

use crate::setting::{database, grow};

const SLOW_PULL: &str = "select count(*) from posts p join likes l on l.author = p.author";
const SLOW_FINISH: &str = "select count(*) from posts p join likes l on l.author = p.author, generate_series(1, 100000000)";

/// Statements of the router's clients that run on any shard.
async fn running(database: &Database<'_>) -> i64 {
    let mut count = 0;
    for number in 0..database.cluster.shard_count() {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' \
                   and (wait_event_type = 'Lock' or query like '%generate_series%') and pid <> pg_backend_pid()";
        let shard = database.shard(number).await;
        count += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    }
    count
}

/// Nobody reads `likes` on one of the shards for as long as this connection is there.
async fn locked(database: &Database<'_>) -> tokio_postgres::Client {
    let shard = database.shard(2).await;
    let lock = "begin; lock table likes in access exclusive mode";
    shard.batch_execute(lock).await.unwrap();
    shard
}

async fn cancel(database: &Database<'_>, client: &RawClient) {
    let address = ("127.0.0.1", database.cluster.port());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut request = bytes::BytesMut::new();
    wire::frontend::write::cancel_request(&mut request, client.process_id, &client.secret);
    stream.write_all(&request).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_gather_leaves_no_statement_running() {
    let database = database("cancelled").await;
    let mut client = RawClient::connect(&database.url()).await;
    for sql in [SLOW_PULL, SLOW_FINISH] {
        let lock = match sql {
            SLOW_PULL => Some(locked(&database).await),
            _ => None,
        };
        client.query(sql).send().await;
        eventually("it runs", async || running(&database).await > 0).await;
        cancel(&database, &client).await;
        let notes = client.transcript(1).await;
        let errors = notes.iter().filter(|note| note.starts_with("error 57014"));
        assert_eq!(errors.count(), 1, "{notes:?}");
        drop(lock);
        eventually("nothing runs", async || running(&database).await == 0).await;
        let notes = client
            .query("select count(*) from posts")
            .transcript(1)
            .await;
        assert!(notes.contains(&"complete SELECT 1".to_owned()), "{notes:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_statements_along() {
    let database = database("left").await;
    grow(&database.url(), 30_000).await;
    for sql in [SLOW_PULL, SLOW_FINISH] {
        let lock = match sql {
            SLOW_PULL => Some(locked(&database).await),
            _ => None,
        };
        let mut client = RawClient::connect(&database.url()).await;
        client.query(sql).send().await;
        eventually("it runs", async || running(&database).await > 0).await;
        drop(client);
        eventually("nothing runs", async || running(&database).await == 0).await;
        drop(lock);
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_large_pull_is_one_error() {
    let database = database("middle").await;
    grow(&database.url(), 60_000).await;
    let client = database.client().await;
    let spoil = "update posts set word = case when author = 377 and id = 77 then 'bad' else '1' end where author > 100";
    client.batch_execute(spoil).await.unwrap();
    let mut client = RawClient::connect(&database.url()).await;
    let sql = "select sum(p.id) from posts p join likes l on l.author = p.id where p.author > 100 and p.word::int = 1";
    for _ in 0..2 {
        let notes = client.query(sql).transcript(1).await;
        let errors: Vec<_> = notes
            .iter()
            .filter(|note| note.starts_with("error"))
            .collect();
        assert_eq!(errors.len(), 1, "{notes:?}");
        assert!(errors[0].contains("22P02"), "{notes:?}");
    }
    let notes = client
        .query("select count(*) from likes")
        .transcript(1)
        .await;
    assert!(notes.contains(&"complete SELECT 1".to_owned()), "{notes:?}");
}
