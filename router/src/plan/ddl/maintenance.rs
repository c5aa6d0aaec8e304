//! VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT, REFRESH MATERIALIZED VIEW.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ReindexObjectType, ReindexStmt};
use schema::RelationKind;

use super::{Job, Planned};
use crate::error::RouterError;
use crate::plan::{Action, Effect, Plan, unsupported};

pub fn plan(job: &Job<'_>, node: &NodeEnum) -> Planned {
    if let NodeEnum::RefreshMatViewStmt(_) = node {
        // Only the home shard holds the rows of a materialized view.
        let effect = Effect {
            writes: true,
            ..Effect::default()
        };
        return Ok(Plan::new(
            Action::Home,
            effect,
            "materialized views are on the home shard",
        ));
    }
    if let NodeEnum::ReindexStmt(reindex) = node {
        check_kept_keys(job, reindex)?;
    }
    let outside = outside_transaction(node);
    if job.mentions_temporary() {
        let mut plan = job.on_temporary(crate::plan::TemporaryChange::default());
        plan.effect.outside_transaction = outside;
        return Ok(plan);
    }
    let mut ddl = job.everywhere();
    ddl.outside_transaction = outside;
    ddl.changes_catalog = false;
    Ok(job.planned(ddl))
}

/// Whether PostgreSQL refuses the statement inside a transaction block.
fn outside_transaction(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::VacuumStmt(vacuum) => vacuum.is_vacuumcmd,
        NodeEnum::ClusterStmt(cluster) => cluster.relation.is_none(),
        NodeEnum::ReindexStmt(reindex) => reindex_outside(reindex),
        _ => false,
    }
}

/// REINDEX CONCURRENTLY makes a new index of the same name, and drops the one that the entries of a unique key belong to.
fn check_kept_keys(job: &Job<'_>, reindex: &ReindexStmt) -> Result<(), RouterError> {
    if !reindex.params.iter().any(is_concurrently) {
        return Ok(());
    }
    let named = reindex.relation.as_ref().map(|it| it.relname.as_str());
    let relations = &job.context.snapshot.relations;
    let relations = || relations.values().flat_map(|named| named.values());
    // With its partitions, whose own keys may be kept.
    let is_parent =
        relations().any(|it| named == Some(&it.name) && it.kind == RelationKind::Partitioned);
    for relation in relations() {
        let mut kept = relation
            .unique_keys
            .iter()
            .filter(|it| it.entries.is_some());
        let rebuilt = match reindex.kind() {
            ReindexObjectType::ReindexObjectIndex => kept.find(|key| named == Some(&key.name)),
            ReindexObjectType::ReindexObjectTable if !is_parent => {
                kept.find(|_| named == Some(&relation.name))
            }
            _ => kept.next(),
        };
        if let Some(key) = rebuilt {
            return Err(unsupported::reindex_concurrently(&key.name));
        }
    }
    Ok(())
}

fn reindex_outside(reindex: &ReindexStmt) -> bool {
    let one_relation = matches!(
        reindex.kind(),
        ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectTable
    );
    !one_relation || reindex.params.iter().any(is_concurrently)
}

fn is_concurrently(option: &Node) -> bool {
    matches!(option.node.as_ref(), Some(NodeEnum::DefElem(option)) if option.defname == "concurrently")
}
