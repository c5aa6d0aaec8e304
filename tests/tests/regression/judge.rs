//! Whether the cluster's answer to a statement is the one that PostgreSQL gives, or one that it might give.
//!
//! What SQL leaves open is told from what is wrong by asking PostgreSQL again: over copies of the tables whose rows
//! lie in another order. Where its own answer changes, the statement has no one answer.

use tests::answer::{Answer, Outcome, Row};
use tests::sides::{Protocol, Side, Sides, same_rows};

use crate::anatomy::{Anatomy, SortKey};

/// How many orders of rows are tried.
const ORDERS: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// Both are right: PostgreSQL itself gives several answers.
    Free,
    /// By its stable id.
    Refused(String),
    /// Why.
    Different(String),
}

pub async fn compare(sides: &mut Sides, sql: &str, cluster: &Answer, oracle: &Answer) -> Verdict {
    let said = |answer: &Answer| {
        let failure = answer.failure.as_ref()?;
        Some((failure.sqlstate.clone(), failure.message.clone()))
    };
    if said(cluster) != said(oracle) {
        return different("errors");
    }
    match sides
        .difference(&without_failure(cluster), &without_failure(oracle), true)
        .await
    {
        None if in_same_order(sql, cluster, oracle) => return Verdict::Same,
        None | Some("rows") => {}
        Some(what) => return different(what),
    }
    if is_free(&mut sides.oracle, sql, oracle).await {
        return Verdict::Free;
    }
    different("rows")
}

fn different(what: &str) -> Verdict {
    Verdict::Different(what.to_owned())
}

/// SQLSTATE and message have been compared.
fn without_failure(answer: &Answer) -> Answer {
    Answer {
        failure: None,
        ..answer.clone()
    }
}

/// Equal rows are in the same order where the statement says one. Rows with equal sort keys may change places.
fn in_same_order(sql: &str, cluster: &Answer, oracle: &Answer) -> bool {
    let keys = Anatomy::of(sql).sort_keys;
    let (Some(cluster), Some(oracle)) = (cluster.outcomes.last(), oracle.outcomes.last()) else {
        return true;
    };
    if keys.is_empty() && !is_fetch(sql) || same_rows(cluster, oracle, false) {
        return true;
    }
    let resolved: Option<Vec<usize>> = keys.iter().map(|key| position(key, oracle)).collect();
    let Some(resolved) = resolved.filter(|resolved| !resolved.is_empty()) else {
        return false;
    };
    let projected = |rows: &[Row]| -> Vec<Row> {
        let project = |row: &Row| resolved.iter().map(|&column| row[column].clone()).collect();
        rows.iter().map(project).collect()
    };
    projected(&cluster.rows) == projected(&oracle.rows)
}

/// Rows of a cursor come in its query's order, which is not in this statement.
fn is_fetch(sql: &str) -> bool {
    sql.get(..5)
        .is_some_and(|word| word.eq_ignore_ascii_case("fetch"))
}

/// The result column that holds a sort key.
fn position(key: &SortKey, outcome: &Outcome) -> Option<usize> {
    let columns = outcome.columns.as_ref()?;
    match key {
        SortKey::Ordinal(number) => number.checked_sub(1).filter(|index| *index < columns.len()),
        SortKey::Name(name) => {
            let mut named = (0..columns.len()).filter(|&index| columns[index].name == *name);
            let first = named.next()?;
            named.next().is_none().then_some(first)
        }
        SortKey::Expression => None,
    }
}

/// Whether PostgreSQL's own answer changes with the order in which rows lie.
async fn is_free(oracle: &mut Side, sql: &str, answer: &Answer) -> bool {
    let tables = Anatomy::of(sql).tables;
    if tables.is_empty() || answer.status == b'E' {
        return false;
    }
    let (open, close) = if answer.status == b'T' {
        (
            "savepoint shuffle",
            "rollback to savepoint shuffle; release savepoint shuffle",
        )
    } else {
        ("begin", "rollback")
    };
    for order in 0..ORDERS {
        quiet(oracle, open).await;
        let copied = shuffle(oracle, &tables, order).await;
        let again = oracle.ask(Protocol::Simple, sql, &[]).await;
        quiet(oracle, close).await;
        let (Some(one), Some(other)) = (answer.outcomes.last(), again.outcomes.last()) else {
            continue;
        };
        let in_any_order = Anatomy::of(sql).sort_keys.is_empty();
        if copied && again.failure.is_none() && !same_rows(one, other, in_any_order) {
            return true;
        }
    }
    false
}

/// Temporary copies, which hide the tables, with rows in another order. False: a table cannot be copied.
async fn shuffle(oracle: &mut Side, tables: &[String], order: usize) -> bool {
    let mut copied = false;
    for table in tables {
        let copy = format!(
            "create temp table \"{table}\" as select * from \"{table}\" as r order by md5(r::text || '{order}')"
        );
        quiet(oracle, "savepoint copy").await;
        if quiet(oracle, &copy).await {
            copied = true;
        } else {
            quiet(oracle, "rollback to savepoint copy").await;
        }
    }
    copied
}

async fn quiet(oracle: &mut Side, sql: &str) -> bool {
    let answer = oracle.ask(Protocol::Simple, sql, &[]).await;
    answer.failure.is_none()
}
