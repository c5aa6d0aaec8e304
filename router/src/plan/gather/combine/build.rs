//! References to pulled rows, and expressions from a line of SQL. Knows nothing of what they are for.

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, CollateClause, ColumnRef, Integer, Node, a_const};

use crate::error::RouterError;
use crate::plan::gather::tree;
use crate::plan::unsupported;

/// What the pulled rows are called in the finishing statement.
pub const ROWS: &str = "oskol";

/// `table.column`, to be told from others by its location.
pub fn column_at(table: &str, column: &str, location: i32) -> Node {
    tree::node(NodeEnum::ColumnRef(ColumnRef {
        fields: vec![tree::string(table), tree::string(column)],
        location,
    }))
}

/// A column (0-based) of the pulled rows.
pub fn pulled(index: usize) -> Node {
    tree::column(&[ROWS, &format!("c{}", index + 1)])
}

/// The same in SQL.
pub fn pulled_sql(index: usize) -> String {
    format!("{ROWS}.c{}", index + 1)
}

pub fn collated(value: Node, collation: &[Node]) -> Node {
    tree::node(NodeEnum::CollateClause(Box::new(CollateClause {
        arg: Some(Box::new(value)),
        collname: collation.to_vec(),
        location: -1,
    })))
}

/// `ORDER BY 2`, `GROUP BY 2`: what the column (0-based) of a select list is called there.
pub fn ordinal(index: usize) -> Node {
    tree::node(NodeEnum::AConst(AConst {
        isnull: false,
        location: -1,
        val: Some(a_const::Val::Ival(Integer {
            // A select list has at most 1,664 columns.
            ival: i32::try_from(index + 1).unwrap_or(i32::MAX),
        })),
    }))
}

/// An expression written in SQL.
///
/// # Errors
/// None for text that is an expression.
pub fn expression(sql: &str) -> Result<Node, RouterError> {
    let parsed = pg_query::parse(&format!("SELECT {sql}"), 0);
    let statement = parsed
        .ok()
        .and_then(|parsed| parsed.protobuf.stmts.into_iter().next()?.stmt?.node);
    let Some(NodeEnum::SelectStmt(mut select)) = statement else {
        return Err(unsupported::rewrite_not_possible());
    };
    match select.target_list.pop().and_then(|target| target.node) {
        Some(NodeEnum::ResTarget(target)) => target
            .val
            .map(|value| *value)
            .ok_or_else(unsupported::rewrite_not_possible),
        _ => Err(unsupported::rewrite_not_possible()),
    }
}
