//! Keys that a statement lists, and how key expressions compare.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::{Family, ListedKeys};
use crate::plan::KeyExpr;
use crate::plan::key::{self, Constant};
use crate::plan::scope::array_element;

pub(super) fn read_all(nodes: &[Node]) -> Option<Vec<KeyExpr>> {
    nodes.iter().map(key::read).collect()
}

/// An array of keys: `ARRAY[...]`, `'{...}'`, `$n`, each with a cast to an array of a key type or not.
pub(super) fn array(node: &Node) -> Option<ListedKeys> {
    match node.node.as_ref()? {
        NodeEnum::AArrayExpr(array) => read_all(&array.elements)
            .filter(|keys| !keys.is_empty())
            .map(ListedKeys::Each),
        NodeEnum::TypeCast(cast) => {
            let name = cast.type_name.as_ref()?;
            match array(cast.arg.as_deref()?)? {
                ListedKeys::Each(keys) => {
                    let element = array_element(name)?;
                    let cast = keys
                        .into_iter()
                        .map(|key| cast_element(key, element))
                        .collect::<Option<_>>()?;
                    Some(ListedKeys::Each(cast))
                }
                ListedKeys::Array(key) => {
                    cast_element(key, array_element(name)?).map(ListedKeys::Array)
                }
            }
        }
        NodeEnum::ParamRef(_) | NodeEnum::AConst(_) => key::read(node).and_then(|key| match key {
            KeyExpr::Parameter { .. }
            | KeyExpr::Literal {
                value: Constant::String(_) | Constant::Null,
                ..
            } => Some(ListedKeys::Array(key)),
            _ => None,
        }),
        _ => None,
    }
}

/// The cast of an array is that of its elements; of an array value the element's oid is kept too.
fn cast_element(key: KeyExpr, element: u32) -> Option<KeyExpr> {
    match key {
        KeyExpr::Parameter {
            number,
            cast_to: None,
        } => Some(KeyExpr::Parameter {
            number,
            cast_to: Some(element),
        }),
        KeyExpr::Literal {
            location,
            negative,
            cast_to: None,
            value,
        } => Some(KeyExpr::Literal {
            location,
            negative,
            cast_to: Some(element),
            value,
        }),
        KeyExpr::Literal {
            cast_to: Some(already),
            ..
        }
        | KeyExpr::Parameter {
            cast_to: Some(already),
            ..
        } if already == element => Some(key),
        _ => None,
    }
}

/// Whether `column = expression` compares within the family, by the types that are written down.
pub(super) fn is_comparable(expression: &KeyExpr, family: Family) -> bool {
    let cast_fits =
        |cast: &Option<u32>| cast.is_none_or(|oid| Family::of_type(oid) == Some(family));
    match expression {
        KeyExpr::Parameter { cast_to, .. } | KeyExpr::SharedParameter { cast_to, .. } => {
            cast_fits(cast_to)
        }
        KeyExpr::Literal {
            cast_to: cast @ Some(_),
            ..
        } => cast_fits(cast),
        KeyExpr::Literal {
            value: Constant::Integer(_) | Constant::Numeric(_),
            ..
        } => family == Family::Integer,
        KeyExpr::Literal {
            value: Constant::String(_) | Constant::Null,
            ..
        } => true,
        KeyExpr::Literal {
            value: Constant::Boolean(_),
            ..
        } => false,
        KeyExpr::Arithmetic { .. } | KeyExpr::GeneratedId(_) => family == Family::Integer,
    }
}

/// The same but for where it stands.
pub(super) fn is_same_value(left: &KeyExpr, right: &KeyExpr) -> bool {
    match (left, right) {
        (
            KeyExpr::Literal {
                negative,
                cast_to,
                value,
                ..
            },
            KeyExpr::Literal {
                negative: other_negative,
                cast_to: other_cast,
                value: other,
                ..
            },
        ) => negative == other_negative && cast_to == other_cast && value == other,
        (
            KeyExpr::Arithmetic {
                operator,
                left,
                right,
            },
            KeyExpr::Arithmetic {
                operator: other,
                left: other_left,
                right: other_right,
            },
        ) => {
            operator == other
                && is_same_value(left, other_left)
                && is_same_value(right, other_right)
        }
        _ => left == right,
    }
}
