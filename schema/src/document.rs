//! The catalog document as `oskol.snapshot()` writes it: flat arrays, one entry a catalog row, relations
//! named by oid. Only [`crate::build`] reads it.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    pub epoch: u64,
    /// Number and digest of `oskol.applied`.
    #[serde(default)]
    pub applied: (i64, i64),
    pub schemas: Vec<String>,
    pub rules: Vec<RuleRow>,
    pub relations: Vec<RelationRow>,
    /// Ordered by relation, then by attribute number.
    pub columns: Vec<ColumnRow>,
    pub keys: Vec<KeyRow>,
    pub routes: Vec<RouteRow>,
    pub highest_key: u32,
    pub foreign_keys: Vec<ForeignKeyRow>,
    /// (child, parent)
    pub parents: Vec<(u32, u32)>,
    pub owners: Vec<OwnerRow>,
    pub views: Vec<ViewRow>,
    /// (view, relation)
    pub view_reads: Vec<(u32, u32)>,
    /// (view, function)
    pub view_calls: Vec<(u32, u32)>,
    /// (relation, function)
    pub relation_calls: Vec<(u32, u32)>,
    pub triggers: Vec<TriggerRow>,
    /// Functions of operators, casts, aggregates, domains and event triggers.
    pub unnamed_calls: Vec<u32>,
    pub functions: Vec<FunctionRow>,
    pub types: Vec<TypeRow>,
    pub operators: Vec<String>,
    pub casts: Vec<(u32, u32)>,
}

// The order of the fields is the order in the document.

#[derive(Debug, Deserialize)]
pub(crate) struct RuleRow {
    pub relation: u32,
    pub placement: crate::rules::RulePlacement,
    pub key: Option<i16>,
    pub accept_unenforced: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RelationRow {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// pg_class.relkind
    pub kind: char,
    pub row_security: bool,
    pub triggers: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ColumnRow {
    pub relation: u32,
    pub number: i16,
    pub name: String,
    pub type_oid: u32,
    pub type_modifier: i32,
    pub not_null: bool,
    pub collation_is_bytewise: bool,
    pub collation_is_deterministic: bool,
    /// pg_attribute.attidentity: `a` always, `d` by default, empty.
    pub identity: String,
    /// pg_attribute.attgenerated: `s` stored, empty.
    pub generated: String,
    pub default: Option<String>,
    pub default_is_volatile: bool,
    /// The sequence that the default depends on.
    pub default_sequence: Option<u32>,
    /// As `format_type` prints it, with its modifier.
    pub type_name: String,
    /// Where the collation is not the type's own: its schema and name.
    pub collation_schema: Option<String>,
    pub collation_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ViewRow {
    pub relation: u32,
    pub reads_catalogs: bool,
    pub definition: String,
    pub security_barrier: bool,
    pub security_invoker: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct KeyRow {
    pub relation: u32,
    pub name: String,
    pub primary: bool,
    pub exclusion: bool,
    pub partial: bool,
    /// Attribute numbers; 0 for an expression.
    pub columns: Vec<i16>,
    /// Where it holds over all shards by entries: its number, and its columns as PostgreSQL names them.
    pub number: Option<u32>,
    pub named: Option<String>,
    /// Attribute numbers of all columns that it reads.
    pub reads: Option<Vec<i16>>,
    pub filling: bool,
    pub deferrable: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RouteRow {
    pub relation: u32,
    pub number: u32,
    pub column: i16,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ForeignKeyRow {
    pub relation: u32,
    pub name: String,
    pub columns: Vec<i16>,
    pub referenced: u32,
    pub referenced_columns: Vec<i16>,
    /// pg_constraint.confdeltype, confupdtype and condeferrable.
    pub on_delete: char,
    pub on_update: char,
    pub deferrable: bool,
    /// Where it is kept over shards: its number, and of `oskol.foreign_keys` the rest.
    pub number: Option<u32>,
    pub parent_at: Option<String>,
    pub entry: Option<u32>,
    pub child_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct OwnerRow {
    pub sequence: u32,
    pub relation: u32,
    pub column: i16,
    /// `a` serial, `i` identity.
    pub kind: char,
}

/// A trigger of a user's, which fires.
#[derive(Debug, Deserialize)]
pub(crate) struct TriggerRow {
    pub relation: u32,
    pub name: String,
    /// pg_trigger.tgtype
    pub kind: i16,
    /// Of the function; not given for languages other than PL/pgSQL.
    pub body: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct FunctionRow {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub volatility: char,
    pub kind: char,
    /// Not given for functions written in C.
    pub body: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TypeRow {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// For a domain; otherwise 0.
    pub base: u32,
}
