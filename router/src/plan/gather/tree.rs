//! Small parse trees made by hand, as the grammar would make them. Knows nothing of what they are for.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, Alias, BoolExpr, BoolExprType, Boolean, ColumnRef, LimitOption, Node, RangeVar,
    ResTarget, SelectStmt, SetOperation, String as StringNode, a_const,
};

pub fn node(inner: NodeEnum) -> Node {
    Node { node: Some(inner) }
}

pub fn string(text: &str) -> Node {
    node(NodeEnum::String(StringNode {
        sval: text.to_owned(),
    }))
}

/// `a`, or `t.a`.
pub fn column(parts: &[&str]) -> Node {
    node(NodeEnum::ColumnRef(ColumnRef {
        fields: parts.iter().map(|part| string(part)).collect(),
        location: -1,
    }))
}

/// An item of a select list, `value AS name`; without `AS` where the name is empty.
pub fn target(value: Node, name: &str) -> Node {
    node(NodeEnum::ResTarget(Box::new(ResTarget {
        name: name.to_owned(),
        indirection: Vec::new(),
        val: Some(Box::new(value)),
        location: -1,
    })))
}

/// `schema.name AS alias (columns)`.
pub fn table(schema: &str, name: &str, alias: &str, columns: &[&str]) -> Node {
    node(NodeEnum::RangeVar(RangeVar {
        schemaname: schema.to_owned(),
        relname: name.to_owned(),
        inh: true,
        relpersistence: "p".to_owned(),
        alias: Some(Alias {
            aliasname: alias.to_owned(),
            colnames: columns.iter().map(|column| string(column)).collect(),
        }),
        ..RangeVar::default()
    }))
}

/// All of them joined by AND; `None`: there is none.
pub fn all_of(mut tests: Vec<Node>) -> Option<Node> {
    match tests.len() {
        0 | 1 => tests.pop(),
        _ => Some(node(NodeEnum::BoolExpr(Box::new(BoolExpr {
            boolop: BoolExprType::AndExpr as i32,
            args: tests,
            ..BoolExpr::default()
        })))),
    }
}

/// `SELECT targets FROM from WHERE filter`.
pub fn select(targets: Vec<Node>, from: Vec<Node>, filter: Option<Node>) -> SelectStmt {
    SelectStmt {
        target_list: targets,
        from_clause: from,
        where_clause: filter.map(Box::new),
        limit_option: LimitOption::Default as i32,
        op: SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    }
}

/// `true`.
pub fn truth() -> Node {
    boolean(true)
}

pub fn boolean(boolval: bool) -> Node {
    let constant = AConst {
        val: Some(a_const::Val::Boolval(Boolean { boolval })),
        isnull: false,
        location: -1,
    };
    node(NodeEnum::AConst(constant))
}
