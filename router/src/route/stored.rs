//! The shards of rows that are about to be stored, by their keys in binary form. Stricter than a comparison: a
//! value that assignment changes is not taken for what it will be.

use schema::KeyType;
use topology::{Key, ShardMap};
use wire::Format;

use super::value::{Value, declared};
use super::{Encoding, Target, place_key};

/// What the key column does to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub key_type: KeyType,
    /// `varchar(n)`: spaces beyond the length are cut off.
    pub has_length: bool,
}

/// The shard of a row whose key is this value of type `type_oid`. Unknown: of another type than the key's, or
/// changed when it is stored.
pub fn target(
    value: Option<&[u8]>,
    type_oid: u32,
    column: Column,
    encoding: Encoding,
    map: &ShardMap,
) -> Target {
    let Some(bytes) = value else {
        return Target::Nowhere;
    };
    let value = declared(bytes, Format::Binary, type_oid);
    let cut = |text: &[u8]| column.has_length && text.ends_with(b" ");
    let key = match (&value, column.key_type) {
        (Value::Integer { value, .. }, KeyType::Int2 | KeyType::Int4 | KeyType::Int8) => {
            Key::Int(*value)
        }
        (Value::Text(text), KeyType::Text | KeyType::Varchar) if !cut(text) => Key::Text(text),
        (Value::Uuid(bytes), KeyType::Uuid) => Key::Uuid(*bytes),
        (Value::Invalid, _) => return Target::Nowhere,
        _ => return Target::Unknown,
    };
    place_key(key, encoding, map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scope::{INT4, TEXT};
    use topology::ShardId;

    const NUMERIC: u32 = 1700;

    fn at(value: Option<&[u8]>, type_oid: u32, key_type: KeyType, has_length: bool) -> Target {
        let shard = ShardId(3);
        let map = ShardMap::new(1, shard, vec![shard], vec![shard; 4096]).unwrap();
        let column = Column {
            key_type,
            has_length,
        };
        target(value, type_oid, column, Encoding::Utf8, &map)
    }

    #[test]
    fn a_value_of_the_keys_family_tells_the_shard() {
        let here = Target::Shard(ShardId(3));
        assert_eq!(at(Some(&[0, 0, 0, 7]), INT4, KeyType::Int8, false), here);
        assert_eq!(at(Some(b"a "), TEXT, KeyType::Text, false), here);
        assert_eq!(at(None, INT4, KeyType::Int8, false), Target::Nowhere);
    }

    #[test]
    fn a_value_that_assignment_changes_does_not() {
        let value = Some(b"a ".as_slice());
        assert_eq!(at(value, TEXT, KeyType::Varchar, true), Target::Unknown);
        assert_eq!(at(value, NUMERIC, KeyType::Int8, false), Target::Unknown);
        assert_eq!(
            at(Some(&[0, 0, 0, 7]), INT4, KeyType::Text, false),
            Target::Unknown
        );
    }
}
