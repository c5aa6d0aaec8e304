//! Oids inside the rows of one shard, where they are not the home shard's: in binary arrays and
//! composites of types made by users.

use bytes::{Bytes, BytesMut};
use schema::oids::{Direction, OidMap};
use wire::Format;
use wire::backend::RowDescription;

/// The columns of a result whose values must be rewritten: their types, in the home shard's oids.
#[derive(Debug)]
pub(super) struct RowOids {
    types: Vec<Option<u32>>,
}

impl RowOids {
    /// `None`: the rows are right as they are.
    pub fn of(description: &RowDescription<'_>, oids: &OidMap) -> Option<Self> {
        let type_of = |field: wire::backend::Field<'_>| {
            let home = oids.type_oid(field.type_oid, Direction::ToHome);
            let rewritten = field.format == Format::Binary && oids.needs_rewriting(home);
            rewritten.then_some(home)
        };
        let types: Vec<_> = description.fields().map(type_of).collect();
        types.iter().any(Option::is_some).then_some(Self { types })
    }

    /// The body of a DataRow with the home shard's oids. One that is not well formed is left alone.
    pub fn rewrite(&self, oids: &OidMap, body: &Bytes) -> Bytes {
        let mut row = BytesMut::from(&body[..]);
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
        row.freeze()
    }
}
