//! Whether two answers are the same, as far as SQL says what the answer is.

use super::talk::{Answer, Row};
use super::tree::{By, Limit, Query, Statement};

/// What of the rows a statement determines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The rows' order too.
    pub exact: bool,
    /// All rows; otherwise how many.
    pub all: bool,
    /// Columns, from 0, by which the rows are sorted.
    pub sorted_by: Vec<usize>,
}

impl Expected {
    /// What is certain about the rows of a statement.
    pub fn of(statement: &Statement) -> Expected {
        match statement {
            Statement::Query(query) => Expected::of_query(query),
            Statement::Write(_) | Statement::Text(_) => Expected::unordered(),
        }
    }

    pub fn unordered() -> Expected {
        Expected {
            exact: false,
            all: true,
            sorted_by: Vec::new(),
        }
    }

    fn of_query(query: &Query) -> Expected {
        let ordinals = query.order.iter().map_while(|key| match key.by {
            By::Ordinal(number) => Some(number - 1),
            By::Expression(_) => None,
        });
        let sorted_by: Vec<_> = ordinals.collect();
        let exact = is_total(query);
        let partly = match &query.limit {
            Some(Limit::Count(_)) => true,
            Some(Limit::WithTies(_)) | None => query.offset.is_some(),
        };
        Expected {
            exact,
            all: exact || !partly,
            sorted_by,
        }
    }
}

/// Every column is a key: rows that tie are alike.
fn is_total(query: &Query) -> bool {
    let types = query.types();
    let is_key = |column: usize| {
        let mut keys = query.order.iter();
        keys.any(|key| key.by == By::Ordinal(column + 1))
    };
    !types.is_empty()
        && types
            .iter()
            .enumerate()
            .all(|(column, type_)| type_.is_settled() && is_key(column))
}

/// What came out of a statement run on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With as many rows.
    Same(usize),
    /// Both failed alike.
    SameError,
    /// By the router, with its id.
    Refused(String),
    Different(Difference),
}

/// In what two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    Columns,
    Rows,
    Order,
    Tag,
    State,
    /// The cluster fails, with this SQLSTATE.
    OnlyClusterFails(String),
    OnlyOracleFails(String),
    Errors(String, String),
    /// Rows of this table, after a write.
    Table(String),
    /// Rows of this table are on other shards than their keys.
    Misplaced(String),
    /// No answer.
    Silence(String),
}

/// Compares the cluster's answer with the oracle's.
pub fn compare(cluster: &Answer, oracle: &Answer, expected: &Expected) -> Verdict {
    if let Some(id) = cluster.refusal()
        && oracle.refusal().is_none()
    {
        return Verdict::Refused(id.to_owned());
    }
    match (&cluster.error, &oracle.error) {
        (Some(ours), Some(theirs)) => {
            let same = (&ours.sqlstate, &ours.message) == (&theirs.sqlstate, &theirs.message);
            match same {
                true if cluster.state == oracle.state => Verdict::SameError,
                true => Verdict::Different(Difference::State),
                false => {
                    let states = (ours.sqlstate.clone(), theirs.sqlstate.clone());
                    Verdict::Different(Difference::Errors(states.0, states.1))
                }
            }
        }
        (Some(ours), None) => {
            Verdict::Different(Difference::OnlyClusterFails(ours.sqlstate.clone()))
        }
        (None, Some(theirs)) => {
            Verdict::Different(Difference::OnlyOracleFails(theirs.sqlstate.clone()))
        }
        (None, None) => match successes(cluster, oracle, expected) {
            None => Verdict::Same(oracle.rows.len()),
            Some(difference) => Verdict::Different(difference),
        },
    }
}

fn successes(cluster: &Answer, oracle: &Answer, expected: &Expected) -> Option<Difference> {
    if cluster.columns != oracle.columns {
        return Some(Difference::Columns);
    }
    if let Some(difference) = rows(&cluster.rows, &oracle.rows, expected) {
        return Some(difference);
    }
    if cluster.tag != oracle.tag {
        return Some(Difference::Tag);
    }
    (cluster.state != oracle.state).then_some(Difference::State)
}

fn rows(cluster: &[Row], oracle: &[Row], expected: &Expected) -> Option<Difference> {
    if cluster.len() != oracle.len() || (expected.all && sorted(cluster) != sorted(oracle)) {
        return Some(Difference::Rows);
    }
    let ordered = if expected.exact {
        cluster == oracle
    } else {
        keys(cluster, &expected.sorted_by) == keys(oracle, &expected.sorted_by)
    };
    (!ordered).then_some(Difference::Order)
}

fn sorted(rows: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort();
    rows
}

/// The rows' columns that they are sorted by.
fn keys(rows: &[Row], columns: &[usize]) -> Vec<Row> {
    let key = |row: &Row| {
        columns
            .iter()
            .map(|column| row.get(*column).cloned().flatten())
            .collect()
    };
    rows.iter().map(key).collect()
}
