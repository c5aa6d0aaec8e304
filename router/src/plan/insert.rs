//! INSERT.

use pg_query::protobuf::InsertStmt;

use super::{Plan, PlanContext, unsupported};
use crate::parse::Statement;

pub fn plan(_statement: &Statement, _insert: &InsertStmt, _context: &PlanContext<'_>) -> Plan {
    Plan::refused(unsupported::not_built())
}
