//! VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT, REFRESH MATERIALIZED VIEW.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ReindexObjectType, ReindexStmt};

use super::{Job, Planned};
use crate::plan::{Action, Effect, Plan};

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
