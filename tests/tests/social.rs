//! The social network on one PostgreSQL and on four shards: the same suite, with the same answers.

#[path = "social/attacks.rs"]
mod attacks;
#[path = "social/browser.rs"]
mod browser;
#[path = "social/browser_outage.rs"]
mod browser_outage;
#[path = "social/deletion.rs"]
mod deletion;
#[path = "social/doors.rs"]
mod doors;
#[path = "social/feeds.rs"]
mod feeds;
#[path = "social/fuzzed.rs"]
mod fuzzed;
#[path = "social/life.rs"]
mod life;
#[path = "social/outage.rs"]
mod outage;

use social_app::db::{self, migrate};
use tests::Cluster;

/// Migrates twice; the second time there is nothing to do.
async fn migrated(url: &str) {
    let mut client = db::connect(url).await.unwrap();
    assert_eq!(migrate::migrate(&mut client).await.unwrap().len(), 3);
    assert!(migrate::migrate(&mut client).await.unwrap().is_empty());
    let counts = migrate::counts(&client).await.unwrap();
    assert!(counts.iter().all(|(_, rows)| *rows == 0), "{counts:?}");
}

#[tokio::test]
async fn the_tables_are_made_on_one_postgresql_and_divided_on_a_cluster() {
    let database = Cluster::shared().database("social_tables");
    migrated(&database.oracle_url()).await;
    migrated(&database.url()).await;
    let client = database.client().await;
    let sql =
        "SELECT name::text, key::text FROM oskol.tables WHERE placement = 'sharded' ORDER BY name";
    let rows = client.query(sql, &[]).await.unwrap();
    let placed: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut wanted = migrate::TABLES.map(|(table, key)| (table.to_owned(), key.to_owned()));
    wanted.sort();
    assert_eq!(placed, wanted);
}
