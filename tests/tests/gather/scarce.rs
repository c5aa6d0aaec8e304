//! Few server connections and many clients.

use tests::{Database, eventually};

use crate::setting::{cluster_with, fill, grow};

const JOIN: &str = "select count(*) from posts p join likes l on l.author = p.id";

async fn clients_come_to_their_end(database: &Database<'_>, clients: usize) {
    let work = (0..clients).map(|number| {
        let url = database.url();
        async move {
            let client = tests::connect(&url).await.unwrap();
            for round in 0..3 {
                client.batch_execute("begin").await.unwrap();
                let update = format!(
                    "update posts set score = {round} where author = {}",
                    number + 1
                );
                client.batch_execute(&update).await.unwrap();
                client.batch_execute(JOIN).await.unwrap();
                client.batch_execute("commit").await.unwrap();
                client.batch_execute(JOIN).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(work).await;
}

#[tokio::test]
async fn clients_that_gather_do_not_wait_for_one_another_in_a_circle() {
    let cluster = cluster_with(
        &[
            ("OSKOL_POOL__SIZE", "1"),
            ("OSKOL_POOL__CHECKOUT_TIMEOUT", "30s"),
        ],
        "",
    );
    let database = cluster.database("scarce");
    fill(&database.url()).await;
    clients_come_to_their_end(&database, 6).await;
    // Now through tables, beside the transaction's own connections.
    grow(&database.url(), 30_000).await;
    clients_come_to_their_end(&database, 6).await;
    eventually("the reserve is closed again", async || {
        let shard = database.shard(0).await;
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
                   and usename = 'postgres' and application_name <> 'oskol'";
        shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) <= 3
    })
    .await;
}
