//! Statements over several shards whose results merge exactly. Takes a [`Survey`] and its [`Pins`];
//! gives a [`Spread`] or the reason why there is none.
//!
//! The whole rests on an anchor: a shard key, in the outermost FROM list, that every row of the result
//! has. When every other use of a divided table is pinned to the anchor, the rows that a shard gives by
//! itself are those of its own keys, and all shards' rows together are the statement's.

mod aggregate;
mod anchor;
mod column_type;
pub mod guard;
mod limit;
mod order;
mod rewrite;
mod union;
mod within;

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt};
use schema::KeyType;

use super::functions;
use super::gather::{Gather, combine};
use super::pins::{Pins, connected, row_facts};
use super::survey::{Body, ListedKeys, Output, QueryId, Rows, Survey, Term};
use super::{Action, Effect, EntryRoutes, Plan, PlanContext, Scatter, Split, unsupported};
use crate::error::RouterError;
use crate::merge::{Merge, RowCount};
use crate::parse::Statement;
pub(super) use within::check_windows;
use within::{Distinct, distinct};

/// Where a statement without one key goes.
#[derive(Debug)]
pub enum Spread {
    Everywhere(Scatter),
    /// To the shards of listed keys.
    Listed(Split),
    /// Every shard's part, finished by one PostgreSQL.
    Combined(Box<Gather>),
}

impl Spread {
    pub fn into_plan(self, effect: Effect) -> Plan {
        match self {
            Self::Everywhere(scatter) => {
                let reason = scatter.why.clone();
                Plan::new(Action::Scatter(scatter), effect, reason)
            }
            Self::Listed(split) => Plan::new(Action::Split(split), effect, "listed keys"),
            Self::Combined(gather) => {
                let reason = gather.why.clone();
                Plan::new(Action::Gather(gather), effect, reason)
            }
        }
    }

    fn scatter_mut(&mut self) -> Option<&mut Scatter> {
        match self {
            Self::Everywhere(scatter) => Some(scatter),
            Self::Listed(Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }) => {
                Some(scatter)
            }
            Self::Listed(Split::Insert(_) | Split::Unnest(_)) | Self::Combined(_) => None,
        }
    }

    /// The same with another text for the shards.
    #[must_use]
    pub fn with_text(mut self, text: String) -> Self {
        if let Some(scatter) = self.scatter_mut() {
            scatter.text = Some(text);
        }
        self
    }
}

/// The anchor, and all that is the same in every row.
pub(super) struct Anchored<'a> {
    pub survey: &'a Survey,
    pub context: &'a PlanContext<'a>,
    pub query: QueryId,
    pub rows: &'a Rows,
    /// Terms equal to the anchor in every row of the result.
    pub class: Vec<Term>,
    pub key_type: KeyType,
}

impl Anchored<'_> {
    pub(super) fn outputs(&self) -> Option<&[Output]> {
        self.survey.query(self.query).outputs.as_deref()
    }

    /// The column that an expression of this level plainly is.
    pub(super) fn term(&self, node: &Node) -> Option<Term> {
        match node.node.as_ref()? {
            NodeEnum::ColumnRef(column) => self.survey.columns.get(&column.location).copied(),
            _ => None,
        }
    }

    pub(super) fn is_anchor(&self, node: &Node) -> bool {
        self.term(node)
            .is_some_and(|term| self.class.contains(&term))
    }
}

/// A SELECT over several shards.
pub fn select(
    statement: &Statement,
    select: &SelectStmt,
    survey: &Survey,
    pins: &Pins,
    context: &PlanContext<'_>,
) -> Result<Spread, RouterError> {
    if survey.inner_locks {
        return Err(unsupported::for_update_over_shards());
    }
    let rows = match &survey.query(survey.root).body {
        Body::Rows(rows) => rows,
        Body::Set { .. } => return union::plan(statement, select, survey, context),
        _ => return Err(anchor::refusal(survey, pins)),
    };
    let anchored = anchor::find(survey, survey.root, rows, pins, context)?;
    if within::keeps_order_of_source(select, &anchored) {
        return Err(unsupported::order_in_subquery());
    }
    let merged = merge(statement, select, &anchored).map(|(text, merge)| {
        let why = why(&anchored);
        spread(
            &anchored,
            Scatter {
                text,
                merge,
                why,
                routes: EntryRoutes::default(),
            },
        )
    });
    if survey.locks {
        return merged;
    }
    merged.or_else(|refusal| {
        // Views stay views where the shards read them.
        let written = written(statement).unwrap_or(select);
        let combined = combine::plan(written, &anchored, &refusal);
        combined.map_or(Err(refusal), |gather| {
            Ok(Spread::Combined(Box::new(gather)))
        })
    })
}

/// The anchor of a statement that is one query level.
pub(super) fn anchored<'a>(
    survey: &'a Survey,
    pins: &Pins,
    context: &'a PlanContext<'a>,
) -> Option<Anchored<'a>> {
    let rows = super::select::rows_of(survey, survey.root)?;
    anchor::find(survey, survey.root, rows, pins, context).ok()
}

/// The SELECT as the client wrote it.
fn written(statement: &Statement) -> Option<&SelectStmt> {
    match &statement.node {
        NodeEnum::SelectStmt(select) => Some(select),
        NodeEnum::ExplainStmt(explain) => match explain.query.as_deref()?.node.as_ref()? {
            NodeEnum::SelectStmt(select) => Some(select),
            _ => None,
        },
        _ => None,
    }
}

/// How many rows of each shard, in the statement's order, can be among those of all, as SQL. `None`: any number.
pub(super) fn first_rows(select: &SelectStmt) -> Option<String> {
    limit::read(select).ok()?.first()
}

/// How far both reach, as SQL, and both by themselves.
pub(super) type WrittenLimits = (Option<String>, Option<RowCount>, Option<RowCount>);

/// LIMIT and OFFSET: how many rows from the first of all they reach, as SQL, and both by themselves.
///
/// # Errors
/// WITH TIES, and what is no constant or parameter.
pub(super) fn limits(select: &SelectStmt) -> Result<WrittenLimits, RouterError> {
    if select.limit_option() == LimitOption::WithTies {
        return Err(unsupported::limit_expression());
    }
    let limits = limit::read(select)?;
    let (limit, offset) = limits.counts();
    Ok((limits.first(), limit, offset))
}

/// INSERT of the rows of `select` over several shards: every row has a key of the shard that gives it, which its
/// column `position` is. `keeps_value`: that column's value is stored as it is.
pub fn insert(
    select: &SelectStmt,
    survey: &Survey,
    pins: &Pins,
    position: usize,
    keeps_value: &dyn Fn(&Output) -> bool,
    returning: bool,
    context: &PlanContext<'_>,
) -> Result<Spread, RouterError> {
    let apart = || anchor::refusal(survey, pins);
    if survey.locks || select.limit_count.is_some() || select.limit_offset.is_some() {
        return Err(apart());
    }
    let Body::Rows(rows) = &survey.query(survey.root).body else {
        return Err(apart());
    };
    let anchored = anchor::find(survey, survey.root, rows, pins, context)?;
    check_windows(select, &anchored)?;
    let by_key = |grouped: &Vec<Term>| grouped.iter().any(|term| anchored.class.contains(term));
    let within = !survey.outer_aggregates
        && rows.grouped.as_ref().is_none_or(by_key)
        && distinct(select, &anchored)? != Distinct::Fold;
    let output = anchored
        .outputs()
        .and_then(|outputs| outputs.get(position))
        .ok_or_else(apart)?;
    let is_key = output
        .term
        .is_some_and(|term| anchored.class.contains(&term));
    if !within || !is_key || !keeps_value(output) {
        return Err(apart());
    }
    let merge = rows_or_count(returning);
    let why = why(&anchored);
    let text = None;
    Ok(spread(
        &anchored,
        Scatter {
            text,
            merge,
            why,
            routes: EntryRoutes::default(),
        },
    ))
}

fn rows_or_count(returning: bool) -> Merge {
    if returning {
        Merge::Concatenate {
            limit: None,
            offset: None,
        }
    } else {
        Merge::CountOnly
    }
}

/// UPDATE or DELETE over several shards.
pub fn write(survey: &Survey, pins: &Pins, returning: bool) -> Result<Spread, RouterError> {
    let no_context = || unsupported::syntax_not_understood();
    let Body::Rows(rows) = &survey.query(survey.root).body else {
        return Err(no_context());
    };
    let target = rows.target.ok_or_else(no_context)?;
    let Some((key, key_type)) = survey.leaf(target).shard_key() else {
        return Err(unsupported::write_in_with());
    };
    let term = Term::Column(target, key);
    if let Some(other) = pins
        .uses
        .iter()
        .find(|used| !used.is_pinned_to(survey, term))
    {
        return Err(unsupported::write_over_shards(
            &survey.leaf(other.leaf).name,
        ));
    }
    if survey.writes.len() > 1 {
        return Err(unsupported::write_in_with());
    }
    let merge = rows_or_count(returning);
    let class = connected(&row_facts(survey, rows), term);
    let why = format!(
        "no one value for the shard key of {}",
        survey.leaf(target).name
    );
    Ok(listed(
        rows,
        &class,
        key_type,
        Scatter {
            text: None,
            merge,
            why,
            routes: EntryRoutes::default(),
        },
    ))
}

/// MERGE over several shards. Where it only changes rows, every shard does so with its own, if all else is
/// pinned to them. Where it adds rows, the source must be divided as the target is, so that a row without a
/// match on its own shard has none on another.
pub fn merge_into(survey: &Survey, pins: &Pins, returning: bool) -> Result<Spread, RouterError> {
    let refusal = unsupported::merge_over_shards;
    let Body::Rows(rows) = &survey.query(survey.root).body else {
        return Err(refusal());
    };
    let target = rows.target.ok_or_else(refusal)?;
    let key = |leaf: super::survey::LeafId| {
        let (key, _) = survey.leaf(leaf).shard_key()?;
        Some(Term::Column(leaf, key))
    };
    let own = key(target).filter(|_| rows.added.is_empty());
    let sources = rows.from.as_ref().map(super::pins::always_present);
    let sources = sources.into_iter().flatten().filter(|leaf| *leaf != target);
    let mut anchors = sources.filter_map(key).chain(own);
    let anchor = anchors.find(|term| pins.all_pinned_to(survey, *term));
    if anchor.is_none() || survey.writes.len() > 1 || returning {
        return Err(refusal());
    }
    Ok(Spread::Everywhere(Scatter {
        text: None,
        merge: Merge::CountOnly,
        why: format!(
            "no one value for the shard key of {}",
            survey.leaf(target).name
        ),
        routes: EntryRoutes::default(),
    }))
}

fn why(anchored: &Anchored<'_>) -> String {
    let name = anchored.class.first().map_or("", |term| match term {
        Term::Column(leaf, _) => anchored.survey.leaf(*leaf).name.as_str(),
        Term::Value(_) => "",
    });
    format!("no one value for the shard key of {name}")
}

fn spread(anchored: &Anchored<'_>, scatter: Scatter) -> Spread {
    listed(anchored.rows, &anchored.class, anchored.key_type, scatter)
}

/// Only the shards of listed keys, where the WHERE clause lists some.
fn listed(rows: &Rows, class: &[Term], key_type: KeyType, scatter: Scatter) -> Spread {
    match rows
        .filter
        .lists
        .iter()
        .find(|list| class.contains(&list.column))
    {
        None => Spread::Everywhere(scatter),
        Some(list) => Spread::Listed(match &list.keys {
            ListedKeys::Each(keys) => Split::Keys {
                keys: keys.clone(),
                key_type,
                scatter,
            },
            ListedKeys::Array(array) => Split::KeyArray {
                array: array.clone(),
                key_type,
                scatter,
            },
        }),
    }
}

/// How the shards' rows become one result, and the text that makes them ready for it.
fn merge(
    statement: &Statement,
    select: &SelectStmt,
    anchored: &Anchored<'_>,
) -> Result<(Option<String>, Merge), RouterError> {
    if select.limit_option() == LimitOption::WithTies {
        return Err(unsupported::limit_expression());
    }
    check_windows(select, anchored)?;
    if anchored.survey.outer_aggregates {
        return Err(unsupported::aggregate_not_mergeable(
            "An aggregate inside a subquery",
        ));
    }
    let distinct = distinct(select, anchored)?;
    let folds = match &anchored.rows.grouped {
        Some(grouped) if !grouped.iter().any(|term| anchored.class.contains(term)) => {
            if distinct != Distinct::No {
                return Err(unsupported::distinct_over_shards());
            }
            Some(aggregate::folds(select, grouped, anchored)?)
        }
        _ if distinct == Distinct::Fold => Some(aggregate::distinct_folds(anchored)?),
        _ => None,
    };
    let limits = limit::read(select)?;
    match folds {
        Some(folds) => {
            let sort = order::of_folds(select, anchored, &folds)?;
            let text = rewrite::text(&statement.text, select, &[], limits.without().as_deref())?;
            let (limit, offset) = limits.counts();
            Ok((
                text,
                Merge::Aggregate {
                    columns: folds,
                    sort,
                    limit,
                    offset,
                },
            ))
        }
        None => rows(
            statement,
            select,
            anchored,
            &limits,
            distinct == Distinct::No,
        ),
    }
}

/// Rows that only have to be put together, in order.
fn rows(
    statement: &Statement,
    select: &SelectStmt,
    anchored: &Anchored<'_>,
    limits: &limit::Limits,
    may_hide: bool,
) -> Result<(Option<String>, Merge), RouterError> {
    let order = order::of_rows(select, anchored)?;
    if !order.hidden.is_empty() && !may_hide {
        return Err(unsupported::order_by_type());
    }
    let text = rewrite::text(
        &statement.text,
        select,
        &order.hidden,
        limits.folded().as_deref(),
    )?;
    let (limit, offset) = limits.counts();
    let merge = if order.keys.is_empty() {
        Merge::Concatenate { limit, offset }
    } else {
        Merge::Sort {
            keys: order.keys,
            limit,
            offset,
            hidden: order.hidden.len(),
        }
    };
    Ok((text, merge))
}

/// Whether a call is of PostgreSQL's own function of that name.
pub(super) fn is_built_in(call: &pg_query::protobuf::FuncCall, context: &PlanContext<'_>) -> bool {
    match super::scope::function_name(call) {
        Some((Some("pg_catalog"), _)) => true,
        Some((None, name)) => {
            !context.snapshot.functions.contains_key(name)
                && !context.snapshot.user_aggregates.contains_key(name)
        }
        _ => false,
    }
}

/// Whether a level's own rows are folded into groups.
pub(super) fn is_aggregated(select: &SelectStmt, context: &PlanContext<'_>) -> bool {
    !select.group_clause.is_empty()
        || select.having_clause.is_some()
        || functions::has_aggregate(select, context)
}
