//! MERGE whose source is not where the target's rows are: the source is read first, and each of its rows goes to the
//! shard of the key that it is matched by, where the MERGE is run over those rows. A row has no match anywhere else, so
//! what is done about rows without one is done once.
//!
//! For this ON must say that the target's key is a column of the source, and rows that are added must have that key.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    BoolExprType, CmdType, MergeMatchKind, MergeStmt, MergeWhenClause, Node, RangeSubselect,
};
use schema::{Placement, Relation};

use super::Job;
use super::inserted::assigned;
use crate::error::RouterError;
use crate::parse;
use crate::plan::facts::Facts;
use crate::plan::gather::print::{self, Holes};
use crate::plan::gather::tree;
use crate::plan::insert_rows::{Destination, InsertRows, Parts, RowKey, readable};
use crate::plan::names::quote_identifier;
use crate::plan::scope::{self, Found, string};
use crate::plan::select::rows_of;
use crate::plan::survey::{Join, Leaf};
use crate::plan::tokens::Tokens;
use crate::plan::{Action, Plan, sequence, unsupported};

/// Where the source's rows are to stand in the printed MERGE.
const ROWS: &str = "oskol_merged_rows";

/// The plan, where ON tells the shard of each row of the source.
pub(super) fn plan(job: &Job<'_>, merge: &MergeStmt) -> Result<Plan, RouterError> {
    let refused = unsupported::merge_over_shards;
    let target = job.survey.leaf(job.target);
    let relation = target.relation().ok_or_else(refused)?;
    let (key, key_type) = target.shard_key().ok_or_else(refused)?;
    let source = source(job).ok_or_else(refused)?;
    let names = names(source).ok_or_else(refused)?;
    check_rest(job, merge)?;
    let naming = Naming {
        target,
        source,
        key: &relation.columns[key].name,
    };
    let on = merge.join_condition.as_deref().ok_or_else(refused)?;
    let matched = naming.matched_by(on).ok_or_else(refused)?;
    if !adds_by(merge, relation, key, &naming, matched) || !job.pins.rekeyed.is_empty() {
        return Err(refused());
    }
    let source_text = source_text(merge)?;
    let statement = parse::parse(&source_text)?.pop().ok_or_else(refused)?;
    let read = readable(
        crate::plan::plan_alone(&statement, job.context),
        unsupported::merge_over_shards,
    )?;
    let position = names.iter().position(|name| *name == matched);
    let key = RowKey::given(relation, key, key_type, position);
    let rows = InsertRows {
        source: Rc::new(read),
        source_text,
        parts: parts(merge, &source.name, &names)?,
        columns: Vec::new(),
        ids: Vec::new(),
        destination: Destination::ByKey(key),
        // Two rows that change the same one are a mistake.
        at_once: true,
        client_parameters: job.survey.facts.highest_parameter,
        may_skip_rows: false,
        told_as: Some("MERGE"),
        upserts: None,
    };
    let reason = format!("rows of the source, divided by {matched}");
    Ok(Plan::new(
        Action::InsertRows(Box::new(rows)),
        job.effect,
        reason,
    ))
}

/// The source, where it is one item with a name of its own.
fn source<'a>(job: &Job<'a>) -> Option<&'a Leaf> {
    let Some(Join::Outer { kept, .. }) = &rows_of(job.survey, job.survey.root)?.from else {
        return None;
    };
    match kept.as_ref() {
        Join::Leaf { leaf, subs } if subs.is_empty() => Some(job.survey.leaf(*leaf)),
        _ => None,
    }
}

/// What the source's columns are called, each by a name of its own.
fn names(source: &Leaf) -> Option<Vec<&str>> {
    let columns = source.columns.as_ref()?.iter();
    let names: Vec<&str> = columns
        .map(|column| column.name.as_deref())
        .collect::<Option<_>>()?;
    let mut known = std::collections::HashSet::new();
    let own = names.iter().all(|name| known.insert(*name));
    (own && !names.is_empty() && !source.name.is_empty()).then_some(names)
}

/// Besides the source's rows each shard has its own of the target, and reference tables.
fn check_rest(job: &Job<'_>, merge: &MergeStmt) -> Result<(), RouterError> {
    let refused = unsupported::merge_over_shards;
    let mut clauses = merge.merge_when_clauses.iter().filter_map(clause);
    let by_source = |clause: &MergeWhenClause| {
        clause.match_kind() == MergeMatchKind::MergeWhenNotMatchedBySource
    };
    if job.survey.writes.len() > 1 || job.effect.returns_rows || clauses.any(by_source) {
        return Err(refused());
    }
    let rest = MergeStmt {
        relation: None,
        source_relation: None,
        with_clause: None,
        ..merge.clone()
    };
    let facts = Facts::of(&rest);
    if facts.calls(&sequence::FUNCTIONS) {
        return Err(sequence::refusal("nextval"));
    }
    let is_reference = |schema: Option<&str>, name: &str| {
        matches!(scope::find_name(schema, name, job.context), Found::Relation(found)
            if scope::placement(&found, job.context) == Placement::Reference)
    };
    let with_names = &job.survey.facts.common_tables;
    let elsewhere = facts.relations.iter().any(|table| {
        with_names.contains(&table.name) || !is_reference(table.schema.as_deref(), &table.name)
    });
    match elsewhere {
        true => Err(refused()),
        false => Ok(()),
    }
}

fn clause(node: &Node) -> Option<&MergeWhenClause> {
    match node.node.as_ref()? {
        NodeEnum::MergeWhenClause(clause) => Some(clause),
        _ => None,
    }
}

/// What columns of the two sides are called.
struct Naming<'a> {
    target: &'a Leaf,
    source: &'a Leaf,
    /// The target's shard key.
    key: &'a str,
}

impl<'a> Naming<'a> {
    /// The column of the source that ON says is the target's key.
    fn matched_by(&self, on: &Node) -> Option<&'a str> {
        match on.node.as_ref()? {
            NodeEnum::BoolExpr(both) if both.boolop() == BoolExprType::AndExpr => {
                both.args.iter().find_map(|test| self.matched_by(test))
            }
            NodeEnum::AExpr(test) => {
                let [operator] = test.name.as_slice() else {
                    return None;
                };
                let plain = test.kind() == pg_query::protobuf::AExprKind::AexprOp;
                if !plain || string(operator) != Some("=") {
                    return None;
                }
                let (left, right) = (test.lexpr.as_deref()?, test.rexpr.as_deref()?);
                match (self.is_key(left), self.is_key(right)) {
                    (true, false) => self.of_source(right),
                    (false, true) => self.of_source(left),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn is_key(&self, node: &Node) -> bool {
        match name_of(node) {
            Some((Some(table), name)) => table == self.target.name && name == self.key,
            Some((None, name)) => name == self.key && !has(self.source, name),
            None => false,
        }
    }

    fn of_source(&self, node: &Node) -> Option<&'a str> {
        let (table, name) = name_of(node)?;
        let own = match table {
            Some(table) => table == self.source.name && table != self.target.name,
            None => !has(self.target, name),
        };
        let mut columns = self.source.columns.iter().flatten();
        let column = columns.find(|column| column.name.as_deref() == Some(name))?;
        column.name.as_deref().filter(|_| own)
    }

    /// In INSERT only the source's columns can be named.
    fn is_source_column(&self, node: &Node, column: &str) -> bool {
        match name_of(node) {
            Some((Some(table), name)) => table == self.source.name && name == column,
            Some((None, name)) => name == column,
            None => false,
        }
    }
}

fn has(leaf: &Leaf, name: &str) -> bool {
    let mut columns = leaf.columns.iter().flatten();
    columns.any(|column| column.name.as_deref() == Some(name))
}

/// `table.column` or `column`.
fn name_of(node: &Node) -> Option<(Option<&str>, &str)> {
    let NodeEnum::ColumnRef(column) = node.node.as_ref()? else {
        return None;
    };
    match column.fields.as_slice() {
        [name] => Some((None, string(name)?)),
        [table, name] => Some((Some(string(table)?), string(name)?)),
        _ => None,
    }
}

/// Whether every row that is added has the column `matched` of the source as its key.
fn adds_by(
    merge: &MergeStmt,
    relation: &Relation,
    key: usize,
    naming: &Naming<'_>,
    matched: &str,
) -> bool {
    let clauses = merge.merge_when_clauses.iter().filter_map(clause);
    let mut adding = clauses.filter(|clause| clause.command_type() == CmdType::CmdInsert);
    adding.all(|clause| {
        let place = match clause.target_list.is_empty() {
            true => Some(key),
            false => {
                let mut targets = clause.target_list.iter();
                targets.position(|target| assigned(target) == Some(&relation.columns[key].name))
            }
        };
        let value = place.and_then(|place| clause.values.get(place));
        value.is_some_and(|value| naming.is_source_column(value, matched))
    })
}

/// All rows of the source, by a statement of their own.
fn source_text(merge: &MergeStmt) -> Result<String, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let mut parsed = parse::parse("SELECT * FROM nothing")?;
    let Some(NodeEnum::SelectStmt(mut select)) = parsed.pop().map(|statement| statement.node)
    else {
        return Err(failed());
    };
    let source = merge.source_relation.as_deref().ok_or_else(failed)?;
    select.from_clause = vec![source.clone()];
    select.with_clause.clone_from(&merge.with_clause);
    print::text(&NodeEnum::SelectStmt(select))
}

/// The MERGE over rows in place of its source.
fn parts(merge: &MergeStmt, source: &str, names: &[&str]) -> Result<Parts, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let columns = names.iter().enumerate();
    let columns: Vec<String> = columns
        .map(|(index, name)| format!("c{} AS {}", index + 1, quote_identifier(name)))
        .collect();
    let alias = quote_identifier(source);
    let text = format!(
        "SELECT 1 FROM (SELECT {} FROM {ROWS} AS r) AS {alias}",
        columns.join(", ")
    );
    let statement = parse::parse(&text)?.pop().ok_or_else(failed)?;
    let NodeEnum::SelectStmt(select) = statement.node else {
        return Err(failed());
    };
    let rows: Option<RangeSubselect> =
        select
            .from_clause
            .into_iter()
            .find_map(|item| match item.node {
                Some(NodeEnum::RangeSubselect(rows)) => Some(*rows),
                _ => None,
            });
    let rows = rows.ok_or_else(failed)?;
    let over_rows = MergeStmt {
        source_relation: Some(Box::new(tree::node(NodeEnum::RangeSubselect(Box::new(
            rows,
        ))))),
        with_clause: None,
        ..merge.clone()
    };
    let text = print::text(&NodeEnum::MergeStmt(Box::new(over_rows)))?;
    let tokens = Tokens::of(&text);
    let mut found = (0..tokens.len()).filter(|index| tokens.word(*index) == ROWS);
    let span = found
        .next()
        .map(|index| tokens.span(index))
        .ok_or_else(failed)?;
    let cut = |range: std::ops::Range<usize>| print::cut(&text[range], &Holes::default());
    Ok(Parts {
        head: cut(0..span.start),
        tail: cut(span.end..text.len()),
        ..Parts::default()
    })
}
