//! Cursors whose rows the router keeps: over several shards, and WITH HOLD.

#[path = "scatter/setting.rs"]
#[allow(dead_code, reason = "shared with the tests of scatter")]
mod setting;

use setting::{Both, database};
use wire::Format;

const ORDERED: &str = "select owner, id, word from items order by owner, id";

async fn all(both: &mut Both, statements: &[&str]) {
    for statement in statements {
        both.query(statement).await;
    }
}

#[tokio::test]
async fn every_direction_of_fetch_and_move_is_postgresqls() {
    let database = database("directions").await;
    let mut both = Both::connect(&database).await;
    let declare = format!("declare c scroll cursor for {ORDERED} limit 12");
    both.query("begin").await;
    both.query(&declare).await;
    for step in [
        "next",
        "3",
        "prior",
        "relative 0",
        "relative -1",
        "relative 2",
        "absolute 5",
        "absolute -3",
        "0",
        "first",
        "prior",
        "prior",
        "next",
        "last",
        "next",
        "next",
        "prior",
        "backward 4",
        "forward 2",
        "all",
        "all",
        "backward all",
        "backward all",
        "forward all",
        "absolute 0",
        "-2",
        "forward -2",
        "backward -2",
        "absolute 100",
        "0",
        "absolute -100",
        "relative 100",
        "relative -1",
    ] {
        both.query(&format!("fetch {step} from c")).await;
    }
    for step in [
        "absolute 0",
        "3",
        "0",
        "backward all",
        "all",
        "backward all",
        "last",
        "relative -2",
        "-1",
    ] {
        both.query(&format!("move {step} in c")).await;
        both.query("fetch 0 from c").await;
    }
    all(&mut both, &["close c", "fetch c", "rollback"]).await;
}

#[tokio::test]
async fn a_cursor_without_scroll_only_goes_forward() {
    let database = database("no_scroll").await;
    let mut both = Both::connect(&database).await;
    for step in [
        "fetch prior",
        "fetch absolute 1",
        "fetch backward all",
        "move backward all",
        "fetch 0",
        "fetch absolute 3",
    ] {
        both.query("begin").await;
        both.query(&format!("declare c no scroll cursor for {ORDERED}"))
            .await;
        both.query("fetch 2 from c").await;
        both.query(&format!("{step} from c")).await;
        both.query("rollback").await;
    }
    all(
        &mut both,
        &[
            "begin",
            &format!("declare c no scroll cursor for {ORDERED}"),
            "fetch first from c",
            "fetch absolute 4 from c",
            "fetch relative 2 from c",
            "move forward all from c",
            "fetch c",
            "rollback",
        ],
    )
    .await;
}

#[tokio::test]
async fn names_are_found_refused_and_ended_as_postgresql_does() {
    let database = database("names").await;
    let mut both = Both::connect(&database).await;
    let declare = format!("declare c cursor for {ORDERED}");
    all(
        &mut both,
        &[
            &declare,
            "fetch c",
            "close c",
            "begin",
            &declare,
            &declare,
            "rollback",
            "begin",
            &declare,
            "declare c cursor for select word from items where owner = 3",
            "rollback",
            "begin",
            "declare d cursor for select word from items where owner = 3 and id = 1",
            "declare d cursor for select count(*) from items",
            "rollback",
            "begin",
            "declare \"Odd name\" cursor for select count(*) from items",
            "fetch all from \"Odd name\"",
            "close all",
            "fetch \"Odd name\"",
            "rollback",
            "begin",
            "declare c cursor for select nonsense from items",
            "rollback",
            "begin",
            &declare,
            "commit",
            "fetch c",
            &format!("begin; {declare}; fetch 3 from c; close c; commit"),
            &format!("{declare}; fetch 3 from c"),
            "fetch c",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_cursor_with_hold_lasts_beyond_commit_and_not_beyond_rollback() {
    let database = database("hold").await;
    let mut both = Both::connect(&database).await;
    let declare = format!("declare c cursor with hold for {ORDERED}");
    all(
        &mut both,
        &[
            &declare,
            "fetch 2 from c",
            "begin",
            "fetch 2 from c",
            "rollback",
            "fetch 2 from c",
            &declare,
            "close c",
            "begin",
            &declare,
            "fetch 1 from c",
            "commit",
            "fetch 1 from c",
            "begin",
            "declare d cursor with hold for select count(*) from items",
            "rollback",
            "fetch d",
            "fetch 1 from c",
            "discard all",
            "fetch 1 from c",
            "declare e cursor with hold for select word from items where owner = 7 and id = 2",
            "declare h cursor with hold for select * from notes order by id",
            "fetch all from e",
            "fetch all from h",
            "close all",
            "fetch e",
            &format!("{declare} for update"),
            "declare c cursor with hold for insert into notes values (9, 'x') returning id",
        ],
    )
    .await;
    let pinned = database.client().await;
    pinned.batch_execute(&declare).await.unwrap();
    let rows = pinned.simple_query("fetch all from c").await.unwrap();
    assert!(rows.len() > 200);
}

#[tokio::test]
async fn savepoints_take_back_the_cursors_declared_inside_them() {
    let database = database("savepoints").await;
    let mut both = Both::connect(&database).await;
    let declare = |name: &str| format!("declare {name} cursor for {ORDERED}");
    all(
        &mut both,
        &[
            "begin",
            &declare("before"),
            "savepoint s",
            &declare("inside"),
            "fetch 1 from inside",
            "fetch 2 from before",
            "rollback to s",
            "fetch 1 from before",
            &declare("inside"),
            "savepoint t",
            &declare("deeper"),
            "release t",
            "fetch 1 from deeper",
            "rollback to s",
            "savepoint u",
            "fetch 1 from deeper",
            "rollback to u",
            "fetch 1 from inside",
            "rollback to u",
            "fetch 1 from before",
            "commit",
        ],
    )
    .await;
}

#[tokio::test]
async fn an_error_of_rows_is_told_at_fetch_and_a_savepoint_outlives_it() {
    let database = database("late_errors").await;
    let mut both = Both::connect(&database).await;
    let failing =
        "declare c cursor for select 1 / (amount - amount), owner from items order by owner, id";
    all(
        &mut both,
        &[
            "begin",
            "insert into items (owner, id, word, amount) values (3, 901, 'kept', 1)",
            failing,
            "savepoint s",
            "fetch 2 from c",
            "select 1",
            "rollback to s",
            "fetch 2 from c",
            "rollback to s",
            "release s",
            "close c",
            failing,
            "close c",
            "select word from items where id = 901",
            "commit",
            "select word from items where id = 901",
            "begin",
            failing,
            "fetch 1 from c",
            "commit",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_cursor_is_insensitive_to_what_its_transaction_writes_later() {
    let database = database("insensitive").await;
    let mut both = Both::connect(&database).await;
    all(&mut both, &[
        "begin",
        "update items set amount = 100 where owner = 5",
        "declare c cursor for select owner, id, amount from items where owner < 8 order by owner, id",
        "delete from items",
        "fetch all from c",
        "rollback",
    ]).await;
}

#[tokio::test]
async fn cursors_are_declared_described_and_fetched_by_the_extended_protocol() {
    let database = database("extended").await;
    let mut both = Both::connect(&database).await;
    both.query("begin").await;
    for (declared, name) in [(Format::Text, "t"), (Format::Binary, "b")] {
        let sql = format!(
            "declare {name} scroll cursor for select owner, id, word, amount::numeric / 3 from items
             where amount > $1 and owner < $2::int order by owner, id"
        );
        both.agree("declare", 1, |client| {
            client.parse(name, &sql).describe_statement(name);
            client.bind(name, &["4", "30"], declared);
            client.describe_portal().execute(0).sync();
        })
        .await;
        for format in [Format::Text, Format::Binary] {
            both.agree("fetch", 1, |client| {
                let fetch = format!("fetch 7 from {name}");
                client.parse("", &fetch).describe_statement("");
                client
                    .bind("", &[], format)
                    .describe_portal()
                    .execute(0)
                    .sync();
            })
            .await;
            both.agree("in parts", 1, |client| {
                client.parse("", &format!("fetch forward 5 from {name}"));
                client.bind("", &[], format).execute(3).execute(3).sync();
            })
            .await;
        }
        both.query(&format!("fetch 2 from {name}")).await;
        both.agree("move", 1, |client| {
            client
                .parse("", &format!("move 3 from {name}"))
                .describe_statement("");
            client
                .bind("", &[], Format::Text)
                .describe_portal()
                .execute(0)
                .sync();
        })
        .await;
    }
    both.query("rollback").await;
}

#[tokio::test]
async fn binary_cursors_give_binary_values_to_simple_queries() {
    let database = database("binary").await;
    let mut both = Both::connect(&database).await;
    all(
        &mut both,
        &[
            "begin",
            &format!("declare c binary cursor for {ORDERED}"),
            "fetch 3 from c",
            "rollback",
        ],
    )
    .await;
}

#[tokio::test]
async fn text_made_under_other_settings_is_not_given() {
    let database = database("looks").await;
    let client = database.client().await;
    let run = async |sql: &str| client.batch_execute(sql).await;
    run("declare c cursor with hold for select now(), owner from items")
        .await
        .unwrap();
    run("fetch 1 from c").await.unwrap();
    run("set datestyle to german").await.unwrap();
    let error = run("fetch 1 from c").await.unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .detail()
            .unwrap()
            .contains("cursor-settings-changed")
    );
    run("set datestyle to iso, mdy").await.unwrap();
    run("fetch 1 from c").await.unwrap();
}

#[tokio::test]
async fn where_current_of_works_on_one_shard_and_is_refused_over_several() {
    let database = database("current_of").await;
    let mut both = Both::connect(&database).await;
    all(
        &mut both,
        &[
            "begin",
            "declare c cursor for select id from items where owner = 6 for update",
            "fetch 2 from c",
            "update items set word = 'here' where current of c",
            "delete from items where current of nowhere",
            "rollback",
        ],
    )
    .await;
    let client = database.client().await;
    client.batch_execute("begin").await.unwrap();
    client
        .batch_execute("declare c cursor for select * from items; fetch 1 from c")
        .await
        .unwrap();
    let error = client
        .batch_execute("delete from items where current of c")
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "0A000");
    assert!(error.detail().unwrap().contains("where-current-of"));
}

#[tokio::test]
async fn rows_that_a_server_finishes_are_kept_as_well() {
    let database = database("finished").await;
    let mut both = Both::connect(&database).await;
    for query in [
        "select word, avg(amount), count(distinct id) from items group by word order by word limit 4",
        "select a.owner, b.id from items a join items b on b.amount = a.id order by 1, 2 limit 9",
        "select owner, rank() over (order by owner, id) from items order by 2 limit 5",
        "select owner from items union select id from notes order by 1 limit 6",
    ] {
        let declare = format!("declare c scroll cursor with hold for {query}");
        all(
            &mut both,
            &[&declare, "fetch 3 from c", "fetch last from c", "close c"],
        )
        .await;
    }
    let sql = "declare p cursor with hold for select a.owner, b.word from items a
        join items b on b.amount = a.id where a.owner > $1 order by 1, 2, b.owner, b.id limit 5";
    both.agree("parameters", 1, |client| {
        client.extended(sql, &["20"], Format::Binary).sync();
    })
    .await;
    both.query("fetch all from p").await;
}
