//! A row's value for the shard key. Takes an expression; gives a [`KeyExpr`] that is the value stored, or
//! `None` where the router cannot know it exactly. Stricter than a comparison in WHERE: a value that is
//! stored goes through an assignment cast, which rounds numbers and prints integers into text.

use pg_query::protobuf::Node;
use schema::KeyType;

use crate::plan::KeyExpr;
use crate::plan::key::{self, Constant};

/// The key that `value` stores in a column of `key_type`.
pub fn read(value: &Node, key_type: KeyType) -> Option<KeyExpr> {
    key::read(value).filter(|key| fits(key, key_type))
}

/// Whether the value is stored as it stands.
fn fits(key: &KeyExpr, key_type: KeyType) -> bool {
    let integer_key = matches!(key_type, KeyType::Int2 | KeyType::Int4 | KeyType::Int8);
    match key {
        KeyExpr::Literal {
            value: Constant::Integer(_),
            ..
        }
        | KeyExpr::Arithmetic { .. } => integer_key,
        KeyExpr::Literal {
            value: Constant::Numeric(_) | Constant::Boolean(_),
            ..
        } => false,
        // A text longer than varchar(n) loses its trailing spaces when stored.
        KeyExpr::Literal {
            value: Constant::String(text),
            ..
        } => key_type != KeyType::Varchar || !text.ends_with(' '),
        _ => true,
    }
}
