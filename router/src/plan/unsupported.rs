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

pub fn view_guarded(view: &str) -> RouterError {
    RouterError::unsupported(
        "view-guarded",
        "this view cannot be read together with rows of other shards",
    )
    .detail(format!(
        "\"{view}\" is a security barrier, or reads a table with row security: only the view itself may filter its rows."
    ))
    .hint("Pin its shard key to one value, or read it in a statement of its own.")
}

pub fn view_write(view: &str) -> RouterError {
    RouterError::unsupported("view-write", "this view over a sharded table cannot be written through")
        .detail(format!(
            "\"{view}\" is more than plain columns and rows of one sharded table, or the statement would have to be rewritten."
        ))
        .hint("Write to the table itself.")
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
        "these row locks are not supported over several shards",
    )
    .detail("FOR UPDATE and its like lock rows of several shards in the outermost SELECT: of tables in its FROM list, not of subqueries there, of the nullable side of a join, or under row security.")
    .hint("Name the tables by FOR UPDATE OF, or lock their rows by a plain SELECT first.")
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
        "this MERGE is not supported over several shards",
    )
    .detail("Its ON does not say that the target's shard key is a plain column of the source, or rows are added with another key, or it has subqueries over shards.")
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
        .detail("A data-modifying WITH query is carried out before the rest, which may not read or change what it has written.")
        .hint("Send it as a statement of its own, in one transaction.")
}

pub fn merge_ids(column: &str) -> RouterError {
    RouterError::unsupported("merge-ids", "MERGE cannot fill in ids over shards")
        .detail(format!("Column \"{column}\" of the rows it inserts is left to a sequence, and each shard would number them by itself."))
        .hint("Give the column a value, or insert the rows as VALUES.")
}

pub fn reindex_concurrently(key: &str) -> RouterError {
    RouterError::unsupported(
        "reindex-concurrently",
        "a unique key that holds over all shards cannot be rebuilt with REINDEX CONCURRENTLY",
    )
    .detail(format!("Index \"{key}\" would be dropped for a new one, and the key would no longer be kept."))
    .hint("Use REINDEX without CONCURRENTLY; or make another index with CREATE UNIQUE INDEX CONCURRENTLY, then drop this one.")
}

pub fn shard_key_update() -> RouterError {
    RouterError::unsupported("shard-key-update", "a row's shard key cannot be changed")
        .detail("The row would have to move to another shard.")
        .hint("Leave the shard key out of SET; or delete the row and insert it anew, in one transaction.")
}

pub fn shard_key_of_table(table: &str, obstacle: &str) -> RouterError {
    RouterError::unsupported("shard-key-update", "a row's shard key cannot be changed")
        .detail(format!("A row of \"{table}\" would have to move to another shard. {obstacle}"))
        .hint("Leave the shard key out of SET; or insert the new row, change what refers to the old one and delete it, in one transaction.")
}

pub fn shard_key_with_others() -> RouterError {
    RouterError::unsupported("shard-key-update", "a row's shard key cannot be changed by this UPDATE")
        .detail("RETURNING beside FROM or WITH, and subqueries in RETURNING are not supported where rows move to other shards.")
        .hint("Use subqueries in SET and WHERE.")
}

pub fn shard_key_form() -> RouterError {
    RouterError::unsupported("shard-key-update", "a row's shard key cannot be changed by this UPDATE")
        .detail("DEFAULT of an id, (a, b) = (SELECT ...) and parts of a value are not supported where rows move to other shards.")
        .hint("Write each column as column = value.")
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

pub fn system_column(name: &str) -> RouterError {
    RouterError::unsupported(
        "system-column-over-shards",
        format!("column \"{name}\" cannot be read here"),
    )
    .detail("The statement joins rows of several shards, and a row's place or transaction is a matter of its own shard.")
    .hint(COLOCATE)
}

pub fn table_form_over_shards(table: &str) -> RouterError {
    RouterError::unsupported(
        "table-form-over-shards",
        "ONLY and TABLESAMPLE are not supported here",
    )
    .detail(format!(
        "The rows of \"{table}\" have to be brought together from several shards first."
    ))
    .hint(COLOCATE)
}

pub fn join_temporary_with_sharded(name: &str) -> RouterError {
    RouterError::unsupported(
        "join-temporary-with-sharded",
        "a temporary table cannot be used together with a sharded one",
    )
    .detail(format!(
        "\"{name}\" is known to one connection of the home shard only."
    ))
    .hint("Use a permanent table, or two statements.")
}

fn combined(what: &str) -> RouterError {
    RouterError::unsupported(
        "combine-over-shards",
        "the shards' rows cannot be combined by a part of this statement alone",
    )
    .detail(what)
    .hint(COLOCATE)
}

pub fn star_over_shards() -> RouterError {
    combined("The columns that * or a whole row stands for are not known.")
}

pub fn name_over_shards() -> RouterError {
    combined("What a name in GROUP BY, ORDER BY or DISTINCT ON stands for is not known.")
}

pub fn collation_over_shards() -> RouterError {
    combined("The collation of an expression is not known.")
}

pub fn syntax_over_shards() -> RouterError {
    combined("An expression cannot be divided between the shards and the finishing server.")
}

pub fn aggregate_over_shards() -> RouterError {
    combined("An aggregate has no exact partial results.")
}

pub fn function_over_shards() -> RouterError {
    combined("It calls a function that may read or write tables.")
}

/// A cursor is on one shard only.
pub fn where_current_of() -> RouterError {
    RouterError::unsupported("where-current-of", "WHERE CURRENT OF is not supported here")
        .detail("A cursor is on one shard, and the statement concerns rows of others as well.")
        .hint("Name the rows by their keys in the WHERE clause.")
}

pub fn session_catalog(name: &str) -> RouterError {
    RouterError::unsupported("session-catalog", format!("{name} is not supported"))
        .detail("It tells of one server connection, and a session has several, or another one at each transaction.")
        .hint("Keep account of cursors and prepared statements in the application.")
}

pub fn order_in_subquery() -> RouterError {
    RouterError::unsupported(
        "order-in-subquery",
        "a subquery's ORDER BY cannot be kept over several shards",
    )
    .detail("A subquery in FROM is sorted, and the statement itself is not.")
    .hint("Write the ORDER BY at the end of the statement.")
}
