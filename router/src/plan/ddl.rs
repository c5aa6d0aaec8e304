//! DDL and every other utility statement.

use pg_query::NodeEnum;

use super::{Plan, PlanContext, unsupported};
use crate::parse::Statement;

pub fn plan(_statement: &Statement, _node: &NodeEnum, _context: &PlanContext<'_>) -> Plan {
    Plan::refused(unsupported::not_built())
}
