//! Which columns an expression may name.

use crate::differential::tables::{Pool, Table};
use crate::differential::tree::Expression;
use crate::differential::types::Type;

/// A column in sight.
#[derive(Debug, Clone)]
pub struct Visible {
    /// As SQL names it.
    pub text: String,
    pub type_: Type,
    /// Joins of columns that hold the same kind of ids find rows.
    pub pool: Pool,
}

impl Visible {
    pub fn expression(&self) -> Expression {
        Expression::text(self.type_, self.text.clone())
    }
}

/// The columns of a FROM clause, and those of the queries around it.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub columns: Vec<Visible>,
    /// Columns by which an order of the rows is total; none where there may be no such order.
    pub total: Option<Vec<Visible>>,
    pub outer: Vec<Visible>,
    /// What GROUP BY leaves of the columns.
    pub grouped: Option<Vec<Expression>>,
}

impl Scope {
    /// Nothing of its own, inside of queries whose columns are `outer`.
    pub fn inside(outer: &[Visible]) -> Scope {
        Scope {
            total: Some(Vec::new()),
            outer: outer.to_vec(),
            ..Scope::default()
        }
    }

    pub fn table(table: &Table, alias: &str) -> Scope {
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| Visible {
                text: format!("{alias}.{}", column.name),
                type_: column.type_,
                pool: column.pool,
            })
            .collect();
        Scope {
            total: Some(columns[..table.key].to_vec()),
            columns,
            ..Scope::default()
        }
    }

    /// Columns of a derived table, whose rows may be alike.
    pub fn derived(names: &[String], types: &[Type], alias: &str) -> Scope {
        let columns: Vec<_> = names
            .iter()
            .zip(types)
            .map(|(name, type_)| Visible {
                text: format!("{alias}.{name}"),
                type_: *type_,
                pool: Pool::Any,
            })
            .collect();
        let settled = types.iter().all(|type_| type_.is_settled());
        Scope {
            total: settled.then(|| columns.clone()),
            columns,
            ..Scope::default()
        }
    }

    /// Adds another FROM item's columns.
    pub fn join(&mut self, other: &Scope) {
        self.columns.extend(other.columns.iter().cloned());
        self.total = match (self.total.take(), &other.total) {
            (Some(mut mine), Some(theirs)) => {
                mine.extend(theirs.iter().cloned());
                Some(mine)
            }
            _ => None,
        };
    }

    /// Whether there is a column of each of these types.
    pub fn has_all(&self, types: &[Type]) -> bool {
        let has = |type_: &Type| self.columns.iter().any(|column| column.type_ == *type_);
        self.grouped.is_some() || types.iter().all(has)
    }

    /// What a query inside of this one may name.
    pub fn seen_inside(&self) -> Vec<Visible> {
        let own = match &self.grouped {
            None => self.columns.clone(),
            Some(grouped) => {
                let kept = |column: &&Visible| grouped.contains(&column.expression());
                self.columns.iter().filter(kept).cloned().collect()
            }
        };
        own.into_iter().chain(self.outer.iter().cloned()).collect()
    }
}
