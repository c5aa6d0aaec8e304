//! Functions that the router itself carries out (`oskol.*`, sequence functions); `None` for any other SELECT.

use pg_query::protobuf::SelectStmt;

use super::{Plan, PlanContext, session_command};
use crate::parse::Statement;

pub fn plan(
    statement: &Statement,
    select: &SelectStmt,
    _context: &PlanContext<'_>,
) -> Option<Plan> {
    session_command::set_config(select, &statement.text)
}
