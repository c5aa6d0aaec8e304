//! LIMIT and OFFSET over several shards: each shard gives its first LIMIT + OFFSET rows, the merge does
//! the rest.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, a_const};

use crate::error::RouterError;
use crate::merge::RowCount;
use crate::plan::key::{self, Constant, KeyExpr};
use crate::plan::scope::{INT2, INT4, INT8};
use crate::plan::unsupported;

/// Both clauses; `None` where there is none, or it is ALL or NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    limit: Option<RowCount>,
    offset: Option<RowCount>,
    /// Either clause is written down.
    written: bool,
}

pub(super) fn read(select: &SelectStmt) -> Result<Limits, RouterError> {
    let limits = Limits {
        limit: count(select.limit_count.as_deref())?,
        offset: count(select.limit_offset.as_deref())?,
        written: select.limit_count.is_some() || select.limit_offset.is_some(),
    };
    match (&limits.limit, &limits.offset) {
        (Some(RowCount::Constant(limit)), Some(RowCount::Constant(offset))) => {
            let sum = limit
                .checked_add(*offset)
                .filter(|sum| i64::try_from(*sum).is_ok());
            sum.map(|_| limits)
                .ok_or_else(unsupported::limit_expression)
        }
        _ => Ok(limits),
    }
}

impl Limits {
    /// For the merge.
    pub(super) fn counts(&self) -> (Option<RowCount>, Option<RowCount>) {
        (self.limit.clone(), self.offset.clone())
    }

    /// What stands in place of both clauses in the shards' text; `None`: the text may stay.
    pub(super) fn folded(&self) -> Option<String> {
        match (&self.limit, &self.offset) {
            (_, None) => None,
            (None, Some(_)) => Some(String::new()),
            (Some(RowCount::Constant(limit)), Some(RowCount::Constant(offset))) => {
                // The sum was checked when it was read.
                Some(format!("LIMIT {}", limit.saturating_add(*offset)))
            }
            (Some(limit), Some(offset)) => Some(format!("LIMIT {} + {}", sql(limit), sql(offset))),
        }
    }

    /// How many rows of each shard can be among those of all; `None`: any number.
    pub(super) fn first(&self) -> Option<String> {
        match (&self.limit, &self.offset) {
            (None, _) => None,
            (Some(limit), None) => Some(sql(limit)),
            (Some(RowCount::Constant(_)), Some(RowCount::Constant(_))) => {
                Some(self.folded()?.trim_start_matches("LIMIT ").to_owned())
            }
            // A negative OFFSET is for the finishing statement to refuse.
            (Some(limit), Some(offset)) => {
                Some(format!("{} + GREATEST({}, 0)", sql(limit), sql(offset)))
            }
        }
    }

    /// For rows that are folded first: neither clause may be left to a shard.
    pub(super) fn without(&self) -> Option<String> {
        self.written.then(String::new)
    }
}

fn sql(count: &RowCount) -> String {
    match count {
        RowCount::Constant(number) => format!("{number}::int8"),
        RowCount::Parameter(number) => format!("${number}::int8"),
    }
}

fn count(node: Option<&Node>) -> Result<Option<RowCount>, RouterError> {
    let Some(node) = node else { return Ok(None) };
    match node.node.as_ref() {
        Some(NodeEnum::AConst(constant)) if constant.isnull => Ok(None),
        Some(NodeEnum::AConst(constant)) => constant_count(constant.val.as_ref()).map(Some),
        Some(NodeEnum::TypeCast(_)) => cast_count(node),
        Some(NodeEnum::ParamRef(parameter)) => u16::try_from(parameter.number)
            .map(|number| Some(RowCount::Parameter(number)))
            .map_err(|_| unsupported::limit_expression()),
        _ => Err(unsupported::limit_expression()),
    }
}

/// `'7'::int8`, `7::int4`, `NULL::int8`: what the cast gives is known here.
fn cast_count(node: &Node) -> Result<Option<RowCount>, RouterError> {
    let Some(KeyExpr::Literal {
        negative: false,
        cast_to: Some(to),
        value,
        ..
    }) = key::read(node)
    else {
        return Err(unsupported::limit_expression());
    };
    let most = match to {
        INT2 => i64::from(i16::MAX),
        INT4 => i64::from(i32::MAX),
        INT8 => i64::MAX,
        _ => return Err(unsupported::limit_expression()),
    };
    let number = match value {
        Constant::Null => return Ok(None),
        Constant::Integer(number) => Some(number),
        Constant::String(text) => digits(&text),
        Constant::Numeric(_) | Constant::Boolean(_) => None,
    };
    let number = number.filter(|number| *number <= most);
    number
        .and_then(|number| u64::try_from(number).ok())
        .map(|number| Some(RowCount::Constant(number)))
        .ok_or_else(unsupported::limit_expression)
}

/// Plain digits only: of whatever else PostgreSQL may read as a number the shards are not asked.
fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn constant_count(constant: Option<&a_const::Val>) -> Result<RowCount, RouterError> {
    let number = match constant {
        Some(a_const::Val::Ival(number)) => u64::try_from(number.ival).ok(),
        Some(a_const::Val::Fval(number)) => number
            .fval
            .parse::<i64>()
            .ok()
            .and_then(|number| u64::try_from(number).ok()),
        // A literal of no type is read as int8 here.
        Some(a_const::Val::Sval(text)) => {
            digits(&text.sval).and_then(|number| u64::try_from(number).ok())
        }
        _ => None,
    };
    number
        .map(RowCount::Constant)
        .ok_or_else(unsupported::limit_expression)
}
