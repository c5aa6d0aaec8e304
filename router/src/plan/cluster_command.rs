//! Functions that the router itself carries out (`oskol.*`, sequence functions); `None` for any other SELECT.

use pg_query::protobuf::SelectStmt;

use super::{Plan, PlanContext};
use crate::parse::Statement;

pub fn plan(_statement: &Statement, _select: &SelectStmt, _context: &PlanContext<'_>) -> Option<Plan> {
    None
}
