//! Names to what they stand for: relations, built-in types, functions. Takes names as the grammar
//! gives them and the catalog snapshot; must never know of keys' values or of shards.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, RangeVar, TypeName};
use schema::{Placement, Relation};

use super::PlanContext;

/// What the name of a relation stands for.
#[derive(Debug, Clone)]
pub enum Found {
    Relation(Arc<Relation>),
    /// A temporary relation of this session; on the home shard.
    Temporary,
    /// Of `pg_catalog` or `information_schema`, or of a name that no user's relation has (then the
    /// home shard says so in PostgreSQL's own words).
    Home,
}

/// Finds what `range` names, as PostgreSQL would: temporary relations, `pg_catalog`, search path.
pub fn find(range: &RangeVar, context: &PlanContext<'_>) -> Found {
    let schema = (!range.schemaname.is_empty()).then_some(range.schemaname.as_str());
    find_name(schema, &range.relname, context)
}

/// As [`find`], by schema and name.
pub fn find_name(schema: Option<&str>, name: &str, context: &PlanContext<'_>) -> Found {
    match schema {
        Some("pg_temp") => return Found::Temporary,
        Some(schema) if schema.starts_with("pg_") || schema == "information_schema" => {
            return Found::Home;
        }
        None if (context.temporary)(name) => return Found::Temporary,
        // All relations of pg_catalog, and only they by PostgreSQL's advice, start so; pg_catalog is
        // searched first.
        None if name.starts_with("pg_") => return Found::Home,
        _ => {}
    }
    match context.snapshot.relation(schema, name, context.search_path) {
        Some(relation) => Found::Relation(Arc::clone(relation)),
        None => Found::Home,
    }
}

/// Where a relation's rows are: its own placement, or that of the table it is a partition of.
pub fn placement(relation: &Relation, context: &PlanContext<'_>) -> Placement {
    let mut owner = relation;
    // A partition tree is not deeper than this; the bound only guards against a ring.
    for _ in 0..32 {
        if owner.placement != Placement::Local {
            return as_seen_by(relation, owner);
        }
        let parent = owner
            .parent
            .as_ref()
            .and_then(|(schema, name)| context.snapshot.relations.get(schema)?.get(name));
        match parent {
            Some(parent) => owner = parent,
            None => break,
        }
    }
    Placement::Local
}

/// `owner`'s placement with the key's index among `relation`'s columns (a partition may have its
/// columns in another order).
fn as_seen_by(relation: &Relation, owner: &Relation) -> Placement {
    match owner.placement {
        Placement::Sharded { key, key_type } => {
            let name = &owner.columns[key].name;
            let key = relation
                .columns
                .iter()
                .position(|column| column.name == *name)
                .unwrap_or(key);
            Placement::Sharded { key, key_type }
        }
        ref other => other.clone(),
    }
}

/// The text of a `String` node.
pub fn string(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(&text.sval),
        _ => None,
    }
}

/// Splits a qualified name into schema and name.
pub fn qualified(names: &[Node]) -> Option<(Option<&str>, &str)> {
    match names {
        [name] => Some((None, string(name)?)),
        [schema, name] => Some((Some(string(schema)?), string(name)?)),
        // catalog.schema.name
        [_, schema, name] => Some((Some(string(schema)?), string(name)?)),
        _ => None,
    }
}

/// Schema (where written) and name of the function called.
pub fn function_name(call: &FuncCall) -> Option<(Option<&str>, &str)> {
    qualified(&call.funcname)
}

/// The oid of a built-in scalar type that a shard key may be cast to. `None`: any other type, an
/// array, or a type with a modifier (`varchar(3)` cuts).
pub fn plain_type(name: &TypeName) -> Option<u32> {
    if name.setof || name.pct_type || !name.array_bounds.is_empty() || !name.typmods.is_empty() {
        return None;
    }
    match qualified(&name.names)? {
        (None | Some("pg_catalog"), "int2") => Some(INT2),
        (None | Some("pg_catalog"), "int4") => Some(INT4),
        (None | Some("pg_catalog"), "int8") => Some(INT8),
        (None | Some("pg_catalog"), "text") => Some(TEXT),
        (None | Some("pg_catalog"), "varchar") => Some(VARCHAR),
        (None | Some("pg_catalog"), "uuid") => Some(UUID),
        _ => None,
    }
}

/// Oids of built-in types, from PostgreSQL's `pg_type.dat`.
pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const NAME: u32 = 19;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const OID: u32 = 26;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const BPCHAR: u32 = 1042;
pub const VARCHAR: u32 = 1043;
pub const DATE: u32 = 1082;
pub const TIME: u32 = 1083;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const NUMERIC: u32 = 1700;
pub const UUID: u32 = 2950;

/// As [`plain_type`], of the elements of an array type (`int8[]`).
pub fn array_element(name: &TypeName) -> Option<u32> {
    if name.array_bounds.is_empty() {
        return None;
    }
    let element = TypeName {
        array_bounds: Vec::new(),
        ..name.clone()
    };
    plain_type(&element)
}
