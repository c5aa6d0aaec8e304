//! Statements whose WITH queries write, or lock rows, and that no shard can run alone: each such query is carried out
//! as a statement of its own, in the order in which they are written, and its rows stand where its name stands in what
//! follows. All of it is one global transaction.
//!
//! In PostgreSQL the parts see one snapshot, and not each other's effects. So it is here where none reads, or changes by
//! its keys, what one before it has written; else there is no such plan. Takes a parse tree; gives an [`InParts`].

mod conflict;
mod filled;
mod sublinks;

use std::collections::HashSet;
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CommonTableExpr, Node, ReturningClause, WithClause};

use super::facts::Facts;
use super::gather::print::{self, Holes};
use super::gather::{Fragment, nested, tree};
use super::names::quote_identifier;
use super::survey::Survey;
use super::{Action, Effect, Plan, PlanContext, unsupported};
use crate::error::RouterError;
use crate::parse::{self, Statement};

/// Begins with what the survey takes for rows pulled before.
const PART: &str = "oskol_input_part_";

/// A statement carried out in parts.
#[derive(Debug)]
pub struct InParts {
    /// In the order in which they run.
    pub parts: Vec<Part>,
    /// What is left of the statement.
    pub rest: Rc<Plan>,
    /// Where no part's rows are in it: its text. `None`: it is described by the client's own.
    pub rest_text: Option<String>,
}

/// A WITH query that writes or locks.
#[derive(Debug)]
pub struct Part {
    pub name: String,
    /// Gives rows.
    pub plan: Rc<Plan>,
    /// As the home shard reads it, to tell its columns.
    pub text: String,
}

/// A WITH query in scope.
struct Known {
    name: String,
    original: Node,
    /// What stands for it in what is planned.
    stand_in: Node,
    is_part: bool,
    /// So many statements read it.
    readers: usize,
}

/// The plan of a statement that would be refused in one piece. `None`: it cannot be carried out in parts.
pub(super) fn plan(node: &NodeEnum, context: &PlanContext<'_>) -> Option<Plan> {
    if !may_apply(node) {
        return None;
    }
    let mut node = node.clone();
    sublinks::lift(&mut node, context);
    let with = with_of(&mut node)?.take()?;
    if with.recursive || !with.ctes.iter().any(is_part) {
        return None;
    }
    let mut splitting = Splitting {
        context,
        known: Vec::new(),
        parts: Vec::new(),
        holes: Holes::named(PART),
        statements: Vec::new(),
        effect: Effect::default(),
    };
    for table in with.ctes {
        splitting.with_query(table).ok()?;
    }
    splitting.rest(node).ok()
}

/// Quick to tell for nearly all statements.
fn may_apply(node: &NodeEnum) -> bool {
    let with = match node {
        NodeEnum::SelectStmt(select) => select.with_clause.as_ref(),
        NodeEnum::InsertStmt(insert) => insert.with_clause.as_ref(),
        NodeEnum::UpdateStmt(update) => update.with_clause.as_ref(),
        NodeEnum::DeleteStmt(delete) => delete.with_clause.as_ref(),
        _ => return false,
    };
    with.is_some_and(|with| with.ctes.iter().any(is_part)) || sublinks::may_be_in(node)
}

fn with_of(node: &mut NodeEnum) -> Option<&mut Option<WithClause>> {
    match node {
        NodeEnum::SelectStmt(select) => Some(&mut select.with_clause),
        NodeEnum::InsertStmt(insert) => Some(&mut insert.with_clause),
        NodeEnum::UpdateStmt(update) => Some(&mut update.with_clause),
        NodeEnum::DeleteStmt(delete) => Some(&mut delete.with_clause),
        _ => None,
    }
}

fn is_part(table: &Node) -> bool {
    match body(table) {
        Some(NodeEnum::SelectStmt(select)) => !select.locking_clause.is_empty(),
        Some(NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_)) => true,
        _ => false,
    }
}

fn body(table: &Node) -> Option<&NodeEnum> {
    match table.node.as_ref()? {
        NodeEnum::CommonTableExpr(table) => table.ctequery.as_deref()?.node.as_ref(),
        _ => None,
    }
}

struct Splitting<'a> {
    context: &'a PlanContext<'a>,
    known: Vec<Known>,
    parts: Vec<Part>,
    holes: Holes,
    /// All that is run, in order.
    statements: Vec<conflict::Touched>,
    /// Of all parts.
    effect: Effect,
}

impl Splitting<'_> {
    fn with_query(&mut self, original: Node) -> Result<(), RouterError> {
        let failed = unsupported::write_in_with;
        let Some(NodeEnum::CommonTableExpr(table)) = original.node.as_ref() else {
            return Err(failed());
        };
        let name = table.ctename.clone();
        let is_part = is_part(&original);
        let stand_in = match is_part {
            true => self.part(table)?,
            false => original.clone(),
        };
        self.known.push(Known {
            name,
            original,
            stand_in,
            is_part,
            readers: 0,
        });
        Ok(())
    }

    /// Plans a part; gives what stands for its rows.
    fn part(&mut self, table: &CommonTableExpr) -> Result<Node, RouterError> {
        let failed = unsupported::write_in_with;
        let body = table.ctequery.as_deref().and_then(|body| body.node.clone());
        let mut body = body.ok_or_else(failed)?;
        returns_something(&mut body)?;
        let described = self.with_known(body.clone(), &|known| &known.original)?;
        let planned = self.with_known(body, &|known| &known.stand_in)?;
        self.note_readers(&planned)?;
        let statement = parsed(&planned)?;
        let columns = columns(&statement, self.context).ok_or_else(failed)?;
        let plan = self.planned(&statement, &|| print::text(&described))?;
        let hole = self.holes.add(vec![Fragment::Rows(self.parts.len())]);
        self.parts.push(Part {
            name: table.ctename.clone(),
            plan: Rc::new(plan),
            text: print::text(&described)?,
        });
        stand_in(table, &columns, &hole)
    }

    /// Plans a statement in which stand-ins may be; its tables must not have been written before.
    fn planned(
        &mut self,
        statement: &Statement,
        described: &dyn Fn() -> Result<String, RouterError>,
    ) -> Result<Plan, RouterError> {
        let touched = conflict::Touched::of(&statement.node, self.context)?;
        if self
            .statements
            .iter()
            .any(|before| before.disturbs(&touched, self.context))
        {
            return Err(unsupported::write_in_with());
        }
        self.statements.push(touched);
        let plan = super::plan_alone(statement, self.context);
        let own = plan.effect;
        let all = &mut self.effect;
        all.writes |= own.writes;
        all.locks |= own.locks;
        all.pins |= own.pins;
        all.unpreparable |= own.unpreparable;
        all.reads_session_sequences |= own.reads_session_sequences;
        filled::plan(plan, statement, described, &self.parts, &self.holes)
    }

    /// `node` with the WITH queries that it reads, directly or through one another.
    fn with_known(
        &self,
        mut node: NodeEnum,
        which: &dyn Fn(&Known) -> &Node,
    ) -> Result<NodeEnum, RouterError> {
        let failed = unsupported::write_in_with;
        let mut wanted = named(&Facts::of(&node));
        let mut tables = Vec::new();
        for known in self.known.iter().rev() {
            if wanted.contains(&known.name) {
                let table = which(known);
                wanted.extend(named(&Facts::of(table)));
                tables.insert(0, table.clone());
            }
        }
        if tables.is_empty() {
            return Ok(node);
        }
        let with = with_of(&mut node).ok_or_else(failed)?;
        match with {
            None => {
                *with = Some(WithClause {
                    ctes: tables,
                    recursive: false,
                    location: -1,
                });
            }
            Some(own) => {
                let clash = own.ctes.iter().any(|one| {
                    let mut known = self.known.iter();
                    known.any(|known| Some(known.name.as_str()) == name(one))
                });
                if clash || own.recursive {
                    return Err(failed());
                }
                own.ctes.splice(0..0, tables);
            }
        }
        Ok(node)
    }

    /// A query that only reads is run by each statement that reads it: it must give the same each time.
    fn note_readers(&mut self, planned: &NodeEnum) -> Result<(), RouterError> {
        let facts = Facts::of(planned);
        for known in self.known.iter_mut().filter(|known| !known.is_part) {
            if !facts.common_tables.contains(&known.name) {
                continue;
            }
            known.readers += 1;
            let own = Facts::of(&known.original);
            let mut calls = own.functions.iter();
            let varies = own.has_limit
                || own.has_distinct_on_or_window
                || calls.any(|call| nested::is_random(&call.name));
            if known.readers > 1 && varies {
                return Err(unsupported::write_in_with());
            }
        }
        Ok(())
    }

    fn rest(mut self, node: NodeEnum) -> Result<Plan, RouterError> {
        let planned = self.with_known(node.clone(), &|known| &known.stand_in)?;
        self.note_readers(&planned)?;
        let statement = parsed(&planned)?;
        let has_rows = statement.text.contains(PART);
        let described = self.with_known(node, &|known| &known.original)?;
        let rest = self.planned(&statement, &|| print::text(&described))?;
        let effect = Effect {
            returns_rows: rest.effect.returns_rows,
            ..self.effect
        };
        let reason = "its WITH queries that write are statements of their own";
        let in_parts = InParts {
            parts: self.parts,
            rest: Rc::new(rest),
            rest_text: (!has_rows).then_some(statement.text),
        };
        Ok(Plan::new(
            Action::InParts(Box::new(in_parts)),
            effect,
            reason,
        ))
    }
}

fn named(facts: &Facts) -> HashSet<String> {
    let names = facts.relations.iter();
    let names = names.filter(|relation| relation.schema.is_none());
    names.map(|relation| relation.name.clone()).collect()
}

fn name(table: &Node) -> Option<&str> {
    match table.node.as_ref()? {
        NodeEnum::CommonTableExpr(table) => Some(&table.ctename),
        _ => None,
    }
}

fn parsed(node: &NodeEnum) -> Result<Statement, RouterError> {
    let mut parsed = parse::parse(&print::text(node)?)?;
    let statement = parsed.pop().filter(|_| parsed.is_empty());
    statement.ok_or_else(unsupported::rewrite_not_possible)
}

/// A part without RETURNING gives a row for each that it changes, of which nothing is read.
fn returns_something(body: &mut NodeEnum) -> Result<(), RouterError> {
    let returning = match body {
        NodeEnum::InsertStmt(insert) => &mut insert.returning_clause,
        NodeEnum::UpdateStmt(update) => &mut update.returning_clause,
        NodeEnum::DeleteStmt(delete) => &mut delete.returning_clause,
        NodeEnum::SelectStmt(_) => return Ok(()),
        _ => return Err(unsupported::write_in_with()),
    };
    if returning.is_none() {
        *returning = Some(ReturningClause {
            exprs: vec![tree::target(tree::truth(), "")],
            ..ReturningClause::default()
        });
    }
    Ok(())
}

/// What a statement's columns are called.
fn columns(statement: &Statement, context: &PlanContext<'_>) -> Option<Vec<String>> {
    let survey = Survey::of(&statement.node, context).ok()?;
    let outputs = survey.query(survey.root).outputs.as_ref()?.iter();
    // As PostgreSQL calls what has no name; nothing else can name it either.
    let name = |output: &super::survey::Output| output.column.name.clone();
    Some(
        outputs
            .map(|output| name(output).unwrap_or_else(|| "?column?".to_owned()))
            .collect(),
    )
}

/// The WITH query over the rows that `hole` stands for.
fn stand_in(table: &CommonTableExpr, columns: &[String], hole: &str) -> Result<Node, RouterError> {
    let targets = columns.iter().enumerate();
    let targets: Vec<String> = targets
        .map(|(index, name)| format!("c{} AS {}", index + 1, quote_identifier(name)))
        .collect();
    let text = format!("SELECT {} FROM {hole} AS r", targets.join(", "));
    let parsed = parse::parse(&text)?.pop();
    let select = parsed.ok_or_else(unsupported::rewrite_not_possible)?;
    let table = CommonTableExpr {
        ctequery: Some(Box::new(tree::node(select.node))),
        ..table.clone()
    };
    Ok(tree::node(NodeEnum::CommonTableExpr(Box::new(table))))
}
