//! The catalog that the case files are planned against. Sharded by user id: users, posts, follows, likes
//! (key not first), small (int4), events_2024 (a partition of events, columns in another order); by text:
//! slugs (C), titles (a language's collation); by uuid: devices. Reference: countries, currencies. Local:
//! settings.

use std::sync::Arc;

use schema::{
    Column, Function, KeyType, Placement, Relation, RelationKind, Snapshot, UniqueKey, View,
};

const BOOL: u32 = 16;
const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const FLOAT8: u32 = 701;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;

fn column(name: &str, type_oid: u32) -> Column {
    let is_text = matches!(type_oid, TEXT | VARCHAR);
    Column {
        name: name.into(),
        type_oid,
        type_name: type_name(type_oid).to_owned(),
        type_modifier: -1,
        collation_is_bytewise: !is_text,
        collation_is_deterministic: true,
        ..Column::default()
    }
}

fn type_name(oid: u32) -> &'static str {
    match oid {
        BOOL => "boolean",
        INT8 => "bigint",
        INT4 => "integer",
        FLOAT8 => "double precision",
        VARCHAR => "character varying(20)",
        DATE => "date",
        TIMESTAMPTZ => "timestamp with time zone",
        NUMERIC => "numeric",
        UUID => "uuid",
        _ => "text",
    }
}

fn bytewise(name: &str) -> Column {
    Column {
        collation_is_bytewise: true,
        ..column(name, TEXT)
    }
}

fn blurred(name: &str) -> Column {
    Column {
        collation_is_deterministic: false,
        ..column(name, TEXT)
    }
}

fn relation(name: &str, placement: Placement, columns: Vec<Column>) -> Relation {
    Relation {
        schema: "public".into(),
        name: name.into(),
        placement,
        columns,
        ..Relation::default()
    }
}

fn key(key: usize, key_type: KeyType) -> Placement {
    Placement::Sharded { key, key_type }
}

fn sharded() -> Vec<Relation> {
    let by_user = |key_column| key(key_column, KeyType::Int8);
    vec![
        relation(
            "users",
            by_user(0),
            vec![
                column("id", INT8),
                column("name", TEXT),
                bytewise("handle"),
                column("country", INT4),
                column("born", DATE),
                column("score", FLOAT8),
                column("active", BOOL),
            ],
        ),
        relation(
            "posts",
            by_user(1),
            vec![
                column("id", INT8),
                column("user_id", INT8),
                column("body", TEXT),
                column("made", TIMESTAMPTZ),
                column("stars", INT4),
                column("price", NUMERIC),
            ],
        ),
        relation(
            "follows",
            by_user(0),
            vec![column("follower", INT8), column("followee", INT8)],
        ),
        relation(
            "likes",
            by_user(1),
            vec![column("post_id", INT8), column("user_id", INT8)],
        ),
        relation(
            "small",
            key(0, KeyType::Int4),
            vec![column("id", INT4), column("n", INT4)],
        ),
        relation(
            "slugs",
            key(0, KeyType::Text),
            vec![bytewise("slug"), column("user_id", INT8), blurred("alias")],
        ),
        relation(
            "titles",
            key(0, KeyType::Varchar),
            vec![column("title", VARCHAR), column("n", INT4)],
        ),
        relation(
            "devices",
            key(0, KeyType::Uuid),
            vec![column("id", UUID), column("user_id", INT8)],
        ),
        relation(
            "events",
            by_user(0),
            vec![column("user_id", INT8), column("at", TIMESTAMPTZ)],
        ),
    ]
}

fn over_sharded(
    name: &str,
    reads: Vec<(String, String)>,
    columns: Vec<Column>,
    definition: &str,
) -> Relation {
    Relation {
        kind: RelationKind::View,
        reads,
        view: Some(View {
            definition: definition.to_owned(),
            ..View::default()
        }),
        ..relation(name, Placement::Local, columns)
    }
}

fn others() -> Vec<Relation> {
    let read = |name: &str| ("public".to_owned(), name.to_owned());
    let view = |name: &str, reads, columns| Relation {
        kind: RelationKind::View,
        reads,
        ..relation(name, Placement::Local, columns)
    };
    vec![
        Relation {
            unique_keys: vec![UniqueKey {
                name: "countries_pkey".into(),
                primary: true,
                columns: vec![0],
                ..UniqueKey::default()
            }],
            ..relation(
                "countries",
                Placement::Reference,
                vec![column("id", INT4), column("name", TEXT)],
            )
        },
        relation(
            "currencies",
            Placement::Reference,
            vec![column("code", TEXT), column("country", INT4)],
        ),
        relation(
            "settings",
            Placement::Local,
            vec![column("id", INT8), column("value", TEXT)],
        ),
        Relation {
            parent: Some(("public".into(), "events".into())),
            ..relation(
                "events_2024",
                Placement::Local,
                vec![column("at", TIMESTAMPTZ), column("user_id", INT8)],
            )
        },
        view(
            "user_names",
            vec![read("users")],
            vec![column("id", INT8), column("name", TEXT)],
        ),
        view(
            "country_names",
            vec![read("countries")],
            vec![column("name", TEXT)],
        ),
        view(
            "setting_values",
            vec![read("settings")],
            vec![column("value", TEXT)],
        ),
        over_sharded(
            "good_posts",
            vec![read("posts")],
            vec![
                column("author", INT8),
                column("id", INT8),
                column("body", TEXT),
            ],
            "SELECT posts.user_id AS author, posts.id, posts.body FROM public.posts WHERE (posts.stars > 3)",
        ),
        over_sharded(
            "good_authors",
            vec![read("posts"), read("good_posts"), read("users")],
            vec![
                column("id", INT8),
                column("name", TEXT),
                column("posts", INT8),
            ],
            "SELECT u.id, u.name, count(*) AS posts FROM (public.good_posts g JOIN public.users u ON ((u.id = g.author))) GROUP BY u.id, u.name",
        ),
        over_sharded(
            "plain_posts",
            vec![read("posts")],
            vec![
                column("user_id", INT8),
                column("id", INT8),
                column("body", TEXT),
            ],
            "SELECT posts.user_id, posts.id, posts.body FROM public.posts WHERE (posts.stars > 3)",
        ),
        over_sharded(
            "bodies",
            vec![read("posts"), read("good_posts")],
            vec![column("body", TEXT), column("posts", INT8)],
            "SELECT good_posts.body, count(*) AS posts FROM public.good_posts GROUP BY good_posts.body",
        ),
        over_sharded(
            "ones",
            vec![read("posts")],
            vec![column("id", INT8)],
            "SELECT posts.id FROM public.posts WHERE (posts.user_id = 1)",
        ),
        Relation {
            kind: RelationKind::Sequence,
            ..relation("tickets", Placement::Local, vec![])
        },
        Relation {
            kind: RelationKind::Sequence,
            owned_by: Some(("public".into(), "posts".into(), 0)),
            ..relation("posts_id_seq", Placement::Local, vec![])
        },
    ]
}

fn function(
    name: &str,
    volatility: char,
    mentions_sharded: &[&str],
    mentions_local: bool,
) -> Function {
    Function {
        schema: "public".into(),
        name: name.into(),
        volatility,
        kind: 'f',
        mentions_sharded: mentions_sharded
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        mentions_local,
        mentions_reference: name == "rename_country",
        leaves_state: false,
    }
}

pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let public = snapshot.relations.entry("public".into()).or_default();
    for relation in sharded().into_iter().chain(others()) {
        public.insert(relation.name.clone(), Arc::new(relation));
    }
    let functions = [
        function("pure", 'i', &[], false),
        function("noisy", 'v', &[], false),
        function("make_post", 'v', &["posts"], false),
        function("rename_country", 'v', &[], false),
        function("setting", 's', &[], true),
    ];
    for function in functions {
        snapshot
            .functions
            .entry(function.name.clone())
            .or_default()
            .push(function);
    }
    snapshot.user_aggregates.insert("median".into(), ());
    snapshot
}
