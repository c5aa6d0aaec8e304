//! The protocol, message by message, against one plain PostgreSQL: replies, their order, and the
//! transaction's status in every state.

#[path = "protocol/copies.rs"]
mod copies;
#[path = "protocol/cursors.rs"]
mod cursors;
#[path = "protocol/depths.rs"]
mod depths;
#[path = "protocol/leaks.rs"]
mod leaks;
#[path = "protocol/losses.rs"]
mod losses;
#[path = "protocol/pipeline_blocks.rs"]
mod pipeline_blocks;
#[path = "protocol/pipelines.rs"]
mod pipelines;
#[path = "protocol/prepared.rs"]
mod prepared;
#[path = "protocol/scarce.rs"]
mod scarce;
#[path = "protocol/script.rs"]
mod script;
#[path = "protocol/settings.rs"]
mod settings;
#[path = "protocol/strings.rs"]
mod strings;

use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database, RawClient};

const TABLES: &str = "
    create table things (id bigint primary key, name text, n int check (n > 0));
    create table colours (id int primary key, name text);
    create table lonely (id int primary key, name text);
    insert into things values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4), (5, 'five', 5),
        (6, 'six', 6), (7, 'seven', 7), (8, 'eight', 8), (9, 'nine', 9), (10, 'ten', 10), (11, 'eleven', 11);
    insert into colours values (1, 'red'), (2, 'green');
    insert into lonely values (1, 'one'), (2, 'two');";

const RULES: &str = "
[[tables]]
name = \"things\"
placement = \"sharded\"
key = \"id\"

[[tables]]
name = \"colours\"
placement = \"reference\"

[[tables]]
name = \"lonely\"
placement = \"local\"
";

/// One cluster for all tests that leave it as it is.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::start_with(ClusterOptions {
            config: RULES.to_owned(),
            ..ClusterOptions::default()
        })
    })
}

async fn tables(database: &Database<'_>) {
    let client = database.client().await;
    for table in TABLES.split(';').filter(|text| !text.trim().is_empty()) {
        client.batch_execute(table).await.unwrap();
    }
    database.oracle().await.batch_execute(TABLES).await.unwrap();
}

/// Holds each conversation with the router and with PostgreSQL: they answer the same.
async fn same(name: &str, conversations: &[&str]) {
    let database = cluster().database(name);
    tables(&database).await;
    let mut wrong = String::new();
    for conversation in conversations {
        let mut router = RawClient::connect(&database.url()).await;
        let mut oracle = RawClient::connect(&database.oracle_url()).await;
        let expected = script::hold(&mut oracle, conversation).await;
        let limit = std::time::Duration::from_secs(20);
        let held = tokio::time::timeout(limit, script::hold(&mut router, conversation)).await;
        match held {
            Err(_) => wrong += &format!("\n\nHANGS:\n{conversation}\nwanted {expected:#?}"),
            Ok(heard) if heard != expected => {
                let (heard, expected) = (heard.join("\n  "), expected.join("\n  "));
                wrong +=
                    &format!("\n\n{conversation}\nrouter:\n  {heard}\nPostgreSQL:\n  {expected}");
            }
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
