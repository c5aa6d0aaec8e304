//! GROUP BY of a primary key lets other columns of its table be selected. Pulled rows have no primary key,
//! so those columns are added to the GROUP BY: the groups stay the same.

use std::collections::HashMap;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::levels;
use crate::plan::names::{integer_constant, quote_identifier};
use crate::plan::survey::{LeafId, LeafKind, Survey, Term};
use crate::plan::tokens::Tokens;

/// A text to insert, and where.
pub(super) type Insertion = (usize, String);

/// What to insert into the statement's text; `pulled`: tables that lose their keys, with their columns.
pub(super) fn additions(
    statement: &NodeEnum,
    tokens: &Tokens<'_>,
    survey: &Survey,
    pulled: &HashMap<LeafId, Vec<usize>>,
) -> Vec<Insertion> {
    let mut insertions = Vec::new();
    levels::each(statement, &mut |level| {
        if let Some(select) = level.select {
            insertions.extend(of_level(select, tokens, survey, pulled));
        }
    });
    insertions
}

fn of_level(
    select: &SelectStmt,
    tokens: &Tokens<'_>,
    survey: &Survey,
    pulled: &HashMap<LeafId, Vec<usize>>,
) -> Option<Insertion> {
    if select.group_distinct {
        return None;
    }
    let grouped: Vec<Term> = select
        .group_clause
        .iter()
        .filter_map(|item| term(item, select, survey))
        .collect();
    let mut names = String::new();
    let mut keyed: Vec<_> = pulled
        .iter()
        .filter(|(leaf, _)| has_key(survey, **leaf, &grouped))
        .collect();
    keyed.sort_by_key(|(leaf, _)| **leaf);
    for (leaf, columns) in keyed {
        for column in columns
            .iter()
            .filter(|column| can_group(survey, *leaf, **column))
        {
            let name = survey.column(*leaf, *column)?.name.as_ref()?;
            let table = &survey.leaf(*leaf).name;
            names.push_str(&format!(
                "{}.{}, ",
                quote_identifier(table),
                quote_identifier(name)
            ));
        }
    }
    (!names.is_empty()).then_some(())?;
    let first = select.group_clause.iter().filter_map(location).min()?;
    let by = (0..tokens.index_at(first)).rev().find(|&index| {
        tokens.is_word(index, "by") && index > 0 && tokens.is_word(index - 1, "group")
    })?;
    Some((tokens.span(by + 1).start, names))
}

/// A plain column among the grouping expressions, which may be named by its place in the select list.
fn term(item: &Node, select: &SelectStmt, survey: &Survey) -> Option<Term> {
    let column = match item.node.as_ref()? {
        NodeEnum::AConst(_) => {
            let place = usize::try_from(integer_constant(item)?)
                .ok()?
                .checked_sub(1)?;
            match select.target_list.get(place)?.node.as_ref()? {
                NodeEnum::ResTarget(target) => target.val.as_deref()?,
                _ => return None,
            }
        }
        _ => item,
    };
    match column.node.as_ref()? {
        NodeEnum::ColumnRef(column) => survey.columns.get(&column.location).copied(),
        _ => None,
    }
}

fn location(item: &Node) -> Option<usize> {
    let location = match item.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.location,
        NodeEnum::AConst(constant) => constant.location,
        _ => return None,
    };
    usize::try_from(location).ok()
}

/// All columns of the table's primary key are grouped by.
fn has_key(survey: &Survey, leaf: LeafId, grouped: &[Term]) -> bool {
    let LeafKind::Table { relation, .. } = &survey.leaf(leaf).kind else {
        return false;
    };
    !survey.leaf(leaf).name.is_empty()
        && relation
            .unique_keys
            .iter()
            .filter(|key| key.primary)
            .any(|key| {
                let mut columns = key.columns.iter();
                columns.all(|column| grouped.contains(&Term::Column(leaf, *column)))
            })
}

/// Types without equality cannot be grouped by: json, xml, point, polygon, and the other shapes.
fn can_group(survey: &Survey, leaf: LeafId, column: usize) -> bool {
    const WITHOUT_EQUALITY: [u32; 3] = [114, 142, 600];
    let LeafKind::Table { relation, .. } = &survey.leaf(leaf).kind else {
        return false;
    };
    relation
        .columns
        .get(column)
        .is_some_and(|column| !WITHOUT_EQUALITY.contains(&column.type_oid))
}
