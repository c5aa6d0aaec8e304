//! What asks a PostgreSQL for the entries that rows of VALUES would have of keys over shards: for a row that violates
//! what its own shard keeps, while the row in conflict may be on another one. Takes rows as they stand in the text; gives
//! the pieces of SELECTs.

use pg_query::protobuf::Node;
use schema::{DefaultValue, UniqueKey};

use super::rows::RowLayout;
use super::target::Target;
use super::{Job, is_default, items, query_source};
use crate::plan::edits::Edits;
use crate::plan::functions::Calls;
use crate::plan::tokens::Tokens;
use crate::plan::upsert::EntryLookup;
use crate::plan::{Piece, names};

/// Of each key that arbitrates. None where values are read from tables, or made by what may write: they are computed
/// once more.
pub(super) fn all(
    job: &Job<'_>,
    target: &Target,
    arbiters: &[&UniqueKey],
    rows: &[(&Node, &RowLayout)],
    edits: &Edits,
    tokens: &Tokens<'_>,
) -> Vec<EntryLookup> {
    if job.facts.sublinks > 0 || Calls::of(job.facts, job.context).may_write(job.context) {
        return Vec::new();
    }
    let of_key = |key: &&UniqueKey| {
        let row = |(row, at): &(&Node, &RowLayout)| query(key, target, row, at, edits, tokens);
        Some(EntryLookup {
            number: key.entries.as_ref()?.number,
            rows: rows.iter().map(row).collect(),
        })
    };
    arbiters.iter().filter_map(of_key).collect()
}

/// `None`: a default makes a value of the key.
fn query(
    key: &UniqueKey,
    target: &Target,
    row: &Node,
    at: &RowLayout,
    edits: &Edits,
    tokens: &Tokens<'_>,
) -> Option<Vec<Piece>> {
    let entries = key.entries.as_ref()?;
    let mut pieces = vec![Piece::Text(format!(
        "SELECT w.bucket, w.entry FROM oskol.wanted_{}((SELECT pg_catalog.json_agg(pg_catalog.row_to_json(r)) FROM (SELECT ",
        entries.number
    ))];
    let mut separator = "(";
    for &index in entries.reads.as_ref()? {
        let column = target.relation.columns.get(index)?;
        let position = target.position(index);
        let given = position.and_then(|position| Some((items(row).get(position)?, position)));
        match given.filter(|(value, _)| !is_default(value)) {
            Some((_, position)) => {
                pieces.push(Piece::Text(separator.to_owned()));
                pieces.extend(edits.apply_with_parameters(tokens, at.items.get(position)?.clone()));
                let (type_name, name) = (
                    query_source::plain_type(column),
                    names::quote_identifier(&column.name),
                );
                pieces.push(Piece::Text(format!(")::{type_name} AS {name}")));
                separator = ", (";
            }
            None if column.default == DefaultValue::None => {}
            None => return None,
        }
    }
    pieces.push(Piece::Text(") r)) w".to_owned()));
    // An id that the router takes is nobody else's.
    let is_plain = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Parameter(_));
    (separator != "(" && pieces.iter().all(is_plain)).then_some(pieces)
}
