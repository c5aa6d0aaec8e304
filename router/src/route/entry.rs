//! The values of a unique key to the bucket of their entry.

use topology::{BUCKETS, BucketId, Key};

use super::value::{Evaluation, Value};
use super::{Arguments, Encoding, Target, array};
use crate::plan::by_entry::{EntryList, EntryRoute};
use crate::plan::fold::Fold;
use crate::plan::survey::ListedKeys;

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
    for column in &route.columns {
        let evaluation = Evaluation {
            key_type: column.key_type,
            arguments,
            ids: &[],
        };
        let value: Value<'_> = evaluation.value(&column.value);
        let key = value.as_key(column.key_type).ok()?;
        let folded = column.fold.map(|fold| folded(fold, key));
        let folded = match folded {
            Some(folded) => Some(folded?),
            None => None,
        };
        let key = match &folded {
            Some(text) => Key::Text(text.as_bytes()),
            None => key,
        };
        // As hash_record_extended does it (rowtypes.c).
        hash = hash.wrapping_mul(31).wrapping_add(hash_of(key, encoding)?);
        values.push(text(key));
    }
    Some(EntryOf {
        bucket: bucket(hash)?,
        values,
    })
}

/// Computes the values of a list, each once; NULL, which equals nothing, is left out. `None`: one is not exactly computable.
pub fn listed(
    list: &EntryList,
    arguments: Arguments<'_>,
    encoding: Encoding,
) -> Option<Vec<EntryOf>> {
    let mut entries: Vec<EntryOf> = Vec::new();
    let mut add = |value: &Value<'_>| match value.as_key(list.key_type) {
        Ok(key) => match one(key, encoding) {
            Some(entry) => {
                entries.push(entry);
                true
            }
            None => false,
        },
        Err(target) => target == Target::Nowhere,
    };
    match &list.keys {
        ListedKeys::Array(keys) => {
            array::for_each(keys, list.key_type, arguments, |value| add(&value))?;
        }
        ListedKeys::Each(keys) => {
            let evaluation = Evaluation {
                key_type: list.key_type,
                arguments,
                ids: &[],
            };
            let mut keys = keys.iter();
            keys.all(|key| add(&evaluation.value(key))).then_some(())?;
        }
    }
    entries.sort_unstable_by(|one, other| one.values.cmp(&other.values));
    entries.dedup_by(|one, other| one.values == other.values);
    Some(entries)
}

fn one(key: Key<'_>, encoding: Encoding) -> Option<EntryOf> {
    Some(EntryOf {
        bucket: bucket(hash_of(key, encoding)?)?,
        values: vec![text(key)],
    })
}

fn hash_of(key: Key<'_>, encoding: Encoding) -> Option<u64> {
    let elsewhere =
        matches!(key, Key::Text(text) if encoding == Encoding::Other && !text.is_ascii());
    (!elsewhere).then(|| key.hash())
}

fn bucket(hash: u64) -> Option<BucketId> {
    let bucket = u16::try_from(hash % u64::from(BUCKETS)).ok()?;
    Some(BucketId(bucket))
}

/// As most collations do it.
fn folded(fold: Fold, key: Key<'_>) -> Option<String> {
    let Key::Text(text) = key else { return None };
    let text = std::str::from_utf8(text).ok()?;
    Some(match fold {
        Fold::Lower => text.to_lowercase(),
        Fold::Upper => text.to_uppercase(),
    })
}

fn text(key: Key<'_>) -> Vec<u8> {
    match key {
        Key::Int(value) => value.to_string().into_bytes(),
        Key::Text(text) => text.to_vec(),
        Key::Uuid(bytes) => format!("{:032x}", u128::from_be_bytes(bytes)).into_bytes(),
    }
}
