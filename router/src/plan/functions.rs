//! What calling a function means for where a statement may run. Knows PostgreSQL's own functions by
//! name and users' functions by the catalog snapshot.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SelectStmt};

use super::facts::{Facts, Mention};
use super::survey::walk;
use super::{PlanContext, scope};

/// Where a statement that calls a function may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The same on every shard.
    Anywhere,
    /// About a server's own catalog: beside sharded tables any shard will do, alone the home shard's.
    Catalog,
    /// State of one server: transaction ids, processes, large objects, transaction-level locks.
    Home,
    /// A lock that outlives the transaction: one server session for good.
    SessionLock,
    /// `pg_notify`: at home, and then PREPARE TRANSACTION is impossible.
    Notify,
    /// `nextval` and its like.
    Sequence,
    /// Changes a setting of the session.
    SetConfig,
    /// Runs a query given as text.
    RunsQuery,
    /// Made by a user.
    User,
}

/// All that a statement's function calls ask for.
#[derive(Debug, Default)]
pub struct Calls<'a> {
    /// Calls that are not `Anywhere`, with their class.
    pub special: Vec<(&'a Mention, Class)>,
}

impl<'a> Calls<'a> {
    pub fn of(facts: &'a Facts, context: &PlanContext<'_>) -> Self {
        let special = facts
            .functions
            .iter()
            .map(|call| (call, classify(call, context)))
            .filter(|(_, class)| *class != Class::Anywhere)
            .collect();
        Self { special }
    }

    pub fn first(&self, class: Class) -> Option<&'a Mention> {
        self.special
            .iter()
            .find(|(_, other)| *other == class)
            .map(|(call, _)| *call)
    }

    pub fn has(&self, class: Class) -> bool {
        self.first(class).is_some()
    }

    /// A user's function that is volatile, and so may write.
    pub fn may_write(&self, context: &PlanContext<'_>) -> bool {
        self.users(context)
            .any(|function| function.volatility == 'v' && matches!(function.kind, 'f' | 'p'))
    }

    /// A user's function that is not immutable, or one that is not known: it may read tables.
    pub fn may_read(&self, context: &PlanContext<'_>) -> bool {
        let unknown = |(call, class): &(&Mention, Class)| {
            *class == Class::User && !context.snapshot.functions.contains_key(&call.name)
        };
        self.special.iter().any(unknown)
            || self
                .users(context)
                .any(|function| function.volatility != 'i')
    }

    pub fn reads_sharded(&self, context: &PlanContext<'_>) -> Option<(String, String)> {
        self.users(context).find_map(|function| {
            Some((
                function.name.clone(),
                function.mentions_sharded.first()?.clone(),
            ))
        })
    }

    /// A volatile function that mentions a reference table may write one of its copies.
    pub fn writes_reference(&self, context: &PlanContext<'_>) -> Option<String> {
        self.users(context)
            .find(|function| function.volatility == 'v' && function.mentions_reference)
            .map(|function| function.name.clone())
    }

    pub fn reads_local(&self, context: &PlanContext<'_>) -> Option<String> {
        self.users(context)
            .find(|function| function.mentions_local)
            .map(|function| function.name.clone())
    }

    fn users<'b>(
        &'b self,
        context: &'b PlanContext<'_>,
    ) -> impl Iterator<Item = &'b schema::Function> {
        self.special
            .iter()
            .filter(|(_, class)| *class == Class::User)
            .filter_map(|(call, _)| context.snapshot.functions.get(&call.name))
            .flatten()
    }
}

fn classify(call: &Mention, context: &PlanContext<'_>) -> Class {
    match call.built_in_name() {
        Some(_) if call.schema.is_none() && context.snapshot.functions.contains_key(&call.name) => {
            Class::User
        }
        Some(name) => built_in(name),
        None => match call.schema.as_deref() {
            Some("information_schema") => Class::Catalog,
            _ => Class::User,
        },
    }
}

/// The class of a function of `pg_catalog`. What is not named here and does not begin with `pg_` was
/// looked through on PostgreSQL 15: it depends on its arguments and settings only.
fn built_in(name: &str) -> Class {
    match name {
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared"
        | "pg_advisory_unlock"
        | "pg_advisory_unlock_shared"
        | "pg_advisory_unlock_all" => Class::SessionLock,
        "pg_notify" => Class::Notify,
        "nextval" | "currval" | "lastval" | "setval" => Class::Sequence,
        "set_config" => Class::SetConfig,
        "query_to_xml"
        | "query_to_xmlschema"
        | "query_to_xml_and_xmlschema"
        | "table_to_xml"
        | "table_to_xmlschema"
        | "table_to_xml_and_xmlschema"
        | "schema_to_xml"
        | "schema_to_xmlschema"
        | "schema_to_xml_and_xmlschema"
        | "database_to_xml"
        | "database_to_xmlschema"
        | "database_to_xml_and_xmlschema"
        | "cursor_to_xml"
        | "cursor_to_xmlschema"
        | "ts_stat" => Class::RunsQuery,
        // `ts_rewrite(query, 'SELECT ...')` runs its text; with three arguments it does not.
        "ts_rewrite" => Class::RunsQuery,
        "pg_sleep"
        | "pg_sleep_for"
        | "pg_sleep_until"
        | "pg_typeof"
        | "pg_column_size"
        | "pg_collation_for"
        | "pg_size_pretty"
        | "pg_size_bytes"
        | "pg_client_encoding"
        | "pg_column_compression"
        | "pg_char_to_encoding"
        | "pg_encoding_to_char" => Class::Anywhere,
        _ if is_of_one_server(name) => Class::Home,
        _ if is_of_the_catalog(name) => Class::Catalog,
        _ => Class::Anywhere,
    }
}

fn is_of_one_server(name: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "pg_advisory_",
        "pg_try_advisory_",
        "txid_",
        "pg_current_",
        "pg_xact_",
        "pg_snapshot_",
        "lo_",
        "pg_logical_",
        "pg_replication_",
        "pg_wal_",
        "pg_ls_",
    ];
    const NAMES: [&str; 15] = [
        "pg_backend_pid",
        "pg_cancel_backend",
        "pg_terminate_backend",
        "pg_blocking_pids",
        "pg_export_snapshot",
        "loread",
        "lowrite",
        "inet_server_addr",
        "inet_server_port",
        "inet_client_addr",
        "inet_client_port",
        "pg_safe_snapshot_blocking_pids",
        "pg_read_file",
        "pg_read_binary_file",
        "pg_switch_wal",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

fn is_of_the_catalog(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "obj_description",
        "col_description",
        "shobj_description",
        "format_type",
        "version",
        "current_setting",
        "row_security_active",
        "oidvectortypes",
    ];
    name.starts_with("pg_")
        || name.starts_with("has_")
        || name.starts_with("to_reg")
        || name.starts_with("binary_upgrade")
        || name.starts_with("brin_")
        || name.starts_with("gin_")
        || NAMES.contains(&name) && name != "current_setting" && name != "version"
}

/// Aggregates of `pg_catalog`, PostgreSQL 15 and 16.
const AGGREGATES: [&str; 50] = [
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "every",
    "json_agg",
    "json_agg_strict",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "max",
    "min",
    "mode",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Whether a call is of an aggregate (and not as a window function).
pub fn is_aggregate(call: &FuncCall, context: &PlanContext<'_>) -> bool {
    if call.over.is_some() {
        return false;
    }
    let Some((schema, name)) = scope::function_name(call) else {
        return true;
    };
    let marked = call.agg_star
        || call.agg_distinct
        || call.agg_within_group
        || call.agg_filter.is_some()
        || !call.agg_order.is_empty();
    marked
        || name == "xmlagg"
        || name.starts_with("jsonb_object_agg_")
        || matches!(schema, None | Some("pg_catalog")) && AGGREGATES.contains(&name)
        || context.snapshot.user_aggregates.contains_key(name)
}

/// Whether a query level has aggregates of its own.
pub fn has_aggregate(select: &SelectStmt, context: &PlanContext<'_>) -> bool {
    let mut found = false;
    for_each_aggregate(select, context, &mut |_| found = true);
    found
}

/// Calls `visit` with every aggregate in the select list, HAVING and ORDER BY.
pub fn for_each_aggregate(
    select: &SelectStmt,
    context: &PlanContext<'_>,
    visit: &mut dyn FnMut(&FuncCall),
) {
    for node in select
        .target_list
        .iter()
        .chain(&select.sort_clause)
        .chain(select.having_clause.as_deref())
    {
        aggregates_in(node, context, visit);
    }
}

pub fn aggregates_in(node: &Node, context: &PlanContext<'_>, visit: &mut dyn FnMut(&FuncCall)) {
    walk::descend(node, &mut |inner| {
        let special = matches!(
            inner,
            NodeEnum::JsonObjectAgg(_) | NodeEnum::JsonArrayAgg(_) | NodeEnum::GroupingFunc(_)
        );
        match inner {
            NodeEnum::FuncCall(call) if is_aggregate(call, context) => visit(call),
            _ if special => visit(&FuncCall::default()),
            _ => {}
        }
    });
}
