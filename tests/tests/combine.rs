//! Statements whose parts are computed on the shards and put together by one PostgreSQL, held against one plain
//! PostgreSQL with the same rows: values, names and types of columns, errors.
//!
//! `combine/*.sql` hold the statements, one a line. `=` before one: its order is total and must be the same.

#[path = "combine/tables.rs"]
mod tables;

use tables::Both;
use wire::Format;

struct Case<'a> {
    sql: &'a str,
    is_ordered: bool,
}

fn cases(text: &str) -> impl Iterator<Item = Case<'_>> {
    let lines = text.lines().map(str::trim);
    let statements = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    statements.map(|line| match line.strip_prefix('=') {
        Some(sql) => Case {
            sql: sql.trim(),
            is_ordered: true,
        },
        None => Case {
            sql: line,
            is_ordered: false,
        },
    })
}

/// Runs every statement in both protocols; tells all that differ.
async fn check(name: &str, text: &str) {
    let database = tables::database(name).await;
    let mut both = Both::connect(&database).await;
    let mut wrong = Vec::new();
    for case in cases(text) {
        let words = |format: Option<Format>| {
            move |client: &mut tests::RawClient| match format {
                None => {
                    client.query(case.sql);
                }
                Some(format) => {
                    client.extended(case.sql, &[], format).sync();
                }
            }
        };
        for format in [None, Some(Format::Binary)] {
            let (cluster, oracle) = both.say(words(format), case.is_ordered).await;
            if cluster != oracle {
                wrong.push(format!(
                    "{}\n  cluster: {cluster:?}\n  oracle:  {oracle:?}",
                    case.sql
                ));
                break;
            }
        }
    }
    let all = cases(text).count();
    assert!(
        wrong.is_empty(),
        "{} of {all}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn aggregates_of_all_shards_are_postgresqls() {
    check("aggregates", include_str!("combine/aggregates.sql")).await;
}

#[tokio::test]
async fn groups_of_all_shards_are_postgresqls() {
    check("groups", include_str!("combine/groups.sql")).await;
}

#[tokio::test]
async fn order_duplicates_and_windows_over_all_shards_are_postgresqls() {
    check("order", include_str!("combine/order.sql")).await;
}

#[tokio::test]
async fn levels_inside_statements_are_postgresqls() {
    check("levels", include_str!("combine/levels.sql")).await;
}

#[tokio::test]
async fn parameters_are_where_they_are_used() {
    let database = tables::database("parameters").await;
    let mut both = Both::connect(&database).await;
    let cases: &[(&str, &[&str])] = &[
        (
            "select owner, id from posts order by body, owner, id limit $1 offset $2",
            &["5", "7"],
        ),
        (
            "select owner, id from posts order by body, owner, id limit $1 offset $2",
            &["5", "-1"],
        ),
        (
            "select owner, id from posts order by body, owner, id limit $1",
            &["-1"],
        ),
        (
            "select stars + $1, count(*) + $2 from posts where price > $3 group by 1 order by 1",
            &["1", "2", "3.5"],
        ),
        (
            "select $1::text, body from posts group by body, $1::text order by body limit $2",
            &["x", "3"],
        ),
        (
            "select body, count(*) filter (where stars > $1) from posts group by body having count(*) > $2 order by 1",
            &["2", "3"],
        ),
        (
            "select count(*), avg(price) from posts where owner = any($1::bigint[])",
            &["{1,2,3}"],
        ),
        (
            "select count(*), avg(price) from posts where owner = any($1::bigint[])",
            &["{}"],
        ),
        ("select avg(stars), $1::int from posts", &["7"]),
    ];
    for (sql, parameters) in cases {
        for format in [Format::Text, Format::Binary] {
            let words = |client: &mut tests::RawClient| {
                client.extended(sql, parameters, format).sync();
            };
            let (cluster, oracle) = both.say(words, true).await;
            assert_eq!(cluster, oracle, "{sql} {parameters:?}");
        }
    }
}

#[tokio::test]
async fn parts_are_read_in_the_clients_own_transaction() {
    let database = tables::database("own_writes").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "begin",
        "update posts set stars = stars + 1, body = 'changed' where owner = 7",
        "insert into posts (owner, id, body, stars) values (99, 1, 'new', 5)",
        "select body, count(*), avg(stars), stddev(stars) from posts group by body order by body",
        "select body from posts order by body desc nulls last, owner, id limit 4",
        "rollback",
        "select body, count(*), avg(stars) from posts group by body order by body",
    ] {
        let words = |client: &mut tests::RawClient| {
            client.query(sql);
        };
        let (cluster, oracle) = both.say(words, true).await;
        assert_eq!(cluster, oracle, "{sql}");
    }
}

#[tokio::test]
async fn settings_of_the_session_hold_in_every_part() {
    let database = tables::database("settings").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "create schema other",
        "create function other.twice(int) returns int language sql immutable as 'select $1 * 3'",
        "set timezone = 'Asia/Tokyo'",
        "set datestyle = 'SQL, DMY'",
        "set intervalstyle = 'iso_8601'",
        "set search_path = other, public",
        "select date_trunc('day', made) as d, count(*), avg(took) from posts group by d order by d",
        "select made::text, owner, id from posts order by made::text, owner, id limit 5",
        "select twice(count(*)::int), twice(max(stars)) from posts",
        "select max(made)::text, min(day)::text, sum(took)::text from posts",
        "begin",
        "set local timezone = 'UTC'",
        "select date_trunc('day', made) as d, count(*) from posts group by d order by d limit 3",
        "rollback",
        "select max(made)::text from posts",
    ] {
        let words = |client: &mut tests::RawClient| {
            client.query(sql);
        };
        let (cluster, oracle) = both.say(words, true).await;
        assert_eq!(cluster, oracle, "{sql}");
    }
}

#[tokio::test]
async fn plans_are_made_and_kept_with_every_kind_of_parameter() {
    let database = tables::database("prepared").await;
    let mut both = Both::connect(&database).await;
    let sql = "select body, count(*), avg(stars + $1) from posts where price > $2 group by body order by body limit $3";
    let (cluster, oracle) = both
        .say(
            |client| {
                client.parse("s", sql).describe_statement("s").sync();
            },
            true,
        )
        .await;
    assert_eq!(cluster, oracle);
    for parameters in [["1", "0", "3"], ["2", "-5", "100"], ["0", "1e3", "1"]] {
        let (cluster, oracle) = both
            .say(
                |client| {
                    client
                        .bind("s", &parameters, Format::Binary)
                        .describe_portal();
                    client.execute(0).sync();
                },
                true,
            )
            .await;
        assert_eq!(cluster, oracle, "{parameters:?}");
    }
}

#[tokio::test]
async fn all_parts_and_statements_of_a_transaction_have_one_clock() {
    let database = tables::database("clock").await;
    let client = database.client().await;
    client.batch_execute("begin").await.unwrap();
    let mut seen = Vec::new();
    for sql in [
        "select now()::text",
        "select max(now())::text || '' from posts",
        "select now()::text from posts group by now() having count(*) > 1",
        "select distinct d.now::text from users u join (select now(), stars from posts) d on d.stars = u.id",
        "select min(current_timestamp)::text from posts a join posts b on a.stars = b.id",
        "select now()::text",
    ] {
        let rows = client.query(sql, &[]).await.unwrap();
        assert_eq!(rows.len(), 1, "{sql}");
        seen.push(rows[0].get::<_, String>(0));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
