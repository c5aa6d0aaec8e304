//! Where the statements of the social network's hot pages run: none asks all shards. A test binary of its own, because the
//! application keeps account of the statements of its whole process.

use serde_json::json;
use tests::Cluster;
use tests::social::Town;
use tokio_postgres::types::Type;

/// A statement with a value of the right type for each parameter: EXPLAIN then routes it as it would run.
fn filled(sql: &str, types: &[Type]) -> String {
    let numbered = types.iter().enumerate().rev();
    numbered.fold(sql.to_owned(), |sql, (index, of)| {
        if of.name() == "int8" {
            return sql.replace(&format!("${}", index + 1), "7");
        }
        let value = match of.name() {
            "float8" => "7",
            "_int8" => "{7,8,9,10,11}",
            "timestamptz" => "2026-01-01",
            "bytea" => "\\x00",
            "bool" => "false",
            "jsonb" => "{}",
            "uuid" => "00000000-0000-7000-8000-000000000000",
            name if name.starts_with('_') => "{x}",
            _ => "ad",
        };
        let name = match of.name().strip_prefix('_') {
            Some(element) => format!("{element}[]"),
            None => of.name().to_owned(),
        };
        sql.replace(&format!("${}", index + 1), &format!("'{value}'::{name}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_a_hot_page_asks_all_shards() {
    let database = Cluster::shared().database("social_routes");
    // No workers: their search for jobs is no page's.
    let town = Town::start(&database.url(), &["--unlimited", "--workers", "0"]).await;
    let (ada, bruno) = (town.join("ada").await, town.join("bruno").await);
    ada.put(&format!("/people/{}/follow", bruno.id)).await;
    let post = bruno.write("hello").await;
    let client = database.client().await;
    // So that the feed reads what is not written to it, too.
    client
        .execute("UPDATE follows SET fan_in = true", &[])
        .await
        .unwrap();
    ada.put(&format!("{post}/like")).await;
    ada.post(&format!("{post}/comments"), json!({ "body": "hi" }))
        .await;
    ada.post(
        &format!("/conversations/{}/messages", bruno.id),
        json!({ "body": "hi" }),
    )
    .await;
    for path in [
        "/me",
        "/feed",
        "/conversations",
        "/notifications",
        "/people?q=bru",
        &post,
        &format!("{post}/comments"),
    ] {
        ada.get(path).await;
    }
    for list in ["", "/posts", "/followers", "/following", "/friends"] {
        ada.get(&format!("/people/{}{list}", bruno.id)).await;
    }
    let mut told = Vec::new();
    for (sql, types) in social_app::db::statements() {
        // Nothing to explain in a statement without a table, and none of these is sent by a page.
        if !sql.contains("FROM") && !sql.starts_with("INSERT") && !sql.starts_with("UPDATE") {
            continue;
        }
        let rows = client
            .query(&format!("EXPLAIN {}", filled(&sql, &types)), &[])
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        let route: String = rows[0].get(0);
        told.push(format!("{route}   {sql}"));
    }
    assert!(told.len() > 30, "{told:#?}");
    let wide: Vec<&String> = told
        .iter()
        .filter(|line| {
            line.contains("scatter") || line.contains("gather") || line.contains("all shards")
        })
        .collect();
    assert!(wide.is_empty(), "{wide:#?}");
    for line in &told {
        println!("{line}");
    }
}
