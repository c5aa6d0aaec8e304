//! Statements that nest deeply: answered as PostgreSQL does, or refused; the router stands them.

use tests::{Both, Cluster};

/// What is repeated before and after the innermost piece, in how many levels at most that PostgreSQL takes quickly.
const FORMS: [(&str, &str, &str, &str, usize); 20] = [
    ("select ", "(select ", "1", ")", 500),
    (
        "select count(*) from ",
        "(select * from ",
        "deep",
        ") x",
        500,
    ),
    (
        "select ",
        "(select count(*) from deep where id = ",
        "1",
        ")",
        60,
    ),
    (
        "select count(*) from deep where ",
        "not (",
        "id = 3",
        ")",
        240,
    ),
    (
        "select count(*) from deep where ",
        "(id = 1 and ",
        "id = 1",
        ")",
        500,
    ),
    (
        "select count(*) from deep where ",
        "(id = 1 or ",
        "id = 2",
        ")",
        500,
    ),
    (
        "select count(*) from deep where ",
        "exists (select from deep where id = 1 and ",
        "true",
        ")",
        60,
    ),
    (
        "select count(*) from deep where ",
        "id in (select id from deep where ",
        "true",
        ")",
        12,
    ),
    ("select ", "abs(", "-1", ")", 500),
    ("select ", "case when true then ", "1", " end", 240),
    ("select ", "coalesce(null, ", "1", ")", 500),
    ("select ", "1 + ", "1", "", 500),
    ("select ", "- ", "1", "", 500),
    ("select ", "'a' || ", "'b'", "", 500),
    ("select ", "", "1", "::int", 500),
    ("", "(", "select 1", " union all select 1)", 240),
    ("", "with a as (", "select 1 as x", ") select * from a", 240),
    ("update deep set n = ", "(select ", "1", ") ", 500),
    ("insert into deep values (11, ", "(select ", "1", ")", 240),
    ("delete from deep where id = ", "(select ", "12", ")", 500),
];

fn nested(
    (begin, open, middle, close, _): (&str, &str, &str, &str, usize),
    levels: usize,
) -> String {
    let end = if begin.starts_with("insert") {
        ") on conflict do nothing"
    } else {
        ""
    };
    format!(
        "{begin}{}{middle}{}{end}",
        open.repeat(levels),
        close.repeat(levels)
    )
}

#[tokio::test]
async fn deep_statements_are_answered_or_refused_and_the_router_goes_on() {
    let database = Cluster::shared().database("deep_statements");
    let table = "create table deep (id bigint primary key, n int)";
    let client = database.client().await;
    client.batch_execute(table).await.unwrap();
    let divide = "select oskol.shard_table('deep', 'id')";
    client.batch_execute(divide).await.unwrap();
    database.oracle().await.batch_execute(table).await.unwrap();
    let mut both = Both::connect(&database).await;
    both.query("insert into deep select n, n from generate_series(1, 10) n")
        .await;
    let mut refused = 0;
    for form in FORMS {
        for levels in [10, 60, 150, 235, 310, 400, 490] {
            if levels > form.4 {
                continue;
            }
            let sql = nested(form, levels);
            let (cluster, oracle) = both
                .say(1, |client| {
                    client.query(&sql);
                })
                .await;
            let too_deep = cluster.iter().any(|note| note.contains("54001"));
            refused += usize::from(too_deep);
            assert!(
                cluster == oracle || levels > 200 && too_deep,
                "{levels} levels of {form:?}: {cluster:?}\nPostgreSQL: {oracle:?}"
            );
        }
    }
    assert!(refused > 0, "nothing was too deep");
}
