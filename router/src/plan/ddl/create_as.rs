//! CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW: the rows are made at home, the empty relation on
//! the other shards. A table of rows of several shards is made empty everywhere, and filled afterwards.

use pg_query::NodeEnum;
use pg_query::protobuf::{CreateTableAsStmt, IntoClause, Node, ObjectType, RangeVar, SelectStmt};

use super::create_table::{rule, schema_of};
use super::{Job, Planned, is_temporary};
use crate::error::RouterError;
use crate::plan::gather::print;
use crate::plan::names::quote_identifier;
use crate::plan::unsupported;

pub fn plan(job: &Job<'_>, create: &CreateTableAsStmt) -> Planned {
    if matches!(
        create
            .query
            .as_deref()
            .and_then(|query| query.node.as_ref()),
        Some(NodeEnum::ExecuteStmt(_))
    ) {
        return Err(RouterError::unsupported(
            "create-table-as",
            "CREATE TABLE AS EXECUTE is not supported",
        )
        .hint("Write the query out."));
    }
    let Some(into) = create.into.as_deref() else {
        return Ok(job.planned(job.everywhere()));
    };
    made_at_home(job, into, create)
}

pub fn select_into(job: &Job<'_>, select: &SelectStmt) -> Planned {
    let mut query = select.clone();
    let Some(into) = query.into_clause.take() else {
        return Ok(job.planned(job.everywhere()));
    };
    let create = CreateTableAsStmt {
        query: Some(Box::new(Node {
            node: Some(NodeEnum::SelectStmt(Box::new(query))),
        })),
        into: Some(into.clone()),
        objtype: ObjectType::ObjectTable.into(),
        is_select_into: false,
        if_not_exists: false,
    };
    made_at_home(job, &into, &create)
}

fn made_at_home(job: &Job<'_>, into: &IntoClause, create: &CreateTableAsStmt) -> Planned {
    let Some(range) = into.rel.as_ref() else {
        return Ok(job.planned(job.everywhere()));
    };
    let reads_sharded = job.reads_sharded(range.location);
    if reads_sharded.is_some() && !may_be_filled(range, create) {
        reads_home_only(job, range.location)?;
    }
    if is_temporary(range) {
        return Ok(job.creates_temporary(&range.relname));
    }
    if let Some(rule) = rule(&schema_of(range, job.context), &range.relname, job.context)
        && rule.placement != schema::rules::RulePlacement::Local
    {
        return Err(RouterError::unsupported(
            "create-table-as",
            "a table with a rule cannot be created from a query",
        )
        .hint("Create the table first, then insert the rows."));
    }
    if job.facts.highest_parameter > 0 || job.reads_temporary(range) {
        return Err(RouterError::unsupported(
            "create-table-as",
            "this query cannot be run on the other shards",
        )
        .detail("It uses a parameter or a temporary table.")
        .hint("Create the table first, then insert the rows."));
    }
    let mut ddl = job.everywhere();
    if reads_sharded.is_none() {
        ddl.text_other_shards = Some(without_data(create)?);
        return Ok(job.planned(ddl));
    }
    ddl.text = without_data(create)?;
    if !into.skip_data {
        ddl.fill = Some(fill(&schema_of(range, job.context), range, create)?);
    }
    Ok(job.planned(ddl))
}

/// A table whose rows come from several shards is made empty and filled by an INSERT; nothing but REFRESH fills a
/// materialized view.
fn may_be_filled(range: &RangeVar, create: &CreateTableAsStmt) -> bool {
    create.objtype() == ObjectType::ObjectTable && !create.if_not_exists && !is_temporary(range)
}

/// The statement that fills the table.
fn fill(schema: &str, range: &RangeVar, create: &CreateTableAsStmt) -> Result<String, RouterError> {
    let query = create
        .query
        .as_deref()
        .and_then(|query| query.node.as_ref());
    let query = print::text(query.ok_or_else(unsupported::statement)?)?;
    let (schema, name) = (quote_identifier(schema), quote_identifier(&range.relname));
    Ok(format!("INSERT INTO {schema}.{name} {query}"))
}

fn without_data(create: &CreateTableAsStmt) -> Result<String, RouterError> {
    let mut create = create.clone();
    if let Some(into) = create.into.as_mut() {
        into.skip_data = true;
    }
    super::deparse(NodeEnum::CreateTableAsStmt(Box::new(create)))
}

fn reads_home_only(job: &Job<'_>, target: i32) -> Result<(), RouterError> {
    match job.reads_sharded(target) {
        Some(table) => Err(RouterError::unsupported(
            "create-table-as",
            "a table or materialized view from a query over a sharded table is not supported yet",
        )
        .detail(format!(
            "The query reads \"{table}\", whose rows are on several shards."
        ))
        .hint("Create the table first, read the rows, and insert them as VALUES or by COPY.")),
        None => Ok(()),
    }
}
