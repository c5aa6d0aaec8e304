//! SELECT ... FOR UPDATE and its like where shards cannot find the rows by themselves: the statement is carried out
//! without its locks over pulled rows that say where they are; the rows that its result is made of are then locked there,
//! one shard after another, and the result is given if they are still what was found. Else it is found anew.
//!
//! The pulls lock nothing, for they read more rows than matter. Takes a SELECT; gives a gather that ends in `Locked`.

use pg_query::NodeEnum;
use pg_query::protobuf::{LockClauseStrength, LockWaitPolicy, LockingClause, Node, SelectStmt};
use schema::{Placement, RelationKind};

use super::{Finish, Gather, nested, print, tree};
use crate::error::RouterError;
use crate::merge::RowCount;
use crate::parse::{self, Statement};
use crate::plan::names::quote_identifier;
use crate::plan::pins::Pins;
use crate::plan::scope::string;
use crate::plan::select::rows_of;
use crate::plan::survey::{Join, LeafId, LeafKind, Survey};
use crate::plan::{Effect, PlanContext, place, scatter, unsupported};

/// The column of a marked table that tells where its row is: `oid ctid xmin@shard`. Each table's has a name of its own: a
/// NATURAL JOIN joins by all names that both sides have.
pub(super) fn mark_name(mark: usize) -> String {
    format!("oskol_row_mark_{mark}")
}

/// What is locked, and how many of the rows found are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locks {
    /// By mark. The last columns of the finishing statement are the marks.
    pub tables: Vec<LockedTable>,
    pub limit: Option<RowCount>,
    /// Rows passed over are locked too, as in PostgreSQL.
    pub offset: Option<RowCount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedTable {
    /// Quoted, with its schema.
    pub name: String,
    /// Such as `FOR UPDATE`.
    pub clause: &'static str,
    pub wait: Wait,
}

/// What a statement does about a row that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    Block,
    Skip,
    Fail,
}

impl Wait {
    pub fn sql(self) -> &'static str {
        match self {
            Self::Block => "",
            Self::Skip => " SKIP LOCKED",
            Self::Fail => " NOWAIT",
        }
    }
}

/// The columns by which a pull of the table called `alias` makes up the mark; the router writes its number for the
/// shard into the last.
pub(super) fn marks(alias: &str) -> Result<Vec<Node>, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let alias = quote_identifier(alias);
    let text = format!(
        "SELECT pg_catalog.concat_ws(' ', {alias}.tableoid, {alias}.ctid, {alias}.xmin), 0"
    );
    let parsed = parse::parse(&text)?.pop().ok_or_else(failed)?;
    match parsed.node {
        NodeEnum::SelectStmt(select) => Ok(select.target_list),
        _ => Err(failed()),
    }
}

/// `, c3 || '@' || c4 AS mark` after `before` columns.
pub(super) fn mark_column(before: usize, mark: usize) -> String {
    let comma = if before > 0 { ", " } else { "" };
    let (row, shard) = (before + 1, before + 2);
    let name = mark_name(mark);
    format!("{comma}pg_catalog.concat(c{row}, '@', c{shard}) AS {name}")
}

/// The plan of a SELECT that locks rows in its outermost level; `why` the shards cannot do it by themselves.
///
/// # Errors
/// What cannot be found twice alike, or rows that are not plainly those of a table of its FROM list.
pub(super) fn plan(
    select: &SelectStmt,
    survey: &Survey,
    effect: Effect,
    why: &str,
    context: &PlanContext<'_>,
) -> Result<crate::plan::Plan, RouterError> {
    check(select, survey)?;
    let locked = tables(select, survey)?;
    let (first, limit, offset) = scatter::limits(select)?;
    let found = finding(select, survey, &locked, first.as_deref())?;
    let names: Vec<String> = locked
        .iter()
        .map(|(leaf, _)| survey.leaf(*leaf).name.clone())
        .collect();
    let survey = Survey::of(&found.node, context)?;
    let pins = Pins::of(&survey);
    let gather = super::select::apart(&found, &survey, &pins, why, context, &names)?;
    let locks = Locks {
        tables: locked.into_iter().map(|(_, table)| table).collect(),
        limit,
        offset,
    };
    let gather = Gather {
        place: Finish::Locked {
            home: place::prefers_home(&survey, context),
            locks,
        },
        ..gather
    };
    let reason = gather.why.clone();
    Ok(crate::plan::Plan::new(
        crate::plan::Action::Gather(Box::new(gather)),
        effect,
        reason,
    ))
}

/// A statement that is carried out again must find the same rows, if they are the same.
fn check(select: &SelectStmt, survey: &Survey) -> Result<(), RouterError> {
    let refused = unsupported::for_update_over_shards;
    let is_plain = rows_of(survey, survey.root).is_some_and(|rows| rows.grouped.is_none())
        && select.distinct_clause.is_empty()
        && select.window_clause.is_empty();
    let mut calls = survey.facts.functions.iter();
    if survey.inner_locks || !is_plain || calls.any(|call| nested::is_random(&call.name)) {
        return Err(refused());
    }
    Ok(())
}

/// The tables of the outermost FROM list whose rows are locked. There may be none, as of WITH queries. Views stand here as
/// subqueries: one that is grouped PostgreSQL refuses to lock, but not before it plans the statement.
fn tables(select: &SelectStmt, survey: &Survey) -> Result<Vec<(LeafId, LockedTable)>, RouterError> {
    let refused = unsupported::for_update_over_shards;
    let rows = rows_of(survey, survey.root).ok_or_else(refused)?;
    let mut leaves = Vec::new();
    leaves_of(rows.from.as_ref().ok_or_else(refused)?, false, &mut leaves);
    // As they are written: right joins have their sides exchanged.
    leaves.sort_by_key(|(leaf, _)| *leaf);
    let subqueries = subqueries(&select.from_clause);
    let mut locked = Vec::new();
    for (leaf, nullable) in leaves {
        let Some((strength, wait)) = clause(select, &survey.leaf(leaf).name) else {
            continue;
        };
        let it = survey.leaf(leaf);
        let (relation, placement) = match &it.kind {
            LeafKind::Table {
                relation,
                placement,
            } => (relation, placement),
            // Rows of WITH queries and functions are not locked; those inside a subquery would be.
            LeafKind::Derived { .. } if !subqueries.contains(&it.name.as_str()) => continue,
            LeafKind::Opaque => continue,
            LeafKind::Derived { .. } | LeafKind::Home => return Err(refused()),
        };
        let is_table = matches!(
            relation.kind,
            RelationKind::Table | RelationKind::Partitioned
        );
        // The policies of UPDATE hide rows from locks. A mark of a row that is not there says nothing.
        if nullable || !is_table || relation.has_row_security || it.name.is_empty() {
            return Err(refused());
        }
        if *placement == Placement::Local && it.mention.is_none() {
            return Err(refused());
        }
        let name = format!(
            "{}.{}",
            quote_identifier(&relation.schema),
            quote_identifier(&relation.name)
        );
        locked.push((
            leaf,
            LockedTable {
                name,
                clause: strength,
                wait,
            },
        ));
    }
    Ok(locked)
}

/// The leaves of a FROM list, and whether their rows may be missing.
fn leaves_of(join: &Join, nullable: bool, leaves: &mut Vec<(LeafId, bool)>) {
    match join {
        Join::Leaf { leaf, .. } => leaves.push((*leaf, nullable)),
        Join::Inner { left, right, .. } => {
            leaves_of(left, nullable, leaves);
            leaves_of(right, nullable, leaves);
        }
        Join::Outer {
            kept,
            nullable: other,
            ..
        } => {
            leaves_of(kept, nullable, leaves);
            leaves_of(other, true, leaves);
        }
        Join::Full { left, right, .. } => {
            leaves_of(left, true, leaves);
            leaves_of(right, true, leaves);
        }
    }
}

/// The leaves of a FROM list.
pub(super) fn leaves(from: &Join) -> Vec<LeafId> {
    let mut found = Vec::new();
    leaves_of(from, false, &mut found);
    found.into_iter().map(|(leaf, _)| leaf).collect()
}

/// Names of the subqueries of a FROM list.
fn subqueries(items: &[Node]) -> Vec<&str> {
    let mut names = Vec::new();
    for item in items {
        match item.node.as_ref() {
            Some(NodeEnum::RangeSubselect(subselect)) => {
                let alias = subselect.alias.as_ref();
                names.push(alias.map_or("?", |alias| alias.aliasname.as_str()));
            }
            Some(NodeEnum::JoinExpr(join)) => {
                let sides = [&join.larg, &join.rarg].into_iter().flatten();
                names.extend(sides.flat_map(|side| subqueries(std::slice::from_ref(side))));
            }
            _ => {}
        }
    }
    names
}

/// How rows of the table known as `name` are locked: of several clauses the strongest, and the least patient.
fn clause(select: &SelectStmt, name: &str) -> Option<(&'static str, Wait)> {
    let clauses = select.locking_clause.iter();
    let clauses = clauses.filter_map(|clause| match clause.node.as_ref()? {
        NodeEnum::LockingClause(clause) => Some(clause),
        _ => None,
    });
    let of = |clause: &&LockingClause| {
        let mut named = clause.locked_rels.iter();
        clause.locked_rels.is_empty()
            || named.any(|named| {
                matches!(&named.node, Some(NodeEnum::RangeVar(range)) if range.relname == name)
            })
    };
    let clauses = clauses.filter(of);
    let found = clauses.map(|clause| (clause.strength(), wait(clause.wait_policy())));
    let (strength, wait) = found.reduce(|one, other| {
        let stronger = if other.0 as i32 > one.0 as i32 {
            other.0
        } else {
            one.0
        };
        (stronger, one.1.max(other.1))
    })?;
    let words = match strength {
        LockClauseStrength::LcsForkeyshare => "FOR KEY SHARE",
        LockClauseStrength::LcsForshare => "FOR SHARE",
        LockClauseStrength::LcsFornokeyupdate => "FOR NO KEY UPDATE",
        _ => "FOR UPDATE",
    };
    Some((words, wait))
}

fn wait(policy: LockWaitPolicy) -> Wait {
    match policy {
        LockWaitPolicy::LockWaitSkip => Wait::Skip,
        LockWaitPolicy::LockWaitError => Wait::Fail,
        _ => Wait::Block,
    }
}

/// The statement without its locks, with the marks behind its columns. `first`: how many rows may be locked.
fn finding(
    select: &SelectStmt,
    survey: &Survey,
    locked: &[(LeafId, LockedTable)],
    first: Option<&str>,
) -> Result<Statement, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let names: Vec<&str> = locked
        .iter()
        .map(|(leaf, _)| survey.leaf(*leaf).name.as_str())
        .collect();
    let mut targets = Vec::new();
    let mut stars = 0;
    for target in &select.target_list {
        match star(target) {
            None => targets.push(target.clone()),
            Some(table) => {
                stars += usize::from(table.is_some_and(|table| names.contains(&table)));
                targets.extend(columns_of(table, select, survey).ok_or_else(failed)?);
            }
        }
    }
    check_whole_rows(survey, &names, stars)?;
    let mark =
        |(mark, name): (usize, &&str)| tree::target(tree::column(&[name, &mark_name(mark)]), "");
    targets.extend(names.iter().enumerate().map(mark));
    let limited = SelectStmt {
        target_list: targets,
        locking_clause: Vec::new(),
        limit_count: first.map(count).transpose()?.map(Box::new),
        limit_offset: None,
        ..select.clone()
    };
    let text = print::text(&NodeEnum::SelectStmt(Box::new(limited)))?;
    let mut parsed = parse::parse(&text)?;
    parsed
        .pop()
        .filter(|_| parsed.is_empty())
        .ok_or_else(failed)
}

/// The whole row of a marked table would have the mark in it. `stars`: how often its columns were written out.
fn check_whole_rows(survey: &Survey, names: &[&str], stars: usize) -> Result<(), RouterError> {
    let columns = survey.facts.columns.iter();
    let whole = columns.filter(|column| {
        let last = column.parts.last().map_or("", String::as_str);
        names.contains(&last)
    });
    let (with_star, bare): (Vec<_>, Vec<_>) = whole.partition(|column| column.is_star);
    match bare.is_empty() && with_star.len() == stars {
        true => Ok(()),
        false => Err(unsupported::for_update_over_shards()),
    }
}

/// `*` or `t.*`, with the table.
fn star(target: &Node) -> Option<Option<&str>> {
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = target.val.as_deref()?.node.as_ref() else {
        return None;
    };
    match column.fields.as_slice() {
        [only] if is_star(only) => Some(None),
        [.., table, last] if is_star(last) => Some(Some(string(table)?)),
        _ => None,
    }
}

fn is_star(field: &Node) -> bool {
    matches!(field.node, Some(NodeEnum::AStar(_)))
}

/// What a star stands for, written out.
fn columns_of(table: Option<&str>, select: &SelectStmt, survey: &Survey) -> Option<Vec<Node>> {
    let rows = rows_of(survey, survey.root)?;
    let mut leaves = Vec::new();
    leaves_of(rows.from.as_ref()?, false, &mut leaves);
    leaves.sort_by_key(|(leaf, _)| *leaf);
    // Columns that a join makes one of two stand once, and first.
    if table.is_none() && select.from_clause.iter().any(merges) {
        return None;
    }
    let mut targets = Vec::new();
    for (leaf, _) in leaves {
        let it = survey.leaf(leaf);
        if table.is_some_and(|table| table != it.name) {
            continue;
        }
        if it.name.is_empty() || it.name == "?" {
            return None;
        }
        for column in it.columns.as_ref()? {
            let name = column.name.as_deref()?;
            targets.push(tree::target(tree::column(&[&it.name, name]), ""));
        }
    }
    (!targets.is_empty()).then_some(targets)
}

fn merges(item: &Node) -> bool {
    match item.node.as_ref() {
        Some(NodeEnum::JoinExpr(join)) => {
            let mut sides = [&join.larg, &join.rarg].into_iter().flatten();
            join.is_natural
                || !join.using_clause.is_empty()
                || join.alias.is_some()
                || sides.any(|side| merges(side))
        }
        _ => false,
    }
}

fn count(text: &str) -> Result<Node, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let parsed = parse::parse(&format!("SELECT 1 LIMIT {text}"))?;
    let statement = parsed.into_iter().next().ok_or_else(failed)?;
    match statement.node {
        NodeEnum::SelectStmt(select) => select.limit_count.map(|count| *count).ok_or_else(failed),
        _ => Err(failed()),
    }
}
