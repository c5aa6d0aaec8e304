//! `lower(...)` and `upper(...)`, the calls that unique keys of e-mail addresses and names are about: in a statement, and in
//! the expressions of a key as PostgreSQL prints them.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node};
use schema::{Relation, UniqueKey};

use super::scope::{self, TEXT, plain_type, string};
use crate::parse;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    Lower,
    Upper,
}

/// One column of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPart {
    /// Index among the relation's columns.
    Column(usize),
    Folded(Fold, usize),
}

/// A call with one argument, and the argument.
pub fn call(node: &Node) -> Option<(Fold, &Node)> {
    let Some(NodeEnum::FuncCall(call)) = node.node.as_ref() else {
        return None;
    };
    let fold = match scope::function_name(call)? {
        (None | Some("pg_catalog"), "lower") => Fold::Lower,
        (None | Some("pg_catalog"), "upper") => Fold::Upper,
        _ => return None,
    };
    let [argument] = call.args.as_slice() else {
        return None;
    };
    is_plain(call).then_some((fold, argument))
}

fn is_plain(call: &FuncCall) -> bool {
    !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic
        && call.agg_order.is_empty()
        && call.agg_filter.is_none()
        && call.over.is_none()
}

/// The columns and expressions of a key; `None`: one of them is something else.
pub fn parts(key: &UniqueKey, relation: &Relation) -> Option<Vec<KeyPart>> {
    if !key.columns.is_empty() {
        return Some(key.columns.iter().copied().map(KeyPart::Column).collect());
    }
    let text = format!("SELECT {}", key.entries.as_ref()?.columns);
    let Some(NodeEnum::SelectStmt(select)) = parse::parse(&text).ok()?.pop().map(|one| one.node)
    else {
        return None;
    };
    let parts = select
        .target_list
        .iter()
        .map(|item| match item.node.as_ref()? {
            NodeEnum::ResTarget(item) => part(item.val.as_deref()?, relation),
            _ => None,
        });
    parts.collect()
}

/// One column or call of a statement's list of such.
pub fn part(node: &Node, relation: &Relation) -> Option<KeyPart> {
    match call(node) {
        Some((fold, argument)) => Some(KeyPart::Folded(fold, column(argument, relation)?)),
        None => column(node, relation).map(KeyPart::Column),
    }
}

/// `name`, or `name::text`, as PostgreSQL prints a varchar that is read as text.
fn column(node: &Node, relation: &Relation) -> Option<usize> {
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => match column.fields.as_slice() {
            [name] => relation.column(string(name)?),
            _ => None,
        },
        NodeEnum::TypeCast(cast) if plain_type(cast.type_name.as_ref()?) == Some(TEXT) => {
            let inner = column(cast.arg.as_deref()?, relation)?;
            relation.columns.get(inner)?.key_type().map(|_| inner)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use schema::{Column, Entries};

    use super::*;

    fn parts_of(columns: &str) -> Option<Vec<KeyPart>> {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            type_oid,
            ..Column::default()
        };
        let relation = Relation {
            columns: vec![column("id", 20), column("email", 1043)],
            ..Relation::default()
        };
        let key = UniqueKey {
            entries: Some(Entries {
                columns: columns.to_owned(),
                ..Entries::default()
            }),
            ..UniqueKey::default()
        };
        parts(&key, &relation)
    }

    #[test]
    fn what_a_key_is_about_is_read_from_what_postgresql_prints() {
        let lower = KeyPart::Folded(Fold::Lower, 1);
        assert_eq!(parts_of("lower(email::text)"), Some(vec![lower]));
        assert_eq!(
            parts_of("id, upper(email)"),
            Some(vec![KeyPart::Column(0), KeyPart::Folded(Fold::Upper, 1)])
        );
        for other in [
            "lower(email || 'x')",
            "lower(email) COLLATE \"C\"",
            "email || ''",
            "other.lower(email)",
            "lower(none)",
        ] {
            assert_eq!(parts_of(other), None, "{other}");
        }
    }
}
