//! Sizes asked for by name: `SELECT pg_total_relation_size('posts')` is about all shards, so each is asked and the
//! answers are added up. In a query of catalogs a size stays the home shard's.
//!
//! Takes a parse tree and the catalog snapshot; gives a [`Plan`], or `None` for every other SELECT.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SelectStmt, SubLink, SubLinkType};
use schema::{Placement, RelationKind};

use super::facts::Facts;
use super::gather::print::{self, Holes};
use super::gather::{Finish, Fragment, Gather, Pull, Source, change, tree};
use super::scope::{self, Found};
use super::survey::derived_name;
use super::{Action, Effect, Plan, PlanContext, names};
use crate::error::RouterError;

const OF_RELATIONS: [&str; 4] = [
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
];
const OF_DATABASE: &str = "pg_database_size";
/// What may stand around a size: nothing that depends on where or when it runs.
const BESIDE: [&str; 4] = ["pg_size_pretty", "round", "current_database", "to_char"];

pub fn plan(select: &SelectStmt, context: &PlanContext<'_>) -> Option<Plan> {
    if !select.from_clause.is_empty() || select.target_list.is_empty() {
        return None;
    }
    let facts = Facts::of(select);
    let is_known = |name: &str| BESIDE.contains(&name) || is_size(name);
    let only_known = facts.functions.iter().all(|call| {
        let user = context.snapshot.functions.contains_key(&call.name);
        call.built_in_name()
            .is_some_and(|name| is_known(name) && !user)
    });
    let simple = facts.sublinks == 0
        && facts.relations.is_empty()
        && facts.highest_parameter == 0
        && facts.value_functions.is_empty();
    if !only_known || !simple || select.with_clause.is_some() || select.into_clause.is_some() {
        return None;
    }
    Sums::default().plan(select, context)
}

fn is_size(name: &str) -> bool {
    OF_RELATIONS.contains(&name) || name == OF_DATABASE
}

#[derive(Default)]
struct Sums {
    holes: Holes,
    pulls: Vec<Pull>,
    refusal: Option<RouterError>,
}

impl Sums {
    fn plan(mut self, select: &SelectStmt, context: &PlanContext<'_>) -> Option<Plan> {
        let mut statement = tree::node(NodeEnum::SelectStmt(Box::new(select.clone())));
        change::everything(&mut statement, &mut |node| keep_name(node));
        change::everything(&mut statement, &mut |node| self.replace(node, context));
        if self.pulls.is_empty() {
            return None;
        }
        let finish = print::template(statement.node.as_ref()?, &self.holes);
        let why = "a size is that on all shards".to_owned();
        Some(match (self.refusal, finish) {
            (Some(refusal), _) | (None, Err(refusal)) => Plan::refused(refusal),
            (None, Ok(finish)) => {
                let gather = Gather {
                    pulls: self.pulls,
                    finish,
                    place: Finish::Apart { home: true },
                    why: why.clone(),
                };
                let effect = Effect {
                    returns_rows: true,
                    ..Effect::default()
                };
                Plan::new(Action::Gather(Box::new(gather)), effect, why)
            }
        })
    }

    /// Puts the sum over all shards in place of a size.
    fn replace(&mut self, node: &mut Node, context: &PlanContext<'_>) {
        let is_over_shards = matches!(node.node.as_ref(),
            Some(NodeEnum::FuncCall(call)) if is_over_shards(call, context));
        if !is_over_shards {
            return;
        }
        let asked = tree::select(vec![tree::target(node.clone(), "")], Vec::new(), None);
        let asked = NodeEnum::SelectStmt(Box::new(asked));
        match (print::template(&asked, &Holes::default()), sum()) {
            (Ok(text), Some(sum)) => {
                let rows = self.holes.add(vec![Fragment::Rows(self.pulls.len())]);
                *node = with_rows(sum, &rows);
                self.pulls.push(Pull {
                    name: "sizes".to_owned(),
                    text,
                    columns: 1,
                    source: Source::Everywhere,
                    is_optional: false,
                    mark: None,
                });
            }
            (Err(refusal), _) => self.refusal = Some(refusal),
            (_, None) => self.refusal = Some(super::unsupported::rewrite_not_possible()),
        }
    }
}

/// A column called after its function keeps its name.
fn keep_name(node: &mut Node) {
    let Some(NodeEnum::ResTarget(target)) = node.node.as_mut() else {
        return;
    };
    let name = target.val.as_deref().and_then(derived_name);
    if target.name.is_empty()
        && let Some(name) = name.filter(|name| name != "?column?")
    {
        target.name = name;
    }
}

/// A database, or a table whose rows are not at home alone.
fn is_over_shards(call: &FuncCall, context: &PlanContext<'_>) -> bool {
    let (Some((_, name)), Some(first)) = (scope::function_name(call), call.args.first()) else {
        return false;
    };
    if name == OF_DATABASE {
        return true;
    }
    OF_RELATIONS.contains(&name)
        && names::string_constant(first).is_some_and(|text| is_spread(text, context))
}

fn is_spread(text: &str, context: &PlanContext<'_>) -> bool {
    let Some((schema, name)) = names::parse_qualified(text) else {
        return false;
    };
    match scope::find_name(schema.as_deref(), &name, context) {
        Found::Relation(relation) => {
            let is_table = matches!(
                relation.kind,
                RelationKind::Table | RelationKind::Partitioned
            );
            is_table && scope::placement(&relation, context) != Placement::Local
        }
        Found::Temporary | Found::Home => false,
    }
}

/// `(SELECT sum(r.c1)::int8 FROM rows AS r)`
const SUM: &str = "SELECT (SELECT sum(r.c1)::int8 FROM rows AS r)";

fn sum() -> Option<SubLink> {
    let parsed = crate::parse::parse_at(SUM, 0).ok()??;
    let NodeEnum::SelectStmt(select) = parsed else {
        return None;
    };
    let NodeEnum::ResTarget(target) = select.target_list.into_iter().next()?.node? else {
        return None;
    };
    match target.val?.node? {
        NodeEnum::SubLink(link) if link.sub_link_type() == SubLinkType::ExprSublink => Some(*link),
        _ => None,
    }
}

/// The subquery over the hole called `rows`.
fn with_rows(link: SubLink, rows: &str) -> Node {
    let mut node = tree::node(NodeEnum::SubLink(Box::new(link)));
    change::everything(&mut node, &mut |inner| {
        if let Some(NodeEnum::RangeVar(range)) = inner.node.as_mut() {
            range.relname = rows.to_owned();
        }
    });
    node
}
