//! ORDER BY over several shards on types whose order the router knows, against one PostgreSQL.

use tests::Database;
use wire::Format;

use crate::setting::{Both, cluster};

const ROWS: i64 = 120;

/// Column, type, and values; row `n` has the value at `n` modulo their count, the last being NULL.
const COLUMNS: [(&str, &str, &[&str]); 10] = [
    (
        "points",
        "text collate code_points",
        &[
            "a",
            "B",
            "",
            "é",
            "z",
            "ab",
            "Ω",
            "Б",
            "\u{1F600}",
            "a b",
            "ﬀ",
        ],
    ),
    (
        "bytes",
        "text collate \"C\"",
        &["a", "B", "", "é", "zz", "ab", "~", "a!", "Z"],
    ),
    (
        "padded",
        "char(4) collate \"C\"",
        &["a", "a b", "B", "", "ab", "a!", "é"],
    ),
    (
        "exact",
        "numeric",
        &[
            "0",
            "-0.5",
            "1.0",
            "1.00",
            "1e40",
            "-1e-30",
            "NaN",
            "Infinity",
            "-Infinity",
            "12.340",
            "99.99",
            "100",
        ],
    ),
    (
        "double",
        "float8",
        &[
            "0",
            "-0",
            "1.5",
            "1e300",
            "-1e-300",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.1",
            "0.30000000000000004",
            "3",
        ],
    ),
    (
        "single",
        "float4",
        &["0", "0.1", "16777216", "1e-40", "-2.5", "NaN", "-Infinity"],
    ),
    (
        "raw",
        "bytea",
        &["\\x", "\\x00", "\\x0001", "\\xff", "\\x7f80", "\\x61"],
    ),
    (
        "clock",
        "time",
        &[
            "00:00",
            "12:00",
            "12:00:00.5",
            "12:00:00.05",
            "24:00",
            "23:59:59.999999",
        ],
    ),
    (
        "moment",
        "timestamptz",
        &[
            "infinity",
            "-infinity",
            "0044-03-15 12:00 BC",
            "12000-01-01 00:00",
            "2024-02-29 12:00:00.000001",
            "2024-02-29 12:00",
            "1970-01-01 00:00+05:30",
        ],
    ),
    (
        "day",
        "date",
        &[
            "infinity",
            "-infinity",
            "0044-03-15 BC",
            "99999-12-31",
            "2024-02-29",
            "1582-10-10",
        ],
    ),
];

async fn fill(url: &str) {
    let client = tests::connect(url).await.unwrap();
    let columns = COLUMNS
        .map(|(name, type_, _)| format!("{name} {type_}"))
        .join(", ");
    for sql in [
        "create collation code_points (locale = 'C.UTF-8')".to_owned(),
        format!("create table sorted (owner bigint, id int, {columns}, primary key (owner, id))"),
        "set timezone to 'UTC'".to_owned(),
    ] {
        client.batch_execute(&sql).await.unwrap();
    }
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    let sql = format!("insert into sorted values {}", rows.join(", "));
    client.batch_execute(&sql).await.unwrap();
}

fn row(number: i64) -> String {
    let value = |(_, _, values): (&str, &str, &[&str])| {
        let place = usize::try_from(number).unwrap() % (values.len() + 1);
        let value = values.get(place);
        value.map_or_else(|| "null".to_owned(), |value| format!("'{value}'"))
    };
    format!("({number}, 1, {})", COLUMNS.map(value).join(", "))
}

async fn database() -> Database<'static> {
    let database = cluster().database("orders");
    let client = database.client().await;
    drop(client);
    fill(&database.oracle_url()).await;
    fill(&database.url()).await;
    let sql = "select oskol.shard_table('sorted', 'owner')";
    database.client().await.batch_execute(sql).await.unwrap();
    database
}

#[tokio::test]
async fn rows_are_sorted_as_one_postgresql_sorts_them() {
    let database = database().await;
    let mut both = Both::connect(&database).await;
    for (column, _, _) in COLUMNS {
        for way in ["", "desc", "nulls first", "desc nulls last"] {
            let sql = format!("select {column}, owner from sorted order by {column} {way}, owner");
            both.query(&sql).await;
            both.agree(&sql, 1, |client| {
                client.extended(&sql, &[], Format::Binary).sync();
            })
            .await;
        }
        both.query(&format!(
            "select owner from sorted order by {column}, owner limit 7 offset 2"
        ))
        .await;
        if column != "raw" {
            both.query(&format!(
                "select min({column}) = max({column}) from sorted where owner < 0"
            ))
            .await;
        }
    }
}

#[tokio::test]
async fn plans_sort_in_the_router_what_it_knows() {
    let database = database().await;
    let client = database.client().await;
    for (column, _, _) in COLUMNS {
        let sql = format!("explain select owner from sorted order by {column}");
        let rows = client.simple_query(&sql).await.unwrap();
        let text = format!("{rows:?}").to_lowercase();
        assert!(
            text.contains("merge") && !text.contains("pull"),
            "{column}: {text}"
        );
    }
}

#[tokio::test]
async fn what_the_router_cannot_compare_is_not_sorted_wrongly() {
    let database = database().await;
    let client = database.client().await;
    for (setting, column, id) in [
        ("bytea_output to escape", "raw", "merge-bytea-output"),
        ("client_encoding to win1251", "bytes", "merge-encoding"),
    ] {
        client
            .batch_execute(&format!("set {setting}"))
            .await
            .unwrap();
        let sql = format!(
            "select owner, {column} from sorted where owner in (5, 4, 3, 2, 1) order by {column}"
        );
        let error = client.simple_query(&sql).await.unwrap_err();
        let detail = error.as_db_error().unwrap().detail().unwrap_or_default();
        assert!(detail.contains(id), "{detail}");
        client.batch_execute("reset all").await.unwrap();
    }
}
