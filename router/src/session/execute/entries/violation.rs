//! A unique violation of an entry, told as one of the user's own key. Takes and gives whole ErrorResponse messages.

use bytes::{BufMut, Bytes, BytesMut};
use schema::{Relation, Snapshot, UniqueKey};
use wire::backend::{ErrorResponse, field, tag};

/// The number of the key whose entry is taken; `None`: the error is about something else.
pub(super) fn number(message: &[u8]) -> Option<u32> {
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    let index = text(&error, field::CONSTRAINT)?;
    let number = index.strip_prefix("unique_")?.strip_suffix("_values")?;
    (error.sqlstate() == wire::sqlstate::UNIQUE_VIOLATION).then_some(())?;
    number.parse().ok()
}

/// The error in the words of the user's key; `None`: it is about something else.
pub(super) fn in_users_words(message: &[u8], snapshot: &Snapshot) -> Option<Bytes> {
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    let index = text(&error, field::CONSTRAINT)?;
    let number = index.strip_prefix("unique_")?.strip_suffix("_values")?;
    let (relation, key) = find(snapshot, number.parse().ok()?)?;
    let columns = &key.entries.as_ref()?.columns;
    let mut fields = BytesMut::new();
    for (code, value) in error.fields() {
        let value = String::from_utf8_lossy(value);
        let told = match code {
            field::MESSAGE => value.replacen(&index, &key.name, 1),
            field::DETAIL => with_columns(&value, columns),
            field::SCHEMA => relation.schema.clone(),
            field::TABLE => relation.name.clone(),
            field::CONSTRAINT => key.name.clone(),
            // Where the router's own statement stood.
            field::WHERE | field::INTERNAL_QUERY | field::INTERNAL_POSITION | field::POSITION => {
                continue;
            }
            _ => value.into_owned(),
        };
        put(&mut fields, code, &told);
    }
    fields.put_u8(0);
    Some(message_of(&fields))
}

/// A unique violation while an index is made: PostgreSQL's words for it (`comparetup_index_btree`, tuplesort.c).
pub(super) fn of_new_index(message: Bytes) -> Bytes {
    match told_of_new_index(&message) {
        Some(told) => told,
        None => message,
    }
}

fn told_of_new_index(message: &[u8]) -> Option<Bytes> {
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    if error.sqlstate() != wire::sqlstate::UNIQUE_VIOLATION {
        return None;
    }
    let index = text(&error, field::CONSTRAINT)?;
    let mut fields = BytesMut::new();
    for (code, value) in error.fields() {
        let value = String::from_utf8_lossy(value);
        let told = match code {
            field::MESSAGE => format!("could not create unique index \"{index}\""),
            field::DETAIL => value.replace(" already exists.", " is duplicated."),
            _ => value.into_owned(),
        };
        put(&mut fields, code, &told);
    }
    fields.put_u8(0);
    Some(message_of(&fields))
}

fn put(fields: &mut BytesMut, code: u8, value: &str) {
    fields.put_u8(code);
    fields.put_slice(value.as_bytes());
    fields.put_u8(0);
}

fn message_of(fields: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(fields.len() + 5);
    message.put_u8(tag::ERROR_RESPONSE);
    // An error is far shorter than the protocol's bound.
    message.put_u32(u32::try_from(fields.len() + 4).unwrap_or(u32::MAX));
    message.put_slice(fields);
    message.freeze()
}

fn text(error: &ErrorResponse<'_>, code: u8) -> Option<String> {
    let value = error.field(code)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// `Key (v1, v2)=(1, 2) already exists.`, in any language, with the key's own columns.
fn with_columns(detail: &str, columns: &str) -> String {
    let Some(start) = detail.find("(v1") else {
        return detail.to_owned();
    };
    let Some(end) = detail[start..].find(")=(") else {
        return detail.to_owned();
    };
    let (before, after) = (&detail[..=start], &detail[start + end..]);
    format!("{before}{columns}{after}")
}

fn find(snapshot: &Snapshot, number: u32) -> Option<(&Relation, &UniqueKey)> {
    let relations = snapshot.relations.values().flat_map(|named| named.values());
    relations
        .filter(|relation| relation.changes_entries)
        .find_map(|relation| {
            let is_it = |key: &&UniqueKey| {
                let entries = key.entries.as_ref();
                entries.is_some_and(|entries| entries.number == number)
            };
            let key = relation.unique_keys.iter().find(is_it)?;
            Some((&**relation, key))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_the_entry_become_those_of_the_key() {
        let detail = "Key (v1, v2)=((v1)=(x, 2) already exists.";
        assert_eq!(
            with_columns(detail, "lower(email), age"),
            "Key (lower(email), age)=((v1)=(x, 2) already exists."
        );
        assert_eq!(with_columns("something else", "a"), "something else");
    }
}
