//! A statement as the router sees it: its query levels, the tables each reads, and what each level
//! says is equal to what. Takes a parse tree and the catalog snapshot; gives a [`Survey`]. It decides
//! nothing; `pins` and the planners do. It knows no values of parameters and no shard.
//!
//! Equality is only recorded where it means equal hashes: between columns of one [`Family`], and
//! between such a column and a key expression.

mod builder;
mod column;
mod condition;
mod expression;
mod from;
mod join;
mod listed;
mod modify;
mod output;
mod query;
pub(super) mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use pg_query::NodeEnum;
use schema::{KeyType, Placement, Relation};

use super::facts::Facts;
use super::fold::Fold;
use super::scope::{INT2, INT4, INT8, TEXT, UUID, VARCHAR};
use super::{KeyExpr, PlanContext};
use crate::error::RouterError;
use builder::{Builder, CommonTable, Level, Merged};
pub(super) use output::{derived_name, is_star};

/// Index into [`Survey::leaves`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId(pub usize);

/// Index into [`Survey::queries`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryId(pub usize);

/// Index into [`Survey::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(pub usize);

/// Types whose equal values hash alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    Integer,
    Text,
    Uuid,
}

impl Family {
    /// The family of a type, `None` for every type that no key has.
    pub fn of_type(oid: u32) -> Option<Self> {
        match oid {
            INT2 | INT4 | INT8 => Some(Self::Integer),
            TEXT | VARCHAR => Some(Self::Text),
            UUID => Some(Self::Uuid),
            _ => None,
        }
    }

    pub fn of_key(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => Self::Integer,
            KeyType::Text | KeyType::Varchar => Self::Text,
            KeyType::Uuid => Self::Uuid,
        }
    }
}

/// Something that can be equal to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Term {
    /// A column of a leaf, by its index.
    Column(LeafId, usize),
    Value(ValueId),
}

/// Two terms that are equal, and not NULL, in every row that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact(pub Term, pub Term);

/// A key expression as it stands in the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    pub expression: KeyExpr,
    /// What it is compared with: `'5'` is another value to an integer than to a text.
    pub family: Family,
    /// The same literal stands elsewhere too and was taken for this one: only these values, not the
    /// shape, make them equal.
    pub merged: bool,
}

/// One item of a FROM list.
#[derive(Debug)]
pub struct Leaf {
    /// What columns are qualified with; empty when hidden by the alias of a join around it.
    pub name: String,
    pub kind: LeafKind,
    /// `None`: not known here (functions, catalogs).
    pub columns: Option<Vec<Column>>,
    /// Where the statement names it; for tables only.
    pub mention: Option<RangeMention>,
}

/// A relation named in a FROM list, or as the target of a write, as it is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeMention {
    /// Byte offset of the name's first word.
    pub location: usize,
    pub has_alias: bool,
    pub renames_columns: bool,
    /// `ONLY name`
    pub only: bool,
    pub in_sample: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// `None`: a name that this module does not derive.
    pub name: Option<String>,
    pub family: Option<Family>,
}

#[derive(Debug)]
pub enum LeafKind {
    Table {
        relation: Arc<Relation>,
        placement: Placement,
    },
    /// A subquery or WITH query. `pushes`: equalities about its output columns hold inside it too.
    Derived { query: QueryId, pushes: bool },
    /// Temporary tables, catalogs, names that do not exist.
    Home,
    /// Functions, and whatever has columns that are not known here.
    Opaque,
}

impl Leaf {
    /// The column that divides this table, if it is sharded.
    pub fn shard_key(&self) -> Option<(usize, KeyType)> {
        match self.kind {
            LeafKind::Table {
                placement: Placement::Sharded { key, key_type },
                ..
            } => Some((key, key_type)),
            _ => None,
        }
    }

    pub fn relation(&self) -> Option<&Arc<Relation>> {
        match &self.kind {
            LeafKind::Table { relation, .. } => Some(relation),
            _ => None,
        }
    }
}

/// `column IN (...)` or `column = ANY (...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyList {
    pub column: Term,
    pub keys: ListedKeys,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ListedKeys {
    Each(Vec<KeyExpr>),
    Array(KeyExpr),
}

/// A subquery inside an expression.
#[derive(Debug)]
pub struct Sub {
    pub query: QueryId,
    /// `x = ANY (subquery)` as a condition: output column 0 matters only where it is equal to x.
    pub pushed: Vec<(usize, Term)>,
}

/// `lower(column) = value` or `upper(column) = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedValue {
    pub column: Term,
    pub fold: Fold,
    pub value: ValueId,
    /// The value stands in a call of the same kind.
    pub value_fold: Option<Fold>,
}

/// The conjuncts of a WHERE or ON.
#[derive(Debug, Default)]
pub struct Conditions {
    pub facts: Vec<Fact>,
    pub folded: Vec<FoldedValue>,
    pub lists: Vec<KeyList>,
    pub subs: Vec<Sub>,
}

/// A FROM list as a tree.
#[derive(Debug)]
pub enum Join {
    /// `subs`: subqueries in a function's arguments.
    Leaf { leaf: LeafId, subs: Vec<Sub> },
    Inner {
        left: Box<Join>,
        right: Box<Join>,
        on: Conditions,
    },
    /// LEFT and RIGHT joins, by which side keeps its unmatched rows.
    Outer {
        kept: Box<Join>,
        nullable: Box<Join>,
        on: Conditions,
    },
    Full {
        left: Box<Join>,
        right: Box<Join>,
        on: Conditions,
    },
}

/// One column that a query gives.
#[derive(Debug, Clone)]
pub struct Output {
    pub column: Column,
    /// The plain column it is, or the value of a type of its own.
    pub term: Option<Term>,
    /// What it is as a key expression.
    pub key: Option<KeyExpr>,
}

/// One query level.
#[derive(Debug)]
pub struct Query {
    pub body: Body,
    /// `None`: not known here (`*` over a function).
    pub outputs: Option<Vec<Output>>,
    /// Data-modifying and never-mentioned WITH queries of this level.
    pub apart: Vec<QueryId>,
    /// It has an ORDER BY.
    pub sorted: bool,
}

#[derive(Debug)]
pub enum Body {
    Rows(Box<Rows>),
    /// UNION, INTERSECT, EXCEPT.
    Set {
        branches: Vec<QueryId>,
        limited: bool,
        subs: Vec<Sub>,
    },
    Values {
        subs: Vec<Sub>,
    },
    /// `key`: which column of the source is the shard key; `value`: the constant it is in all rows.
    Insert {
        target: LeafId,
        source: Option<QueryId>,
        key: Option<usize>,
        value: Option<Term>,
        subs: Vec<Sub>,
    },
}

/// SELECT, and UPDATE, DELETE and MERGE with their target in `from`.
#[derive(Debug)]
pub struct Rows {
    /// The table that UPDATE, DELETE or MERGE writes.
    pub target: Option<LeafId>,
    pub from: Option<Join>,
    pub filter: Conditions,
    /// Subqueries everywhere else: select list, SET, HAVING, ORDER BY, ...
    pub subs: Vec<Sub>,
    /// Which rows come out depends on others (LIMIT, DISTINCT ON, windows): nothing may be left out
    /// on the way in.
    pub closed: bool,
    /// `Some` when rows are grouped, with the plain columns among the grouping expressions.
    pub grouped: Option<Vec<Term>>,
    /// Rows that this level adds to a table (MERGE): the table and the key, which must be known from
    /// the side of the join that keeps its rows.
    pub added: Vec<(LeafId, Option<Term>)>,
    /// Keys that this level sets anew (UPDATE): they must be what they are already.
    pub rekeyed: Vec<(LeafId, Option<Term>)>,
}

/// A whole statement.
#[derive(Debug)]
pub struct Survey {
    pub queries: Vec<Query>,
    pub leaves: Vec<Leaf>,
    pub values: Vec<KeyValue>,
    pub root: QueryId,
    /// A literal's value was looked at, so the plan is not for every statement of this shape.
    pub literals_matter: bool,
    /// An aggregate inside a subquery may belong to the level around it.
    pub outer_aggregates: bool,
    /// Targets of every INSERT, UPDATE, DELETE and MERGE, those inside WITH too.
    pub writes: Vec<LeafId>,
    /// FOR UPDATE, FOR SHARE and their like, anywhere.
    pub locks: bool,
    /// Those not of the outermost level: what they lock may be more than what the result shows.
    pub inner_locks: bool,
    /// An INSERT inside a WITH leaves a column to a sequence.
    pub needs_ids: bool,
    /// What the column at this byte of the text is, for all clauses of SELECT but LIMIT, and ON.
    pub columns: HashMap<i32, Term>,
    /// Everything mentioned anywhere.
    pub facts: Facts,
}

fn locks_itself(node: &NodeEnum) -> bool {
    matches!(node, NodeEnum::SelectStmt(select) if !select.locking_clause.is_empty())
}

impl Survey {
    /// Surveys a SELECT, INSERT, UPDATE, DELETE or MERGE.
    ///
    /// # Errors
    /// Syntax that holds a table and is not understood here, or a write that no plan allows.
    pub fn of(node: &NodeEnum, context: &PlanContext<'_>) -> Result<Self, RouterError> {
        let mut builder = Builder::new(context);
        let root = builder.statement(node)?;
        let survey = Self {
            queries: builder.queries,
            leaves: builder.leaves,
            values: builder.values,
            root,
            literals_matter: builder.literals_matter,
            outer_aggregates: builder.outer_aggregates,
            writes: builder.writes,
            locks: builder.locks,
            inner_locks: builder.lock_levels > usize::from(locks_itself(node)),
            needs_ids: builder.needs_ids_somewhere,
            columns: builder.columns,
            facts: Facts::of(node),
        };
        let complete = builder.relations_seen == survey.facts.relations.len()
            && builder.sublinks_seen == survey.facts.sublinks;
        if complete || survey.is_only_home() {
            Ok(survey)
        } else {
            Err(super::unsupported::syntax_not_understood())
        }
    }

    pub fn leaf(&self, leaf: LeafId) -> &Leaf {
        &self.leaves[leaf.0]
    }

    pub fn query(&self, query: QueryId) -> &Query {
        &self.queries[query.0]
    }

    pub fn value(&self, value: ValueId) -> &KeyValue {
        &self.values[value.0]
    }

    pub fn column(&self, leaf: LeafId, column: usize) -> Option<&Column> {
        self.leaf(leaf).columns.as_ref()?.get(column)
    }

    /// All leaves that are tables of users.
    pub fn tables(&self) -> impl Iterator<Item = (&Arc<Relation>, &Placement)> {
        self.leaves.iter().filter_map(|leaf| match &leaf.kind {
            LeafKind::Table {
                relation,
                placement,
            } => Some((relation, placement)),
            _ => None,
        })
    }

    pub fn has_sharded(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.shard_key().is_some())
    }

    pub fn has_reference(&self) -> bool {
        self.tables()
            .any(|(_, placement)| *placement == Placement::Reference)
    }

    /// The first leaf that is on the home shard only.
    pub fn first_local(&self) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| match &leaf.kind {
            LeafKind::Home => true,
            LeafKind::Table { placement, .. } => *placement == Placement::Local,
            _ => false,
        })
    }

    fn is_only_home(&self) -> bool {
        !self.has_sharded() && self.facts.tables().next().is_none()
    }
}
