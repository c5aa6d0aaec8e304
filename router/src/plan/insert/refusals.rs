//! What an INSERT into a sharded table is refused for.

use pg_query::protobuf::Node;

use super::items;
use crate::error::RouterError;

/// Of the key column `key`.
pub fn unknown_key(key: &str) -> RouterError {
    RouterError::unsupported("insert-key-unknown", "the row's shard is not known before it is inserted")
        .detail(format!(
            "The value for the shard key \"{}\" is not a constant or parameter of its type, or simple arithmetic on them.",
            key
        ))
        .hint("Compute the value first and pass it as a constant or a parameter.")
}

pub fn null_key(key: &str) -> RouterError {
    RouterError::unsupported(
        "shard-key-null",
        "the shard key of a new row may not be null",
    )
    .detail(format!("A row without \"{}\" belongs to no shard.", key))
    .hint("Give the shard key a value, and make the column NOT NULL.")
}

pub fn key_default(key: &str) -> RouterError {
    RouterError::unsupported(
        "insert-key-default",
        "the shard key cannot be left to its default",
    )
    .detail(format!(
        "The default of \"{key}\" would be evaluated on a shard, after the shard is chosen."
    ))
    .hint("Give the value of the shard key in the INSERT.")
}

pub fn insert_select() -> RouterError {
    RouterError::unsupported(
        "insert-select",
        "INSERT of this query's rows is not supported",
    )
    .detail("The router cannot read the rows of the query by itself.")
    .hint("Read the rows first and insert them as VALUES or by COPY.")
}

/// The error PostgreSQL has for rows of other lengths than the columns.
pub fn uneven(rows: &[Node], columns: usize) -> RouterError {
    let lengths: Vec<_> = rows.iter().map(|row| items(row).len()).collect();
    let message = match lengths.as_slice() {
        [first, rest @ ..] if rest.iter().any(|length| length != first) => {
            "VALUES lists must all be the same length"
        }
        [first, ..] if *first > columns => "INSERT has more expressions than target columns",
        _ => "INSERT has more target columns than expressions",
    };
    RouterError::new("42601", message)
}
