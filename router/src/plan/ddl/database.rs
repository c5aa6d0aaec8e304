//! CREATE, ALTER and DROP DATABASE: outside transactions, shard by shard.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterDatabaseStmt, CreatedbStmt, DropdbStmt, Node};

use super::{Job, Planned};
use crate::error::RouterError;
use crate::plan::DatabaseChange;
use crate::plan::names::quote_identifier;
use crate::plan::scope;

pub fn create(job: &Job<'_>, create: &CreatedbStmt) -> Planned {
    not_reserved(&create.dbname)?;
    no_tablespace(&create.options)?;
    let mut ddl = job.everywhere();
    ddl.outside_transaction = true;
    ddl.changes_catalog = false;
    ddl.undo = Some(format!(
        "DROP DATABASE IF EXISTS {}",
        quote_identifier(&create.dbname)
    ));
    ddl.database = Some(DatabaseChange::Create {
        name: create.dbname.clone(),
        template: template(&create.options),
    });
    Ok(job.planned(ddl))
}

pub fn drop(job: &Job<'_>, drop: &DropdbStmt) -> Planned {
    not_reserved(&drop.dbname)?;
    if drop.dbname == "postgres" {
        return Err(RouterError::unsupported(
            "reserved-database",
            "database \"postgres\" cannot be dropped",
        )
        .detail("The cluster keeps its own records there."));
    }
    let mut ddl = job.everywhere();
    ddl.outside_transaction = true;
    ddl.changes_catalog = false;
    ddl.database = Some(DatabaseChange::Drop(drop.dbname.clone()));
    // Where another shard fails the database is still there at home, and can be dropped again.
    let anyway = DropdbStmt {
        missing_ok: true,
        ..drop.clone()
    };
    ddl.text_other_shards = Some(super::deparse(NodeEnum::DropdbStmt(anyway))?);
    ddl.home_last = true;
    Ok(job.planned(ddl))
}

pub fn alter(job: &Job<'_>, alter: &AlterDatabaseStmt) -> Planned {
    no_tablespace(&alter.options)?;
    let mut ddl = job.everywhere();
    ddl.changes_catalog = false;
    Ok(job.planned(ddl))
}

/// The database that `TEMPLATE` names.
fn template(options: &[Node]) -> Option<String> {
    options
        .iter()
        .find_map(|option| match option.node.as_ref()? {
            NodeEnum::DefElem(option) if option.defname == "template" => {
                scope::string(option.arg.as_deref()?).map(str::to_owned)
            }
            _ => None,
        })
}

/// `oskol` is the admin database on the wire.
pub fn not_reserved(name: &str) -> Result<(), RouterError> {
    if name != "oskol" {
        return Ok(());
    }
    Err(RouterError::unsupported(
        "reserved-database",
        "the database name \"oskol\" is reserved",
    )
    .detail("A connection to it reaches the router's own administration.")
    .hint("Choose another name."))
}

fn no_tablespace(options: &[Node]) -> Result<(), RouterError> {
    let names_tablespace = options.iter().any(|option| {
        matches!(option.node.as_ref(), Some(NodeEnum::DefElem(option)) if option.defname == "tablespace" && option.arg.is_some())
    });
    if names_tablespace {
        return Err(RouterError::unsupported(
            "tablespace",
            "tablespaces are not supported through the router",
        ));
    }
    Ok(())
}
