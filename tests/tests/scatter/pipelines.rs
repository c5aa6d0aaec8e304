//! Pipelines that mix statements of one shard, of several, and of the router itself.

use wire::Format;

use crate::setting::{Both, database};

const ONE: &str = "select id, amount from items where owner = $1 order by id";
const ALL: &str = "select count(*), sum(amount) from items";
const CHANGE_ONE: &str = "update items set amount = amount + 1 where owner = $1";
const CHANGE_ALL: &str = "update items set amount = amount + 1";
const RATES: &str = "update rates set amount = amount + 1";
const NOTES: &str = "update notes set word = word || '!' returning word";
const FAILS: &str = "select 1 / (amount - amount) from items";
const FAILS_ON_ONE: &str = "select 1 / (amount - amount) from items where owner = $1";

/// Statements with their parameter, in one pipeline.
type Pipeline = &'static [(&'static str, &'static [&'static str])];

const PIPELINES: &[Pipeline] = &[
    &[(ONE, &["3"]), (ALL, &[]), (ONE, &["4"])],
    &[(ALL, &[]), (ONE, &["5"]), (ALL, &[])],
    &[
        (CHANGE_ONE, &["3"]),
        (ALL, &[]),
        (CHANGE_ONE, &["4"]),
        (ALL, &[]),
    ],
    &[
        (CHANGE_ALL, &[]),
        (ONE, &["7"]),
        (RATES, &[]),
        (NOTES, &[]),
        (ALL, &[]),
    ],
    &[(CHANGE_ALL, &[]), (FAILS, &[]), (CHANGE_ALL, &[])],
    &[(CHANGE_ONE, &["3"]), (FAILS, &[]), (ONE, &["3"])],
    &[(CHANGE_ALL, &[]), (FAILS_ON_ONE, &["3"]), (ONE, &["3"])],
    &[
        (CHANGE_ONE, &["8"]),
        (CHANGE_ONE, &["9"]),
        (FAILS_ON_ONE, &["10"]),
    ],
    &[(FAILS, &[]), (CHANGE_ALL, &[])],
    &[
        ("begin", &[]),
        (CHANGE_ALL, &[]),
        (ONE, &["2"]),
        ("commit", &[]),
        (ALL, &[]),
    ],
    &[
        ("begin", &[]),
        (CHANGE_ALL, &[]),
        ("rollback", &[]),
        (ALL, &[]),
    ],
    &[
        ("begin", &[]),
        (CHANGE_ALL, &[]),
        (FAILS, &[]),
        ("commit", &[]),
    ],
    &[("rollback", &[]), (ALL, &[])],
];

fn say(client: &mut tests::RawClient, pipeline: Pipeline) {
    for (sql, parameters) in pipeline {
        client.extended(sql, parameters, Format::Text);
    }
    client.sync();
}

#[tokio::test]
async fn pipelines_agree_with_postgresql() {
    let database = database("pipelines").await;
    let mut both = Both::connect(&database).await;
    for pipeline in PIPELINES {
        both.agree(&format!("{pipeline:?}"), 1, |client| say(client, pipeline))
            .await;
        both.query(ALL).await;
    }
}

#[tokio::test]
async fn pipelines_sent_all_at_once_are_answered_one_after_another() {
    let database = database("at_once").await;
    let mut both = Both::connect(&database).await;
    let pipelines = &PIPELINES[..9];
    both.agree("all", pipelines.len(), |client| {
        pipelines.iter().for_each(|pipeline| say(client, pipeline));
    })
    .await;
}
