//! Query levels inside a statement whose groups, first rows or distinct rows the shards can begin: each is replaced,
//! where it stands, by a finishing statement over their parts, before the rest is lowered.
//! `SELECT avg(n) FROM (SELECT body, count(*) AS n FROM posts GROUP BY body) x` moves the shards' groups, not their
//! rows.
//!
//! A level is planned by itself, as if it were a statement: so it may read nothing of what is around it.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::print::{self, Holes};
use super::template::{Argument, Fragment};
use super::{Gather, Pull, Template, combine};
use crate::parse::{self, Statement};
use crate::plan::pins::Pins;
use crate::plan::scope::string;
use crate::plan::select::{pinned_value, rows_of};
use crate::plan::survey::{Survey, derived_name};
use crate::plan::tokens::Tokens;
use crate::plan::{PlanContext, scatter, unsupported};

/// Begins with what the survey takes for rows pulled before.
const LEVEL: &str = "oskol_input_level_";

/// A statement some levels of which read pulled rows.
#[derive(Debug)]
pub(super) struct Lifted {
    pub statement: Statement,
    /// Every server that finishes the levels has the same rows of them.
    pub is_repeatable: bool,
    pulls: Vec<Pull>,
    holes: Holes,
}

/// `statement` with its levels lifted; `None`: there is none to lift.
pub(super) fn lift(
    statement: &Statement,
    survey: &Survey,
    context: &PlanContext<'_>,
) -> Option<Lifted> {
    let tokens = Tokens::of(&statement.text);
    let mut lifting = Lifting {
        around: survey,
        context,
        is_repeatable: true,
        pulls: Vec::new(),
        holes: Holes::named(LEVEL),
    };
    let mut text = String::with_capacity(statement.text.len());
    let mut done = 0;
    let mut index = 0;
    while index < tokens.len() {
        let begins = tokens.is_word(index + 1, "select") || tokens.is_word(index + 1, "with");
        let close = match tokens.word(index) {
            "(" if begins => tokens.closing(index),
            _ => None,
        };
        index += 1;
        let Some(close) = close else { continue };
        let span = tokens.span(index).start..tokens.span(close - 1).end;
        if let Some(finish) = lifting.level(&statement.text[span.clone()]) {
            text.push_str(&statement.text[done..span.start]);
            text.push_str(&finish);
            done = span.end;
            index = close;
        }
    }
    if lifting.pulls.is_empty() {
        return None;
    }
    text.push_str(&statement.text[done..]);
    let mut changed = parse::parse(&text).ok()?;
    Some(Lifted {
        statement: changed.pop().filter(|_| changed.is_empty())?,
        is_repeatable: lifting.is_repeatable,
        pulls: lifting.pulls,
        holes: lifting.holes,
    })
}

impl Lifted {
    /// The plan of the whole, from that of the changed statement.
    pub fn filled(self, rest: Gather) -> Gather {
        let by = self.pulls.len();
        let fill = |template: Template| print::fill(template.shifted(by), &self.holes);
        let mut pulls = self.pulls;
        for mut pull in rest.pulls {
            pull.text = fill(pull.text);
            pulls.push(pull);
        }
        Gather {
            pulls,
            finish: fill(rest.finish),
            ..rest
        }
    }
}

struct Lifting<'a> {
    around: &'a Survey,
    context: &'a PlanContext<'a>,
    is_repeatable: bool,
    pulls: Vec<Pull>,
    holes: Holes,
}

impl Lifting<'_> {
    /// The text that finishes a level over its parts.
    fn level(&mut self, text: &str) -> Option<String> {
        let mut statement = parse::parse(text).ok()?;
        let statement = statement.pop().filter(|_| statement.is_empty())?;
        let NodeEnum::SelectStmt(select) = &statement.node else {
            return None;
        };
        let survey = Survey::of(&statement.node, self.context).ok()?;
        let rows = rows_of(&survey, survey.root)?;
        let begun = rows.grouped.is_some()
            || !select.distinct_clause.is_empty()
            || select.limit_count.is_some();
        let reads_only = survey.writes.is_empty() && !survey.locks && survey.has_sharded();
        if !begun
            || !reads_only
            || survey.first_local().is_some()
            || !self.is_closed(&survey, select)
        {
            return None;
        }
        let pins = Pins::of(&survey);
        if pins.gave_up || pinned_value(&survey, &pins).is_some() {
            return None;
        }
        let anchored = scatter::anchored(&survey, &pins, self.context)?;
        let why = unsupported::too_entangled();
        if !combine::has_known_columns(select, &anchored) {
            return None;
        }
        let gather = combine::plan(select, &anchored, &why).ok()?;
        let picks = survey.facts.has_limit || survey.facts.has_distinct_on_or_window;
        let mut calls = survey.facts.functions.iter();
        // Sums of floats and lists of rows depend on an order, which is that of the pulled rows everywhere.
        self.is_repeatable &= !picks && !calls.any(|call| is_random(&call.name));
        Some(self.add(gather))
    }

    /// Whether all that a level names is its own.
    fn is_closed(&self, survey: &Survey, select: &SelectStmt) -> bool {
        let facts = &survey.facts;
        let own = &facts.common_tables;
        let outer = &self.around.facts.common_tables;
        let mut relations = facts.relations.iter();
        let tables = relations.all(|relation| {
            relation.schema.is_some()
                || own.contains(&relation.name)
                || !outer.contains(&relation.name)
        });
        let named = output_names(select);
        let is_leaf = |name: &String| survey.leaves.iter().any(|leaf| leaf.name == *name);
        tables
            && facts
                .columns
                .iter()
                .all(|column| match column.parts.last() {
                    Some(name) if column.is_star => is_leaf(name),
                    None => true,
                    Some(_) => i32::try_from(column.location).is_ok_and(|location| {
                        survey.columns.contains_key(&location) || named.contains(&location)
                    }),
                })
    }

    fn add(&mut self, gather: Gather) -> String {
        let by = self.pulls.len();
        let mut text = String::new();
        for fragment in gather.finish.shifted(by).fragments {
            match fragment {
                Fragment::Text(piece) => text.push_str(&piece),
                Fragment::Argument(Argument::Client(number)) => {
                    text.push_str(&format!("${number}"));
                }
                other => text.push_str(&self.holes.add(vec![other])),
            }
        }
        for mut pull in gather.pulls {
            pull.text = pull.text.shifted(by);
            self.pulls.push(pull);
        }
        text
    }
}

pub(in crate::plan) fn is_random(function: &str) -> bool {
    function.contains("random") || function.contains("uuid") || function.contains("clock")
}

/// Where bare names of output columns stand in GROUP BY, ORDER BY and DISTINCT ON. They go before columns of what is
/// around.
fn output_names(select: &SelectStmt) -> Vec<i32> {
    let targets = select.target_list.iter();
    let names: Vec<String> = targets
        .filter_map(|target| match target.node.as_ref()? {
            NodeEnum::ResTarget(target) if target.name.is_empty() => {
                derived_name(target.val.as_deref()?)
            }
            NodeEnum::ResTarget(target) => Some(target.name.clone()),
            _ => None,
        })
        .collect();
    let clauses = [
        &select.group_clause,
        &select.sort_clause,
        &select.distinct_clause,
    ];
    let items = clauses.into_iter().flatten();
    items
        .filter_map(|item| {
            let (name, location) = bare_name(item)?;
            names.iter().any(|other| other == name).then_some(location)
        })
        .collect()
}

fn bare_name(item: &Node) -> Option<(&str, i32)> {
    match item.node.as_ref()? {
        NodeEnum::SortBy(item) => bare_name(item.node.as_deref()?),
        NodeEnum::ColumnRef(column) => match column.fields.as_slice() {
            [name] => Some((string(name)?, column.location)),
            _ => None,
        },
        _ => None,
    }
}
