//! COPY.

use pg_query::protobuf::CopyStmt;

use super::{Plan, PlanContext, unsupported};
use crate::parse::Statement;

pub fn plan(_statement: &Statement, _copy: &CopyStmt, _context: &PlanContext<'_>) -> Plan {
    Plan::refused(unsupported::not_built())
}
