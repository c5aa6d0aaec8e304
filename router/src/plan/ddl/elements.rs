//! Columns and constraints of CREATE and ALTER TABLE, judged one by one; those to be left out are taken from
//! the statement.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnDef, ConstrType, Constraint, CreateStmt};

use super::constraints::{Subject, Verdict};
use super::unenforced;
use crate::error::RouterError;
use crate::plan::scope::{self, Found};

/// Judges columns and table constraints; those to be left out are taken from `create`.
pub fn judge_all(
    subject: &Subject<'_>,
    create: &mut CreateStmt,
    notices: &mut Vec<RouterError>,
) -> Result<bool, RouterError> {
    let mut left_out = false;
    let mut kept = Vec::new();
    for mut element in std::mem::take(&mut create.table_elts) {
        let drop = match element.node.as_mut() {
            Some(NodeEnum::ColumnDef(column)) => {
                left_out |= judge_column(subject, column, notices)?;
                false
            }
            Some(NodeEnum::Constraint(constraint)) if unenforced::is_taken(constraint) => false,
            Some(NodeEnum::Constraint(constraint)) => {
                judged(subject.judge(constraint, None)?, notices)
            }
            Some(NodeEnum::TableLikeClause(like)) => {
                judge_like(subject, like, notices)?;
                false
            }
            _ => false,
        };
        left_out |= drop;
        if !drop {
            kept.push(element);
        }
    }
    create.table_elts = kept;
    Ok(left_out)
}

/// `CREATE_TABLE_LIKE_INDEXES` of PostgreSQL's `nodes/parsenodes.h`.
const LIKE_INDEXES: u32 = 1 << 6;

/// `LIKE t INCLUDING INDEXES` copies unique keys.
fn judge_like(
    subject: &Subject<'_>,
    like: &pg_query::protobuf::TableLikeClause,
    notices: &mut Vec<RouterError>,
) -> Result<(), RouterError> {
    let Some(range) = like.relation.as_ref() else {
        return Ok(());
    };
    let Found::Relation(found) = scope::find(range, subject.context) else {
        return Ok(());
    };
    if like.options & LIKE_INDEXES == 0 {
        return Ok(());
    }
    for unique in &found.unique_keys {
        let columns: Vec<_> = unique
            .columns
            .iter()
            .map(|&column| found.columns[column].name.clone())
            .collect();
        notices.extend(subject.unique(&unique.name, &columns)?);
    }
    Ok(())
}

/// Judges the constraints of one column definition; those to be left out are taken from it.
pub fn judge_column(
    subject: &Subject<'_>,
    column: &mut ColumnDef,
    notices: &mut Vec<RouterError>,
) -> Result<bool, RouterError> {
    let mut kept = Vec::new();
    let mut dropping = false;
    let mut changed = false;
    for node in std::mem::take(&mut column.constraints) {
        if let Some(NodeEnum::Constraint(constraint)) = node.node.as_ref() {
            if !is_attribute(constraint) {
                dropping = judged(subject.judge(constraint, Some(&column.colname))?, notices);
                changed |= dropping;
            }
            // DEFERRABLE and its like belong to the constraint before them.
            if dropping {
                continue;
            }
        }
        kept.push(node);
    }
    column.constraints = kept;
    Ok(changed)
}

/// Keeps the notice of a verdict. True: the constraint is to be left out.
pub fn judged(verdict: Verdict, notices: &mut Vec<RouterError>) -> bool {
    match verdict {
        Verdict::Enforced | Verdict::OverShards => false,
        Verdict::PerShard(notice) => {
            notices.push(notice);
            false
        }
        Verdict::LeftOut(notice) => {
            notices.push(notice);
            true
        }
    }
}

fn is_attribute(constraint: &Constraint) -> bool {
    use ConstrType as Kind;
    matches!(
        constraint.contype(),
        Kind::ConstrAttrDeferrable
            | Kind::ConstrAttrNotDeferrable
            | Kind::ConstrAttrDeferred
            | Kind::ConstrAttrImmediate
            | Kind::ConstrAttrEnforced
            | Kind::ConstrAttrNotEnforced
    )
}
