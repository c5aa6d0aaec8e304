//! Oids inside the rows of one shard, where they are not the home shard's: in binary arrays and
//! composites of types made by users.

use bytes::{Bytes, BytesMut};
use schema::oids::{Direction, OidMap};
use wire::Format;
use wire::backend::RowDescription;

/// The columns of a result whose values must be rewritten: their types, in the home shard's oids.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) struct RowOids {
    types: Vec<Option<u32>>,
}

impl RowOids {
    /// By a shard's own description. `None`: the rows are right as they are.
    pub fn of(description: &RowDescription<'_>, oids: &OidMap) -> Option<Self> {
        let columns = description.fields().map(|field| {
            let home = oids.type_oid(field.type_oid, Direction::ToHome);
            (home, field.format)
        });
        Self::of_columns(columns, oids)
    }

    /// By each column's type, in the home shard's oids, and format. `None`: the rows are right as
    /// they are.
    pub fn of_columns(columns: impl Iterator<Item = (u32, Format)>, oids: &OidMap) -> Option<Self> {
        let rewritten = |(home, format): (u32, Format)| {
            (format == Format::Binary && oids.needs_rewriting(home)).then_some(home)
        };
        let types: Vec<_> = columns.map(rewritten).collect();
        types.iter().any(Option::is_some).then_some(Self { types })
    }

    /// The body of a DataRow with the home shard's oids.
    pub fn rewrite(&self, oids: &OidMap, body: &Bytes) -> Bytes {
        let mut row = BytesMut::from(&body[..]);
        self.rewrite_in_place(oids, &mut row);
        row.freeze()
    }

    /// The same in the body itself. One that is not well formed is left alone.
    pub fn rewrite_in_place(&self, oids: &OidMap, row: &mut [u8]) {
        let mut at = 2;
        for type_ in &self.types {
            let Some(length) = row.get(at..at + 4) else {
                break;
            };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            at += 4;
            // Negative: NULL.
            let length = usize::try_from(length).unwrap_or(0);
            let Some(value) = row.get_mut(at..at + length) else {
                break;
            };
            if let Some(home) = type_ {
                oids.rewrite(*home, value, Direction::ToHome);
            }
            at += length;
        }
    }
}
