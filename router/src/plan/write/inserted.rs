//! What the INSERT clauses of a MERGE give values to, and what they leave to defaults.

use pg_query::NodeEnum;
use pg_query::protobuf::{CmdType, MergeStmt, MergeWhenClause, Node};
use schema::{DefaultValue, Relation};

/// The first column that some INSERT clause leaves to a default of this kind.
pub(super) fn left_to_default<'a>(
    merge: &MergeStmt,
    relation: &'a Relation,
    kind: impl Fn(&DefaultValue) -> bool,
) -> Option<&'a str> {
    let inserts = merge.merge_when_clauses.iter().filter_map(inserting);
    let left = |clause: &MergeWhenClause| {
        let mut columns = relation.columns.iter().enumerate();
        columns.find_map(|(index, column)| {
            let left = kind(&column.default) && !is_given(clause, index, &column.name);
            left.then_some(column.name.as_str())
        })
    };
    inserts.into_iter().find_map(left)
}

fn inserting(clause: &Node) -> Option<&MergeWhenClause> {
    match clause.node.as_ref()? {
        NodeEnum::MergeWhenClause(clause) if clause.command_type() == CmdType::CmdInsert => {
            Some(clause)
        }
        _ => None,
    }
}

/// Whether MERGE's INSERT gives the column a value.
fn is_given(clause: &MergeWhenClause, index: usize, name: &str) -> bool {
    let place = match clause.target_list.is_empty() {
        true => Some(index),
        false => clause
            .target_list
            .iter()
            .position(|target| assigned(target) == Some(name)),
    };
    let value = place.and_then(|place| clause.values.get(place));
    value.is_some_and(|value| !matches!(value.node, Some(NodeEnum::SetToDefault(_))))
}

/// The column that an item of a SET or column list names.
pub(super) fn assigned(target: &Node) -> Option<&str> {
    match target.node.as_ref()? {
        NodeEnum::ResTarget(target) => Some(&target.name),
        _ => None,
    }
}
