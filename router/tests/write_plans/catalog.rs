//! The catalog that the case files are planned against.

use std::sync::Arc;

use schema::rules::RulePlacement;
use schema::{
    Column, DefaultValue, ForeignKey, Function, KeyType, Placement, Relation, RelationKind,
    Snapshot, TableRule, UniqueKey,
};

const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const TIMESTAMPTZ: u32 = 1184;

fn column(name: &str, type_oid: u32) -> Column {
    Column {
        name: name.into(),
        type_oid,
        type_modifier: -1,
        type_name: type_name(type_oid).into(),
        not_null: name.ends_with("id"),
        collation_is_deterministic: true,
        ..Column::default()
    }
}

fn type_name(type_oid: u32) -> &'static str {
    match type_oid {
        INT4 => "integer",
        INT8 => "bigint",
        TIMESTAMPTZ => "timestamp with time zone",
        _ => "text",
    }
}

fn serial(name: &str, table: &str) -> Column {
    let sequence = format!("{table}_{name}_seq");
    Column {
        default: DefaultValue::Sequence {
            schema: "public".into(),
            name: sequence,
        },
        ..column(name, INT8)
    }
}

fn identity(name: &str, table: &str, always: bool) -> Column {
    let sequence = format!("{table}_{name}_seq");
    Column {
        default: DefaultValue::Identity {
            always,
            schema: "public".into(),
            name: sequence,
        },
        ..column(name, INT8)
    }
}

fn stamped(name: &str) -> Column {
    let default = DefaultValue::Expression {
        text: "now()".into(),
        volatile: true,
    };
    Column {
        default,
        ..column(name, TIMESTAMPTZ)
    }
}

fn table(name: &str, placement: Placement, columns: Vec<Column>) -> Relation {
    Relation {
        schema: "public".into(),
        name: name.into(),
        placement,
        columns,
        ..Relation::default()
    }
}

fn primary(name: &str, columns: &[usize]) -> UniqueKey {
    UniqueKey {
        name: name.into(),
        primary: true,
        columns: columns.to_vec(),
        ..UniqueKey::default()
    }
}

fn key(key: usize) -> Placement {
    Placement::Sharded {
        key,
        key_type: KeyType::Int8,
    }
}

fn tables() -> Vec<Relation> {
    let mut users = table(
        "users",
        key(0),
        vec![
            serial("id", "users"),
            column("name", TEXT),
            column("email", TEXT),
        ],
    );
    users.unique_keys = vec![primary("users_pkey", &[0])];
    let mut posts = table(
        "posts",
        key(1),
        vec![
            identity("id", "posts", true),
            column("user_id", INT8),
            column("body", TEXT),
        ],
    );
    posts.unique_keys = vec![primary("posts_pkey", &[1, 0])];
    posts.foreign_keys = vec![ForeignKey {
        name: "posts_user_id_fkey".into(),
        columns: vec![1],
        referenced: ("public".into(), "users".into()),
        referenced_columns: vec!["id".into()],
        kept: None,
    }];
    let mut likes = table(
        "likes",
        key(0),
        vec![
            column("user_id", INT8),
            column("post_id", INT8),
            stamped("at"),
        ],
    );
    likes.unique_keys = vec![primary("likes_pkey", &[0, 1])];
    let slugs = table(
        "slugs",
        Placement::Sharded {
            key: 0,
            key_type: KeyType::Varchar,
        },
        vec![column("slug_id", 1043), column("n", INT4)],
    );
    let mut settings = table(
        "settings",
        Placement::Local,
        vec![serial("id", "settings"), column("value", TEXT)],
    );
    settings.unique_keys = vec![primary("settings_pkey", &[0])];
    let mut countries = table(
        "countries",
        Placement::Reference,
        vec![
            serial("id", "countries"),
            column("name", TEXT),
            stamped("made"),
        ],
    );
    countries.unique_keys = vec![primary("countries_pkey", &[0])];
    let currencies = table(
        "currencies",
        Placement::Reference,
        vec![column("code", TEXT), column("name", TEXT)],
    );
    let notes = table(
        "notes",
        key(1),
        vec![
            identity("id", "notes", false),
            column("user_id", INT8),
            column("n", INT4),
        ],
    );
    let mut accepting = table(
        "accepting",
        key(0),
        vec![column("user_id", INT8), column("n", INT4)],
    );
    accepting.accept_unenforced = true;
    vec![
        users, posts, likes, slugs, countries, currencies, settings, notes, accepting,
    ]
}

/// The sequences behind the serial and identity columns of `tables`.
fn sequences(tables: &[Relation]) -> Vec<Relation> {
    let mut sequences = Vec::new();
    for table in tables {
        for (index, column) in table.columns.iter().enumerate() {
            let (DefaultValue::Sequence { name, .. } | DefaultValue::Identity { name, .. }) =
                &column.default
            else {
                continue;
            };
            let owner = ("public".to_owned(), table.name.clone(), index);
            sequences.push(Relation {
                schema: "public".into(),
                name: name.clone(),
                kind: RelationKind::Sequence,
                owned_by: (table.placement != Placement::Local).then_some(owner),
                ..Relation::default()
            });
        }
    }
    sequences
}

fn views() -> Vec<Relation> {
    let read = |name: &str| ("public".to_owned(), name.to_owned());
    let view = |name: &str, reads| Relation {
        schema: "public".into(),
        name: name.into(),
        kind: RelationKind::View,
        reads,
        ..Relation::default()
    };
    vec![
        view("user_names", vec![read("users")]),
        view("setting_values", vec![read("settings")]),
    ]
}

fn functions() -> Vec<Function> {
    let function = |name: &str, volatility, mentions: &[&str]| Function {
        schema: "public".into(),
        name: name.into(),
        volatility,
        kind: 'f',
        mentions_sharded: mentions.iter().map(|&mention| mention.to_owned()).collect(),
        ..Function::default()
    };
    vec![
        function("user_count", 's', &["users"]),
        function("twice", 'i', &[]),
        function("tick", 'v', &[]),
    ]
}

pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot {
        epoch: 1,
        ..Snapshot::default()
    };
    let tables = tables();
    let sequences = sequences(&tables);
    for relation in tables.into_iter().chain(sequences).chain(views()) {
        let schema = snapshot
            .relations
            .entry(relation.schema.clone())
            .or_default();
        schema.insert(relation.name.clone(), Arc::new(relation));
    }
    for function in functions() {
        snapshot
            .functions
            .entry(function.name.clone())
            .or_default()
            .push(function);
    }
    snapshot
}

/// Rules for tables that do not exist yet.
pub fn rules() -> Vec<TableRule> {
    let rule = |name: &str, placement, key: Option<&str>, accept_unenforced| TableRule {
        schema: None,
        name: name.into(),
        placement,
        key: key.map(Into::into),
        accept_unenforced,
        database: None,
    };
    vec![
        rule("events", RulePlacement::Sharded, Some("user_id"), false),
        rule("visits", RulePlacement::Sharded, Some("user_id"), true),
        rule("regions", RulePlacement::Reference, None, false),
    ]
}
