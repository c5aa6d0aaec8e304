//! A row's value for the shard key. Takes an expression; gives a [`KeyExpr`] that is the value stored, or
//! `None` where the router cannot know it exactly. Stricter than a comparison in WHERE: a value that is
//! stored goes through an assignment cast, which rounds numbers and prints integers into text.

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, AExpr, Node, TypeCast, a_const};
use schema::KeyType;

use crate::plan::key::{Arithmetic, Constant};
use crate::plan::{KeyExpr, names, scope};

/// The key that `value` stores in a column of `key_type`.
pub fn read(value: &Node, key_type: KeyType) -> Option<KeyExpr> {
    let key = expression(value)?;
    fits(&key, key_type).then_some(key)
}

fn expression(value: &Node) -> Option<KeyExpr> {
    match value.node.as_ref()? {
        NodeEnum::ParamRef(parameter) => Some(KeyExpr::Parameter {
            number: u16::try_from(parameter.number).ok()?,
            cast_to: None,
        }),
        NodeEnum::AConst(constant) => literal(constant),
        NodeEnum::TypeCast(cast) => with_cast(cast),
        NodeEnum::AExpr(expression) => arithmetic(expression),
        _ => None,
    }
}

fn literal(constant: &AConst) -> Option<KeyExpr> {
    let value = match constant.val.as_ref() {
        None => Constant::Null,
        Some(a_const::Val::Ival(value)) => Constant::Integer(value.ival.into()),
        Some(a_const::Val::Fval(value)) => Constant::Integer(value.fval.parse().ok()?),
        Some(a_const::Val::Sval(value)) => Constant::String(value.sval.clone()),
        Some(a_const::Val::Boolval(_) | a_const::Val::Bsval(_)) => return None,
    };
    let location = u32::try_from(constant.location).ok()?;
    Some(KeyExpr::Literal {
        location,
        negative: false,
        cast_to: None,
        value,
    })
}

fn with_cast(cast: &TypeCast) -> Option<KeyExpr> {
    let to = scope::plain_type(cast.type_name.as_ref()?)?;
    match expression(cast.arg.as_deref()?)? {
        KeyExpr::Parameter {
            number,
            cast_to: None,
        } => Some(KeyExpr::Parameter {
            number,
            cast_to: Some(to),
        }),
        KeyExpr::Literal {
            location,
            negative,
            cast_to: None,
            value,
        } => Some(KeyExpr::Literal {
            location,
            negative,
            cast_to: Some(to),
            value,
        }),
        _ => None,
    }
}

fn arithmetic(node: &AExpr) -> Option<KeyExpr> {
    let [operator] = names::strings(&node.name)[..] else {
        return None;
    };
    let right = expression(node.rexpr.as_deref()?)?;
    let Some(left) = node.lexpr.as_deref() else {
        return (operator == "-").then(|| negated(right)).flatten();
    };
    let operator = match operator {
        "+" => Arithmetic::Add,
        "-" => Arithmetic::Subtract,
        "*" => Arithmetic::Multiply,
        _ => return None,
    };
    Some(KeyExpr::Arithmetic {
        operator,
        left: Box::new(expression(left)?),
        right: Box::new(right),
    })
}

fn negated(key: KeyExpr) -> Option<KeyExpr> {
    match key {
        KeyExpr::Literal {
            location,
            negative: false,
            cast_to: None,
            value: Constant::Integer(value),
        } => {
            let value = Constant::Integer(value.checked_neg()?);
            Some(KeyExpr::Literal {
                location,
                negative: true,
                cast_to: None,
                value,
            })
        }
        _ => None,
    }
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
        // A text longer than varchar(n) loses its trailing spaces when stored.
        KeyExpr::Literal {
            value: Constant::String(text),
            ..
        } => key_type != KeyType::Varchar || !text.ends_with(' '),
        _ => true,
    }
}
