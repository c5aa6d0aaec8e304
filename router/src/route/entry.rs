//! The values of a unique key to the bucket of their entry.

use topology::{BUCKETS, BucketId, Key};

use super::value::{Evaluation, Value};
use super::{Arguments, Encoding};
use crate::plan::by_entry::EntryRoute;

/// What is known of an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct EntryOf {
    pub bucket: BucketId,
    /// The values in text form, as the key compares them.
    pub values: Vec<Vec<u8>>,
}

/// Computes the values. `None`: not exactly computable here, or there is no such entry (NULL).
pub fn entry(route: &EntryRoute, arguments: Arguments<'_>, encoding: Encoding) -> Option<EntryOf> {
    let mut hash: u64 = 0;
    let mut values = Vec::with_capacity(route.columns.len());
    for (expression, key_type) in &route.columns {
        let evaluation = Evaluation {
            key_type: *key_type,
            arguments,
            ids: &[],
        };
        let value: Value<'_> = evaluation.value(expression);
        let key = value.as_key(*key_type).ok()?;
        if matches!(key, Key::Text(text) if encoding == Encoding::Other && !text.is_ascii()) {
            return None;
        }
        // As hash_record_extended does it (rowtypes.c).
        hash = hash.wrapping_mul(31).wrapping_add(key.hash());
        values.push(text(key));
    }
    let bucket = u16::try_from(hash % u64::from(BUCKETS)).ok()?;
    Some(EntryOf {
        bucket: BucketId(bucket),
        values,
    })
}

fn text(key: Key<'_>) -> Vec<u8> {
    match key {
        Key::Int(value) => value.to_string().into_bytes(),
        Key::Text(text) => text.to_vec(),
        Key::Uuid(bytes) => format!("{:032x}", u128::from_be_bytes(bytes)).into_bytes(),
    }
}
