//! Every statement that the planner refuses: one place for ids, messages and hints.

use crate::error::RouterError;

pub fn not_built() -> RouterError {
    RouterError::unsupported("not-built", "this statement is not supported yet")
}

pub fn statement() -> RouterError {
    RouterError::unsupported("statement-kind", "this kind of statement is not supported")
}

pub fn oskol_schema() -> RouterError {
    RouterError::unsupported(
        "oskol-schema",
        "schema \"oskol\" belongs to the cluster's own catalog",
    )
    .hint("Use the functions oskol.shard_table(), oskol.reference_table() and oskol.local_table().")
}

const COLOCATE: &str =
    "Pin every sharded table to one key value with =, or join them on their shard keys.";

pub fn syntax_not_understood() -> RouterError {
    RouterError::unsupported(
        "syntax-not-understood",
        "this syntax is not supported over sharded or reference tables",
    )
    .detail("The router cannot tell which tables the statement reads.")
    .hint("Write the statement with plain joins and subqueries.")
}

pub fn too_entangled() -> RouterError {
    RouterError::unsupported("too-entangled", "the statement has too many query levels")
        .detail("WITH queries that mention one another many times are not looked through.")
        .hint(COLOCATE)
}

pub fn join_local_with_sharded(local: &str) -> RouterError {
    RouterError::unsupported(
        "join-local-with-sharded",
        "a sharded table cannot be used together with a local one",
    )
    .detail(format!("\"{local}\" is on the home shard only."))
    .hint("Make it a reference table: SELECT oskol.reference_table('name').")
}

pub fn view_over_sharded(view: &str) -> RouterError {
    RouterError::unsupported(
        "view-over-sharded",
        "views over sharded tables are not supported",
    )
    .detail(format!("View \"{view}\" reads a sharded table."))
    .hint("Write the view's query in place of its name.")
}

pub fn join_off_the_key(table: &str, anchor: &str) -> RouterError {
    RouterError::unsupported(
        "join-off-the-key",
        "sharded tables can only be joined on their shard keys",
    )
    .detail(format!(
        "\"{table}\" is not joined to \"{anchor}\" by equal shard keys."
    ))
    .hint(COLOCATE)
}

pub fn outer_join_over_shards(table: &str) -> RouterError {
    RouterError::unsupported(
        "outer-join-over-shards",
        "this outer join is not supported over several shards",
    )
    .detail(format!(
        "Rows without a match in \"{table}\" would come from every shard."
    ))
    .hint("Put the sharded table on the side that keeps its rows, or pin it to one key.")
}

pub fn subquery_over_shards(table: &str) -> RouterError {
    RouterError::unsupported("subquery-over-shards", "this subquery reads several shards")
        .detail(format!(
            "\"{table}\" in a subquery or WITH query is not bound to the outer query's shard key."
        ))
        .hint("Compare its shard key with the outer table's, or with one value.")
}

pub fn limit_in_subquery(table: &str) -> RouterError {
    RouterError::unsupported("limit-in-subquery", "this subquery picks rows from several shards")
        .detail(format!("LIMIT, DISTINCT ON or a window function over \"{table}\" would be applied on each shard alone."))
        .hint("Pin the subquery to one key value.")
}

pub fn set_operation_over_shards() -> RouterError {
    RouterError::unsupported(
        "set-operation-over-shards",
        "this set operation is not supported over several shards",
    )
    .detail(
        "Only UNION ALL of plain queries over sharded tables is put together from several shards.",
    )
    .hint(COLOCATE)
}

pub fn for_update_over_shards() -> RouterError {
    RouterError::unsupported(
        "for-update-over-shards",
        "row locks are not supported over several shards",
    )
    .detail("FOR UPDATE and its like would lock rows shard by shard, in no common order.")
    .hint("Lock rows of one key at a time.")
}

pub fn window_over_shards() -> RouterError {
    RouterError::unsupported(
        "window-over-shards",
        "this window function is not supported over several shards",
    )
    .detail("Its PARTITION BY does not name the shard key.")
    .hint("Add the shard key to PARTITION BY, or pin the query to one key.")
}

pub fn distinct_over_shards() -> RouterError {
    RouterError::unsupported("distinct-over-shards", "this DISTINCT is not supported over several shards")
        .detail("Equal rows may come from several shards, and their columns are not all plain columns of exact types.")
        .hint("Select the shard key too, or pin the query to one key.")
}

pub fn having_over_shards() -> RouterError {
    RouterError::unsupported(
        "having-over-shards",
        "HAVING is not supported over several shards",
    )
    .detail("A group's rows are on several shards, so no shard can judge the whole group.")
    .hint("Group by the shard key, or filter the groups in the application.")
}

pub fn aggregate_not_mergeable(what: &str) -> RouterError {
    RouterError::unsupported("aggregate-not-mergeable", "this aggregate is not supported over several shards")
        .detail(format!("{what} cannot be put together from the shards' results."))
        .hint("Plain count, sum of integers, min, max, bool_and and bool_or work; so does GROUP BY the shard key.")
}

pub fn group_by_over_shards(what: &str) -> RouterError {
    RouterError::unsupported(
        "group-by-over-shards",
        "this GROUP BY is not supported over several shards",
    )
    .detail(what)
    .hint("Group by plain columns of exact types and select them all, or group by the shard key.")
}

pub fn order_by_collation(column: &str) -> RouterError {
    RouterError::unsupported("order-by-collation", "this ORDER BY depends on a collation")
        .detail(format!(
            "\"{column}\" is text, and only a PostgreSQL knows its collation's order."
        ))
        .hint("Add COLLATE \"C\" to sort by bytes, or pin the query to one key.")
}

pub fn order_by_type() -> RouterError {
    RouterError::unsupported(
        "order-by-type",
        "this ORDER BY is not supported over several shards",
    )
    .detail("It sorts by an expression, or by a type whose order the router does not know exactly.")
    .hint("Sort by a column of an integer, boolean, uuid, date or timestamp type.")
}

pub fn limit_expression() -> RouterError {
    RouterError::unsupported("limit-expression", "this LIMIT or OFFSET is not supported over several shards")
        .detail("Only integer constants and parameters are added up for the shards; WITH TIES is not supported.")
        .hint("Compute the value in the application.")
}

pub fn rewrite_not_possible() -> RouterError {
    RouterError::unsupported(
        "rewrite-not-possible",
        "this query cannot be rewritten for several shards",
    )
    .detail("The select list or the LIMIT clause was not found in the statement's text.")
    .hint("Write the query without parentheses around it.")
}

pub fn merge_over_shards() -> RouterError {
    RouterError::unsupported(
        "merge-over-shards",
        "MERGE is only supported on the rows of one key",
    )
    .detail("The target and the source are not pinned to one key value.")
    .hint(COLOCATE)
}

pub fn write_over_shards(table: &str) -> RouterError {
    RouterError::unsupported(
        "write-over-shards",
        "this statement would write rows by data of other shards",
    )
    .detail(format!(
        "\"{table}\" is not bound to the shard key of the table written."
    ))
    .hint(COLOCATE)
}

pub fn write_in_with() -> RouterError {
    RouterError::unsupported("write-in-with", "this WITH query cannot write there")
        .detail("A data-modifying WITH query must write rows of the same key as the rest, or local tables only.")
        .hint("Send it as a statement of its own, in one transaction.")
}

pub fn shard_key_update() -> RouterError {
    RouterError::unsupported("shard-key-update", "a row's shard key cannot be changed")
        .detail("The row would have to move to another shard.")
        .hint("Leave the shard key out of SET; or delete the row and insert it anew, in one transaction.")
}

pub fn reference_write(id: &'static str, detail: String, hint: &str) -> RouterError {
    RouterError::unsupported(
        id,
        "this write could leave the copies of a reference table different",
    )
    .detail(detail)
    .hint(hint)
}

pub fn reference_write_volatile(culprit: &str) -> RouterError {
    reference_write(
        "reference-write-volatile",
        format!("{culprit} gives each shard another value."),
        "Compute the value first and pass it as a constant or a parameter.",
    )
}

pub fn function_reads_sharded(function: &str, table: &str) -> RouterError {
    RouterError::unsupported(
        "function-reads-sharded-table",
        format!("function {function}() uses a sharded table"),
    )
    .detail(format!(
        "Its body mentions \"{table}\", whose rows are on several shards."
    ))
    .hint("Run the function's statements from the application.")
}

pub fn function_writes_reference(function: &str) -> RouterError {
    RouterError::unsupported(
        "function-writes-reference-table",
        format!("function {function}() may write a reference table"),
    )
    .detail(
        "It is volatile and its body mentions a reference table, of which every shard has a copy.",
    )
    .hint("Declare the function STABLE if it only reads.")
}

pub fn function_reads_local(function: &str) -> RouterError {
    RouterError::unsupported(
        "function-reads-local-table",
        format!("function {function}() uses a local table"),
    )
    .detail("The local table's rows are on the home shard only, and this statement runs elsewhere.")
    .hint("Call the function in a statement of its own.")
}

pub fn function_on_home_shard(function: &str) -> RouterError {
    RouterError::unsupported(
        "function-on-home-shard",
        format!("{function}() cannot be used together with a sharded table"),
    )
    .detail("It is about the state of one server: the home shard's.")
    .hint("Call it in a statement of its own.")
}

pub fn function_runs_query(function: &str) -> RouterError {
    RouterError::unsupported(
        "function-runs-query",
        format!("{function}() is not supported"),
    )
    .detail("It runs a query given as text, on one server only.")
    .hint("Send the query itself.")
}

pub fn key_unknown(column: &str) -> RouterError {
    RouterError::unsupported("key-unknown", "the shard key's value cannot be told exactly")
        .detail(format!("\"{column}\" is compared with a value of a type that does not hash as the key does, or out of range."))
        .hint("Pass the key in the shard key's own type.")
}
