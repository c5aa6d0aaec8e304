//! The schema history, and the shard that lacks its end: it is given what it lacks.
//!
//! Each change is made again on the one shard, in a transaction of its own, by the rights and settings of who has made it first;
//! what the other shards have run for it is in the history. Where that is not enough (rows have moved with it, or entries of
//! unique keys came with it) nothing is done, and all shards have to be restored to one moment.

use tokio_postgres::Client;
use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::Lent;
use super::error::ControlError;
use super::inner::Inner;
use super::roles::copy::copy_roles;
use super::standing::{Apart, Expected, Standing, expected, judge, standing};
use crate::admin::operations::Rows;
use crate::settings::{quote_identifier, quote_literal};

/// Longest time that one change may take (an index of a large table), in which nobody else changes tables. An SQL interval.
const LONGEST: &str = "6h";

/// All databases' changes, the oldest first.
pub(super) async fn show(inner: &Inner, databases: &[String]) -> Result<Rows, ControlError> {
    let mut all = Rows::new();
    for database in databases {
        if inner.open(database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(database).await?;
        let sql = "SELECT number::text, to_char(made AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), role, kind, statement
            FROM oskol.schema_history h ORDER BY h.number";
        for row in home.query(sql, &[]).await.map_err(home.failed())? {
            let mut cells = vec![Some(database.clone())];
            cells.extend((0..row.len()).map(|at| Some(row.get(at))));
            all.push(cells);
        }
    }
    Ok(all)
}

/// One change that a shard lacks.
struct Change {
    number: i64,
    role: String,
    kind: String,
    statement: String,
    settings: String,
    steps: Option<String>,
}

/// Gives the shard what it lacks in each database. A row for each: the database, how many changes, the number reached.
pub(super) async fn catch_up(
    inner: &Inner,
    databases: &[String],
    shard: ShardId,
) -> Result<Rows, ControlError> {
    if shard == inner.connections.home() {
        return Err(ControlError::Refused(
            "the home shard has the history: the others follow it".into(),
        ));
    }
    let roles = inner.connections.own(shard, CLUSTER_DATABASE).await?;
    copy_roles(&inner.connections, shard, &roles).await?;
    let mut rows = Rows::new();
    for database in databases {
        inner.open(database).await?;
        let made = CatchUp {
            inner,
            database,
            shard,
        };
        let (made, reached) = made.run().await?;
        let cells = [database.clone(), made.to_string(), reached.to_string()];
        rows.push(cells.map(Some).to_vec());
    }
    Ok(rows)
}

struct CatchUp<'a> {
    inner: &'a Inner,
    database: &'a str,
    shard: ShardId,
}

impl CatchUp<'_> {
    /// How many changes were made, and the number of the last.
    async fn run(&self) -> Result<(usize, i64), ControlError> {
        let (inner, database) = (self.inner, self.database);
        let home = inner
            .connections
            .own(inner.connections.home(), database)
            .await?;
        let failed = ControlError::statement(inner.connections.home());
        // Nobody changes tables until this connection is closed.
        let lock = format!(
            "SET lock_timeout TO '10s'; SET idle_in_transaction_session_timeout TO '{LONGEST}';
            BEGIN; SELECT oskol.ddl_lock()"
        );
        home.batch_execute(&lock).await.map_err(&failed)?;
        let expected = expected(inner, database).await?;
        let found = standing(inner, self.shard, database).await?;
        let lacking = self.lacking(&expected, &found).await?;
        let target = inner.connections.own(self.shard, database).await?;
        for (done, change) in lacking.iter().enumerate() {
            tracing::info!(shard = %self.shard, database, number = change.number, done, of = lacking.len(),
                kind = change.kind, "a shard catches up");
            // The lock is held as long as this connection answers.
            home.batch_execute("").await.map_err(&failed)?;
            self.make(&target, change)
                .await
                .map_err(|error| self.stopped(change, &error))?;
        }
        let reached = standing(inner, self.shard, database).await?;
        match judge(&expected, self.shard, &reached) {
            None => Ok((lacking.len(), reached.applied.number)),
            Some(apart) => Err(self.refused(&apart.to_string())),
        }
    }

    /// What the shard lacks; an error where that is not all that is wrong with it.
    async fn lacking(
        &self,
        expected: &Expected,
        found: &Standing,
    ) -> Result<Vec<Change>, ControlError> {
        if found.in_doubt {
            return Err(self.refused("has transactions in doubt: try again when they have ended"));
        }
        let moved = expected.moved.get(&self.shard).copied();
        if moved.is_some_and(|moved| moved > found.moved) {
            return Err(self.refused(&format!(
                "{}: restore all shards to one moment",
                Apart::BeforeMove
            )));
        }
        match judge(expected, self.shard, found) {
            None => return Ok(Vec::new()),
            Some(Apart::Behind(_)) => {}
            Some(apart) => {
                return Err(self.refused(&format!("{apart}: restore all shards to one moment")));
            }
        }
        let home = self.inner.connections.get_home(self.database).await?;
        self.must_be_the_same_line(&home, found).await?;
        let sql = "SELECT number, role, kind, statement, settings::text, steps::text FROM oskol.schema_history
            WHERE number > $1 ORDER BY number";
        let rows = home.query(sql, &[&found.applied.number]).await;
        let rows = rows.map_err(home.failed())?;
        let changes: Vec<Change> = rows.iter().map(change).collect();
        match changes.iter().find(|change| change.steps.is_none()) {
            Some(change) => Err(self.refused(&format!(
                "cannot make change {} ({}) by itself: restore all shards to one moment",
                change.number, change.kind
            ))),
            None => Ok(changes),
        }
    }

    /// Up to where it is the shard must have made the changes that the home shard has made.
    async fn must_be_the_same_line(
        &self,
        home: &Lent,
        found: &Standing,
    ) -> Result<(), ControlError> {
        let Standing { applied, .. } = found;
        let sql = "SELECT digest = $2, number FROM oskol.schema_history WHERE number >= $1 ORDER BY number LIMIT 1";
        let first = home
            .query_opt(sql, &[&applied.number, &applied.digest])
            .await;
        let first = first.map_err(home.failed())?;
        let is_known = match (applied.number, first) {
            (0, Some(row)) => row.get::<_, i64>(1) == 1,
            (number, Some(row)) => row.get::<_, i64>(1) == number && row.get(0),
            (_, None) => false,
        };
        match is_known {
            true => Ok(()),
            false => Err(self.refused(
                "stands at a change that the history does not have: restore all shards to one moment",
            )),
        }
    }

    async fn make(&self, target: &Client, change: &Change) -> Result<(), tokio_postgres::Error> {
        let steps = change.steps.as_deref().unwrap_or("[]");
        // Code of the change before may have set something, or left something that goes by a name of ours.
        target.batch_execute("DISCARD ALL").await?;
        let sql = again(change, steps);
        let made = target.batch_execute(&sql).await;
        if made.is_err() {
            target.batch_execute("ROLLBACK").await?;
        }
        made
    }

    fn stopped(&self, change: &Change, error: &tokio_postgres::Error) -> ControlError {
        let why = crate::management::reason(error);
        ControlError::Refused(format!(
            "shard {}, database {}: change {} ({}) fails: {why}",
            self.shard, self.database, change.number, change.statement
        ))
    }

    fn refused(&self, why: &str) -> ControlError {
        ControlError::Refused(format!(
            "shard {} {why} (database {})",
            self.shard, self.database
        ))
    }
}

fn change(row: &tokio_postgres::Row) -> Change {
    Change {
        number: row.get(0),
        role: row.get(1),
        kind: row.get(2),
        statement: row.get(3),
        settings: row.get(4),
        steps: row.get(5),
    }
}

/// The change in one string. The steps run in a function that belongs to whoever has made the change first: inside it no code
/// of theirs can give itself other rights. What would run at the commit only, as the superuser, must not be there: cursors WITH
/// HOLD are closed, and a change that has written to a table with deferrable triggers is not made. Who else notes what rows need
/// is found by what they have noted.
fn again(change: &Change, steps: &str) -> String {
    let (role, settings) = (
        quote_identifier(&change.role),
        quote_literal(&change.settings),
    );
    let (steps, statement) = (quote_literal(steps), quote_literal(&change.statement));
    format!(
        "BEGIN;
SET LOCAL statement_timeout TO '{LONGEST}';
CREATE FUNCTION pg_temp.oskol_again(steps json) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $again$
DECLARE
    step text;
BEGIN
    FOR step IN SELECT pg_catalog.json_array_elements_text(steps) LOOP
        EXECUTE step;
    END LOOP;
END
$again$;
ALTER FUNCTION pg_temp.oskol_again(json) OWNER TO {role};
SELECT set_config(s.name, s.value, true) FROM json_each_text({settings}) AS s (name, value)
    WHERE s.name IN (SELECT k FROM json_object_keys(oskol.schema_settings()::json) AS k);
SELECT pg_temp.oskol_again({steps}::pg_catalog.json);
CLOSE ALL;
SET LOCAL search_path TO pg_catalog, pg_temp;
DO $again$ BEGIN
    IF EXISTS (SELECT FROM pg_trigger t JOIN pg_stat_xact_all_tables s ON s.relid = t.tgrelid
        WHERE t.tgdeferrable AND s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0) THEN
        RAISE EXCEPTION 'it writes to a table with deferred triggers' USING ERRCODE = '0A000',
            HINT = 'Restore all shards to one moment.';
    END IF;
    IF EXISTS (SELECT FROM oskol.changes) OR EXISTS (SELECT FROM oskol.key_changes) THEN
        RAISE EXCEPTION 'rows of this shard need entries on others' USING ERRCODE = '0A000',
            HINT = 'Restore all shards to one moment.';
    END IF;
END $again$;
UPDATE oskol.applied SET number = number + 1, digest = hashtextextended({statement}, digest);
DROP FUNCTION pg_temp.oskol_again(json);
COMMIT"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_change_are_quoted() {
        let change = Change {
            number: 1,
            role: "o'\"x".into(),
            kind: "COMMENT".into(),
            statement: "comment on table t is 'it''s'".into(),
            settings: "{\"search_path\": \"a'b\"}".into(),
            steps: None,
        };
        let sql = again(&change, "[\"comment on table t is 'it''s'\"]");
        assert!(sql.contains("OWNER TO \"o'\"\"x\";"), "{sql}");
        assert!(
            sql.contains("oskol_again('[\"comment on table t is ''it''''s''\"]'::pg_catalog.json)"),
            "{sql}"
        );
        assert!(
            sql.contains("json_each_text('{\"search_path\": \"a''b\"}')"),
            "{sql}"
        );
    }
}
