//! Statements about a table whose rows run somebody's code, run with the rights of the table's owner and not with those of
//! whoever moves the rows, who may do anything. Pure: gives text.
//!
//! Three things are there for one statement, in its transaction, and dropped after it:
//! - a *view* of the table, which belongs to the cluster's role: through it policies, and rights that the owner has taken from
//!   himself, stand in nobody's way, while what the table calls runs as whoever uses the view;
//! - a *function* that belongs to the owner and runs the statement: inside it nobody can take other rights. It is made anew
//!   for each statement, as its owner may change it;
//! - where rows come, a *stage*: a table of types that call nothing.

use super::tables::MovedTable;
use crate::settings::quote_literal;

/// Who writes a table's rows where they come to.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// Quoted where it has to be.
    pub(super) name: String,
    /// His search path: code finds there what it names without a schema, as when he writes a row himself.
    pub(super) path: String,
    /// By column of the table: its type on the stage, and what it is cast to from there ("": nothing).
    pub(super) staged: Vec<String>,
    pub(super) own: Vec<String>,
}

/// What the function gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    Nothing,
    /// As the view has them.
    Rows,
    /// As [`MovedTable::digest`].
    Digests,
}

/// One statement's objects.
pub(super) struct AsOwner<'a> {
    table: &'a MovedTable,
    owner: &'a Owner,
    /// Of the transaction: what others make at the same time is named otherwise.
    number: &'a str,
}

impl<'a> AsOwner<'a> {
    pub(super) fn new(table: &'a MovedTable, owner: &'a Owner, number: &'a str) -> Self {
        Self {
            table,
            owner,
            number,
        }
    }

    fn view(&self) -> String {
        format!("oskol.rows_{}", self.number)
    }

    fn function(&self) -> String {
        format!("oskol.as_owner_{}", self.number)
    }

    fn stage(&self) -> String {
        format!("oskol.stage_{}", self.number)
    }

    /// The table as its owner is given it: what makes statements makes them of this.
    pub(super) fn seen(&self) -> MovedTable {
        self.table.through(self.view())
    }

    /// Makes view and function.
    pub(super) fn open(&self, gives: Gives) -> String {
        let (view, function, owner) = (self.view(), self.function(), &self.owner.name);
        let (returns, run) = match gives {
            Gives::Nothing => ("void".to_owned(), "EXECUTE statement;"),
            Gives::Rows => (format!("SETOF {view}"), "RETURN QUERY EXECUTE statement;"),
            Gives::Digests => (
                "TABLE (bucket int4, rows int8, sum text)".to_owned(),
                "RETURN QUERY EXECUTE statement;",
            ),
        };
        format!(
            "CREATE VIEW {view} AS {};
            GRANT SELECT, INSERT, DELETE ON {view} TO {owner};
            CREATE FUNCTION {function}(statement text, path text) RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER AS $owner$
            BEGIN
                PERFORM pg_catalog.set_config('search_path', path, true);
                {run}
            END
            $owner$;
            REVOKE ALL ON FUNCTION {function}(text, text) FROM PUBLIC;
            ALTER FUNCTION {function}(text, text) OWNER TO {owner}",
            self.table.all_rows()
        )
    }

    /// As an item of FROM, or of a list of results.
    pub(super) fn call(&self, statement: &str) -> String {
        format!(
            "{}({}, {})",
            self.function(),
            quote_literal(statement),
            quote_literal(&self.owner.path)
        )
    }

    /// Right after the owner's code: nothing that it has left may have an effect on what follows, which goes on with other
    /// rights. `settings`: those of the connection. `direct`: names of tables that call nothing, which must still be so.
    pub(super) fn close(&self, settings: &str, direct: &[String]) -> String {
        let direct: Vec<String> = direct.iter().map(|name| quote_literal(name)).collect();
        format!(
            "CLOSE ALL; RESET ALL; DEALLOCATE ALL; {settings};
            DROP FUNCTION {}; DROP VIEW {}; SELECT oskol.check_after_code(ARRAY[{}]::text[])",
            self.function(),
            self.view(),
            direct.join(", ")
        )
    }

    pub(super) fn make_stage(&self) -> String {
        let columns = self.table.columns().iter().zip(&self.owner.staged);
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let (stage, owner) = (self.stage(), &self.owner.name);
        format!(
            "CREATE UNLOGGED TABLE {stage} ({}); GRANT SELECT ON {stage} TO {owner}",
            columns.join(", ")
        )
    }

    pub(super) fn copy_to_stage(&self) -> String {
        self.table.copy_into(&self.stage())
    }

    /// The statement that takes the rows from the stage.
    pub(super) fn take_from_stage(&self) -> String {
        let columns = self.table.columns();
        let values = columns.iter().zip(&self.owner.own);
        let values: Vec<String> = values
            .map(|(name, own)| match own.as_str() {
                "" => format!("s.{name}"),
                own => format!("s.{name}::{own}"),
            })
            .collect();
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s",
            self.view(),
            columns.join(", "),
            values.join(", "),
            self.stage()
        )
    }

    pub(super) fn drop_stage(&self) -> String {
        format!("DROP TABLE {}", self.stage())
    }
}
