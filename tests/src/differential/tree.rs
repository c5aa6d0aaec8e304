//! Statements as trees: made by the generator, written as SQL, made smaller when they fail.

use super::types::{Literal, Type};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Literal(Literal),
    Made { type_: Type, parts: Vec<Part> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String),
    Expression(Expression),
    /// Not made smaller: what makes an order total, or a join unique.
    Fixed(Expression),
    Query(Box<Query>),
}

impl Expression {
    /// A column, or any other text.
    pub fn text(type_: Type, text: impl Into<String>) -> Expression {
        let parts = vec![Part::Text(text.into())];
        Expression::Made { type_, parts }
    }

    /// The same, kept as it is when the statement is made smaller.
    pub fn fixed(self) -> Expression {
        let type_ = self.type_();
        let parts = vec![Part::Fixed(self)];
        Expression::Made { type_, parts }
    }

    pub fn is_fixed(&self) -> bool {
        matches!(self, Expression::Made { parts, .. } if matches!(parts.as_slice(), [Part::Fixed(_)]))
    }

    pub fn type_(&self) -> Type {
        match self {
            Expression::Literal(literal) => literal.type_,
            Expression::Made { type_, .. } => *type_,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub expression: Expression,
    pub alias: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    pub by: By,
    /// Such as "desc nulls last".
    pub direction: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum By {
    /// An output column, from 1.
    Ordinal(usize),
    Expression(Expression),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CommonTable {
    pub name: String,
    pub columns: Vec<String>,
    /// "", "materialized", "not materialized".
    pub how: &'static str,
    pub query: Query,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub with: Vec<CommonTable>,
    pub recursive: bool,
    pub body: Body,
    pub order: Vec<OrderKey>,
    pub limit: Option<Limit>,
    pub offset: Option<Literal>,
    /// Such as "for update".
    pub locking: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    Count(Literal),
    WithTies(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Select(Box<Select>),
    Set {
        operator: String,
        left: Box<Query>,
        right: Box<Query>,
    },
    Values(Vec<Vec<Expression>>),
    /// Anything else, such as TABLE name.
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Select {
    pub distinct: Distinct,
    pub items: Vec<Item>,
    pub from: Vec<Source>,
    pub filter: Vec<Expression>,
    pub group: Vec<Expression>,
    pub grouping: Grouping,
    pub having: Vec<Expression>,
    /// Name and definition.
    pub windows: Vec<(String, Expression)>,
    /// Not written: columns that ORDER BY may name though they are not selected.
    pub hidden_order_columns: Vec<Expression>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub enum Distinct {
    #[default]
    No,
    Yes,
    /// As many of the order's first keys, which are ordinals.
    On(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Grouping {
    #[default]
    Plain,
    Rollup,
    Cube,
    /// Each item alone, and the empty set.
    Sets,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A table, a common table or a view.
    Named { name: String, alias: String },
    Derived {
        lateral: bool,
        query: Box<Query>,
        alias: String,
        columns: Vec<String>,
    },
    /// A call, or anything else: text and expressions, alias included.
    Function(Expression),
    Join {
        /// Such as "left join", "natural join", "cross join".
        kind: String,
        left: Box<Source>,
        right: Box<Source>,
        on: On,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum On {
    Nothing,
    Conditions(Vec<Expression>),
    Using(Vec<String>),
}

/// Anything that is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Query(Query),
    Write(Write),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub with: Vec<CommonTable>,
    pub kind: WriteKind,
    pub returning: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WriteKind {
    Insert {
        table: String,
        columns: Vec<String>,
        source: Query,
        /// Text and expressions.
        conflict: Option<Expression>,
    },
    Update {
        target: String,
        set: Vec<(String, Expression)>,
        from: Vec<Source>,
        filter: Vec<Expression>,
    },
    Delete {
        target: String,
        using: Vec<Source>,
        filter: Vec<Expression>,
    },
}

impl Statement {
    /// The table that is written to.
    pub fn written_table(&self) -> Option<&str> {
        let Statement::Write(write) = self else {
            return None;
        };
        Some(match &write.kind {
            WriteKind::Insert { table, .. } => table,
            WriteKind::Update { target, .. } | WriteKind::Delete { target, .. } => target,
        })
    }
}
