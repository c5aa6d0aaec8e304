//! What an INSERT reads besides the table it fills, and whether that is where it runs.

use pg_query::protobuf::RangeVar;
use schema::{Placement, Relation, RelationKind};

use crate::error::RouterError;
use crate::plan::facts::{Facts, Mention};
use crate::plan::gather::print::INPUT;
use crate::plan::scope::{self, Found};
use crate::plan::{PlanContext, names, sequence};

/// What an INSERT reads besides the table it fills.
#[derive(Debug, Default)]
pub struct Others {
    pub sharded: Option<String>,
    pub local: Option<String>,
    pub temporary: bool,
    /// Sequence functions of the statement, if any, are about sequences of local tables.
    pub only_home_sequences: bool,
}

pub fn of(
    facts: &Facts,
    target: &RangeVar,
    context: &PlanContext<'_>,
) -> Result<Others, RouterError> {
    let mut others = Others {
        only_home_sequences: only_home_sequences(facts, context),
        ..Others::default()
    };
    let at = usize::try_from(target.location).unwrap_or(0);
    for table in facts.tables().filter(|table| table.location != at) {
        others.add(table, context);
    }
    Ok(others)
}

/// Every string in the statement that names a leased sequence counts, whichever function it is given to.
fn only_home_sequences(facts: &Facts, context: &PlanContext<'_>) -> bool {
    let is_leased = |text: &String| {
        names::parse_qualified(text).is_some_and(|(schema, name)| {
            matches!(scope::find_name(schema.as_deref(), &name, context),
                Found::Relation(found) if sequence::is_leased(&found) || found.placement != Placement::Local)
        })
    };
    !facts.strings.iter().any(is_leased) && !facts.calls(&["lastval"])
}

impl Others {
    fn add(&mut self, table: &Mention, context: &PlanContext<'_>) {
        if table.schema.is_none() && table.name.starts_with(INPUT) {
            return;
        }
        let name = || Some(table.name.clone());
        match scope::find_name(table.schema.as_deref(), &table.name, context) {
            Found::Temporary => {
                self.temporary = true;
                self.local = name();
            }
            Found::Home => self.local = name(),
            Found::Relation(found) => {
                let placements = placements(&found, context);
                if placements
                    .iter()
                    .any(|placement| matches!(placement, Placement::Sharded { .. }))
                {
                    self.sharded = name();
                } else if placements.contains(&Placement::Local) {
                    self.local = name();
                }
            }
        }
    }

    /// What runs on the home shard sees no sharded rows but its own.
    pub fn none_sharded(&self) -> Result<(), RouterError> {
        match &self.sharded {
            Some(table) => Err(reads_sharded(table)),
            None => Ok(()),
        }
    }

    pub fn only_reference(&self) -> Result<(), RouterError> {
        self.none_sharded()?;
        match &self.local {
            Some(table) => Err(RouterError::unsupported(
                "insert-select",
                "INSERT into a table on several shards from a local table is not supported yet",
            )
            .detail(format!("\"{table}\" is on the home shard only."))
            .hint("Read the rows first and insert them as VALUES or by COPY.")),
            None => Ok(()),
        }
    }
}

/// The placements of a relation, or of all that a view reads.
fn placements(relation: &Relation, context: &PlanContext<'_>) -> Vec<Placement> {
    if relation.reads.is_empty() {
        return vec![scope::placement(relation, context)];
    }
    let find =
        |(schema, name): &(String, String)| context.snapshot.relations.get(schema)?.get(name);
    relation
        .reads
        .iter()
        .map(find)
        .filter(|found| found.is_none_or(|relation| relation.kind != RelationKind::View))
        .map(|found| {
            found.map_or(Placement::Local, |relation| {
                scope::placement(relation, context)
            })
        })
        .collect()
}

fn reads_sharded(table: &str) -> RouterError {
    RouterError::unsupported(
        "insert-select",
        "INSERT from a query over a sharded table is not supported yet",
    )
    .detail(format!(
        "The statement reads \"{table}\", whose rows are on several shards."
    ))
    .hint("Read the rows first and insert them as VALUES or by COPY.")
}

/// A user's function that reads sharded tables would see one shard's rows.
pub fn no_function_over_sharded(
    facts: &Facts,
    context: &PlanContext<'_>,
) -> Result<(), RouterError> {
    function_that(facts, context, |function| {
        !function.mentions_sharded.is_empty()
    })
}

/// A user's function that reads tables at all is right on the home shard only.
pub fn no_function_over_tables(
    facts: &Facts,
    context: &PlanContext<'_>,
) -> Result<(), RouterError> {
    function_that(facts, context, |function| {
        !function.mentions_sharded.is_empty() || function.mentions_local
    })
}

fn function_that(
    facts: &Facts,
    context: &PlanContext<'_>,
    is_bad: impl Fn(&schema::Function) -> bool,
) -> Result<(), RouterError> {
    let bad = facts.functions.iter().find(|call| {
        context
            .snapshot
            .functions
            .get(&call.name)
            .is_some_and(|overloads| overloads.iter().any(&is_bad))
    });
    match bad {
        Some(call) => Err(RouterError::unsupported(
            "function-reads-tables",
            format!(
                "function {}() cannot be called in this statement",
                call.name
            ),
        )
        .detail("Its body mentions tables whose rows are not all where this statement runs.")
        .hint("Call it in a statement of its own and pass the result.")),
        None => Ok(()),
    }
}
