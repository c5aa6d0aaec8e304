//! The shape of an INSERT whose rows a query gives: the query is run first, wherever its rows are, then
//! every row is inserted where it belongs.
//!
//! Holds no values; an executor makes the INSERT's text anew for the columns that the query turns out to have.

use std::rc::Rc;

use schema::{KeyType, Relation};

use super::gather::{Fragment, Template};
use super::{Action, Plan, SequenceName, Split};
use crate::error::RouterError;

/// A query, and where its rows go; what is done with them there is INSERT, or MERGE.
#[derive(Debug)]
pub struct InsertRows {
    /// Of `source_text`.
    pub source: Rc<Plan>,
    /// The query by itself. Its `$n` are the client's; what they are is known from the client's whole text.
    pub source_text: String,
    pub parts: Parts,
    /// Quoted names of all the table's columns, where no list is written but ids are to be named: the query's
    /// width tells how many of them are meant.
    pub columns: Vec<String>,
    /// Columns that the router numbers where the query does not reach them.
    pub ids: Vec<IdColumn>,
    pub destination: Destination,
    /// All rows for one shard must be in one statement: one may conflict with, or refer to, another.
    pub at_once: bool,
    pub client_parameters: u16,
    /// Fewer rows may come back than go in: see [`super::SplitInsert`].
    pub may_skip_rows: bool,
    /// The client has sent another command, UPDATE or MERGE, and hears of one.
    pub told_as: Option<&'static str>,
    /// ON CONFLICT may be about rows of other shards: the rows are tried one by one.
    pub upserts: Option<RowUpserts>,
}

/// See [`super::upsert::Upsert`].
#[derive(Debug)]
pub struct RowUpserts {
    /// Numbers of the keys kept by entries that arbitrate.
    pub arbiters: Vec<u32>,
    /// DO UPDATE.
    pub updates: bool,
    /// What tells the entry that a row asks for. With DO UPDATE, where no two rows may ask for the same.
    pub wanted: Option<WantedEntry>,
    /// For a row that violates what its own shard keeps: what tells the entries that it asks for.
    pub lookups: Vec<WantedEntry>,
}

/// The columns that a key is about, among those of the rows.
#[derive(Debug)]
pub struct WantedEntry {
    /// Of the key's objects in schema `oskol`.
    pub number: u32,
    pub columns: Vec<WantedColumn>,
}

#[derive(Debug)]
pub struct WantedColumn {
    /// Among the rows' columns, the ids behind them.
    pub position: usize,
    /// Quoted.
    pub name: String,
    /// Without a length.
    pub type_name: String,
}

/// A column filled from a sequence that the router leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdColumn {
    /// Index into the table's columns.
    pub column: usize,
    /// Quoted.
    pub name: String,
    /// Filled for queries of at most so many columns: it stands behind them. `None`: always.
    pub unless_wider_than: Option<usize>,
    pub sequence: SequenceName,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A local table.
    Home,
    /// A reference table: the same rows to every shard.
    Everywhere,
    /// A sharded table: each row to the shard of its key.
    ByKey(RowKey),
}

/// The shard key of rows to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowKey {
    /// Index into the table's columns.
    pub column: usize,
    /// Its position among the listed columns; `None`: it is an id, or left out.
    pub position: Option<usize>,
    pub name: String,
    pub key_type: KeyType,
    /// As SQL names it, with its length: what a value of another type is cast to.
    pub type_name: String,
    /// It has a length, so that spaces beyond it are cut off.
    pub has_length: bool,
    pub not_null: bool,
    /// Its default is no sequence, and not NULL.
    pub has_default: bool,
}

impl RowKey {
    /// Of a table whose column `key` is the shard key and has a value in every row: at `position` among the listed columns.
    pub fn given(
        relation: &Relation,
        key: usize,
        key_type: KeyType,
        position: Option<usize>,
    ) -> Self {
        let column = &relation.columns[key];
        Self {
            column: key,
            position,
            name: column.name.clone(),
            key_type,
            type_name: column.type_name.clone(),
            has_length: column.type_modifier >= 0,
            not_null: column.not_null,
            has_default: false,
        }
    }
}

/// The plan of a query whose rows the router can read.
///
/// # Errors
/// The plan's own refusal, else `refused`.
pub fn readable(plan: Plan, refused: fn() -> RouterError) -> Result<Plan, RouterError> {
    match plan.action {
        Action::Refuse(error) => Err(error),
        Action::AnyShard
        | Action::Home
        | Action::ByKey(_)
        | Action::Split(Split::Keys { .. } | Split::KeyArray { .. })
        | Action::Scatter(_)
        | Action::Gather(_) => Ok(plan),
        _ => Err(refused()),
    }
}

/// The INSERT's text in its parts.
#[derive(Debug, Default)]
pub struct Parts {
    /// From the start to where names of columns are to stand, if they are, else to where the rows are.
    pub head: Template,
    /// From behind the names to where the rows stand as a FROM item.
    pub middle: Template,
    /// What follows the rows: their alias, ON CONFLICT, RETURNING.
    pub tail: Template,
}

impl InsertRows {
    /// The id columns for a query of `width` columns.
    pub fn ids_for(&self, width: usize) -> Vec<&IdColumn> {
        let wanted = |id: &&IdColumn| id.unless_wider_than.is_none_or(|most| width <= most);
        self.ids.iter().filter(wanted).collect()
    }

    /// The INSERT of rows of `width` columns and the ids behind them, which stand for pull 0.
    pub fn text(&self, width: usize) -> Template {
        let own = self.columns.iter().take(width).map(String::as_str);
        let ids = self.ids_for(width);
        let names: Vec<&str> = own.chain(ids.iter().map(|id| id.name.as_str())).collect();
        let mut fragments = self.parts.head.fragments.clone();
        fragments.push(Fragment::Text(names.join(", ")));
        fragments.extend(self.parts.middle.fragments.iter().cloned());
        fragments.push(Fragment::Rows(0));
        fragments.extend(self.parts.tail.fragments.iter().cloned());
        Template { fragments }
    }
}
