//! An expression of the parse tree as a [`KeyExpr`], where it is one.

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, AExpr, AExprKind, Node, a_const};

use super::{Arithmetic, Constant, KeyExpr};
use crate::plan::scope::{INT2, INT4, INT8, plain_type, string};

/// Reads constants, parameters, casts of either to a plain key type, and `+`, `-`, `*` of integers.
/// `None`: anything else, whose value only a PostgreSQL can tell.
pub fn read(node: &Node) -> Option<KeyExpr> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => literal(constant),
        NodeEnum::ParamRef(parameter) => Some(KeyExpr::Parameter {
            number: u16::try_from(parameter.number).ok()?,
            cast_to: None,
        }),
        NodeEnum::TypeCast(cast) => {
            let to = plain_type(cast.type_name.as_ref()?)?;
            with_cast(read(cast.arg.as_deref()?)?, to)
        }
        NodeEnum::AExpr(expression) => arithmetic(expression),
        _ => None,
    }
}

/// One cast around a bare literal or parameter; a second one may change the value on the way.
fn with_cast(inner: KeyExpr, to: u32) -> Option<KeyExpr> {
    match inner {
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

fn literal(constant: &AConst) -> Option<KeyExpr> {
    let (negative, value) = if constant.isnull {
        (false, Constant::Null)
    } else {
        value(constant.val.as_ref()?)?
    };
    let location = u32::try_from(constant.location).ok()?;
    Some(KeyExpr::Literal {
        location,
        negative,
        cast_to: None,
        value,
    })
}

/// The grammar folds a minus into the number after it; here it is apart again.
fn value(constant: &a_const::Val) -> Option<(bool, Constant)> {
    match constant {
        a_const::Val::Ival(number) => Some((
            number.ival < 0,
            Constant::Integer(i64::from(number.ival).abs()),
        )),
        a_const::Val::Fval(number) => {
            let (negative, digits) = match number.fval.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, number.fval.as_str()),
            };
            let value = digits
                .parse()
                .map_or_else(|_| Constant::Numeric(digits.to_owned()), Constant::Integer);
            Some((negative, value))
        }
        a_const::Val::Boolval(value) => Some((false, Constant::Boolean(value.boolval))),
        a_const::Val::Sval(value) => Some((false, Constant::String(value.sval.clone()))),
        a_const::Val::Bsval(_) => None,
    }
}

fn arithmetic(expression: &AExpr) -> Option<KeyExpr> {
    if expression.kind() != AExprKind::AexprOp {
        return None;
    }
    let [name] = expression.name.as_slice() else {
        return None;
    };
    let operator = match string(name)? {
        "+" => Arithmetic::Add,
        "-" => Arithmetic::Subtract,
        "*" => Arithmetic::Multiply,
        _ => return None,
    };
    let right = read(expression.rexpr.as_deref()?)?;
    match expression.lexpr.as_deref() {
        Some(left) => {
            let left = read(left)?;
            // Two untyped operands have no operator that PostgreSQL would choose.
            (may_be_integer(&left)
                && may_be_integer(&right)
                && (is_typed(&left) || is_typed(&right)))
            .then(|| KeyExpr::Arithmetic {
                operator,
                left: Box::new(left),
                right: Box::new(right),
            })
        }
        None if operator == Arithmetic::Add && is_typed(&right) => Some(right),
        // `- (1 + 2)`, `- $1`: 0 - x has the same value and, but for int2, the same type.
        None => None,
    }
}

fn may_be_integer(operand: &KeyExpr) -> bool {
    match operand {
        KeyExpr::Parameter { cast_to, .. } => cast_to.is_none_or(is_integer),
        KeyExpr::Literal {
            value: Constant::Integer(_),
            cast_to,
            ..
        } => cast_to.is_none_or(is_integer),
        KeyExpr::Literal {
            value: Constant::String(_),
            cast_to: Some(to),
            ..
        } => is_integer(*to),
        KeyExpr::Arithmetic { .. } => true,
        _ => false,
    }
}

fn is_typed(operand: &KeyExpr) -> bool {
    match operand {
        KeyExpr::Parameter { cast_to, .. } => cast_to.is_some(),
        KeyExpr::Literal {
            value: Constant::Integer(_),
            ..
        } => true,
        KeyExpr::Literal { cast_to, .. } => cast_to.is_some(),
        KeyExpr::Arithmetic { .. } => true,
        _ => false,
    }
}

fn is_integer(oid: u32) -> bool {
    matches!(oid, INT2 | INT4 | INT8)
}
