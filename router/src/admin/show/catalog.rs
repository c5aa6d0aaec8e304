//! SHOW TABLES, DATABASES.

use schema::{Placement, Relation, RelationKind, Snapshot};

use super::Rows;
use crate::admin::AdminState;
use crate::admin::table::{Column, boolean, number, row, text};

pub const TABLES: &[Column] = &[
    text("database"),
    text("schema"),
    text("table"),
    text("placement"),
    text("key"),
    text("key_type"),
    boolean("accept_unenforced"),
];

pub const DATABASES: &[Column] = &[
    text("name"),
    number("home_shard"),
    number("catalog_epoch"),
    number("sharded_tables"),
    number("reference_tables"),
    number("local_tables"),
];

pub fn tables(state: &AdminState) -> Rows {
    let mut rows = Rows::new();
    for (database, snapshot) in state.board.databases() {
        let mut tables: Vec<&Relation> = tables_of(&snapshot)
            .filter(|table| table.placement != Placement::Local)
            .collect();
        tables.sort_by(|one, other| (&one.schema, &one.name).cmp(&(&other.schema, &other.name)));
        rows.extend(tables.into_iter().map(|table| table_row(&database, table)));
    }
    rows
}

fn table_row(database: &str, table: &Relation) -> Vec<Option<String>> {
    let (placement, key, key_type) = match &table.placement {
        Placement::Local => ("local", None, None),
        Placement::Reference => ("reference", None, None),
        Placement::Sharded { key, key_type } => {
            let column = table.columns.get(*key).map(|column| column.name.as_str());
            (
                "sharded",
                column,
                Some(format!("{key_type:?}").to_lowercase()),
            )
        }
    };
    let (schema, name) = (table.schema.as_str(), table.name.as_str());
    row![
        database,
        schema,
        name,
        placement,
        key,
        key_type,
        table.accept_unenforced
    ]
}

/// Tables of users; those of schema `oskol` are the router's own.
fn tables_of(snapshot: &Snapshot) -> impl Iterator<Item = &Relation> {
    let relations = snapshot
        .relations
        .values()
        .flat_map(std::collections::HashMap::values);
    relations.map(std::sync::Arc::as_ref).filter(|relation| {
        let table = matches!(
            relation.kind,
            RelationKind::Table | RelationKind::Partitioned
        );
        table && relation.schema != "oskol" && relation.schema != "information_schema"
    })
}

pub fn databases(state: &AdminState) -> Rows {
    let home = state
        .board
        .map()
        .map_or(state.config.cluster.home, |map| map.home());
    let row = |(name, snapshot): (String, std::sync::Arc<Snapshot>)| {
        let count = |wanted: fn(&Placement) -> bool| {
            tables_of(&snapshot)
                .filter(|table| wanted(&table.placement))
                .count()
        };
        row![
            name,
            home.0,
            snapshot.epoch,
            count(|placement| matches!(placement, Placement::Sharded { .. })),
            count(|placement| matches!(placement, Placement::Reference)),
            count(|placement| matches!(placement, Placement::Local)),
        ]
    };
    state.board.databases().into_iter().map(row).collect()
}
