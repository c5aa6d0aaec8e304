//! One database's catalog as of one epoch. Immutable; shared by `Arc` between workers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::admission::Applied;
use crate::rules::{KeyType, Placement};

/// Everything a plan may depend on, but for values and topology.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Grows by one at each change of the catalog (DDL, table rules). Plans are cached per epoch.
    pub epoch: u64,
    /// The changes of the schema that it has.
    pub applied: Applied,
    /// By schema, then by relation name.
    pub relations: HashMap<String, HashMap<String, Arc<Relation>>>,
    /// Functions made by users (not `pg_catalog`), by name (all overloads, any schema).
    pub functions: HashMap<String, Vec<Function>>,
    /// Names of aggregates and window functions made by users.
    pub user_aggregates: HashMap<String, ()>,
    /// Types made by users (oid >= 16384) on the home shard: (schema, name) -> oid.
    pub types: HashMap<(String, String), u32>,
    /// Domains made by users: oid -> oid of the type they are over (a domain's own base, if nested).
    pub domains: HashMap<u32, u32>,
    /// Schemas that a search path may name: all but `pg_*` and `information_schema`.
    pub schemas: HashSet<String>,
    /// Names of operators made by users, e.g. `=`: such an operator may not mean what it seems to.
    pub user_operators: HashSet<String>,
    /// Casts made by users, as (source, target) oids on the home shard.
    pub user_casts: HashSet<(u32, u32)>,
    /// The highest number that a key over shards has had: it is known which keys are newer than this snapshot.
    pub highest_key: u32,
    /// Some unique key, or routing index, is kept by entries.
    pub has_entries: bool,
    /// A unique key that is kept by entries is deferrable.
    pub defers_entries: bool,
    /// Some function may leave something behind in the session that ran it.
    pub has_session_state: bool,
    /// An operator, a cast or the like may leave something behind in a session: so any statement may.
    pub any_leaves_state: bool,
    /// Some table has [`Relation::unsafe_triggers`].
    pub has_unsafe_triggers: bool,
    /// Foreign keys whose rows are on different shards, by number.
    pub kept_keys: BTreeMap<u32, KeptKey>,
}

impl Snapshot {
    /// Some constraint holds over shards only because routers see to it.
    #[must_use]
    pub fn keeps_constraints(&self) -> bool {
        self.has_entries || !self.kept_keys.is_empty()
    }

    /// Finds a relation as PostgreSQL would: by `schema` if given, else along `search_path`
    /// (whose entries are already expanded, without `pg_catalog` and temporary schemas).
    pub fn relation(
        &self,
        schema: Option<&str>,
        name: &str,
        search_path: &[String],
    ) -> Option<&Arc<Relation>> {
        match schema {
            Some(schema) => self.relations.get(schema)?.get(name),
            None => search_path
                .iter()
                .find_map(|schema| self.relations.get(schema)?.get(name)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelationKind {
    #[default]
    Table,
    Partitioned,
    View,
    MaterializedView,
    Sequence,
    Foreign,
    Index,
    CompositeType,
}

#[derive(Debug, Clone, Default)]
pub struct Relation {
    /// Oid on the home shard.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: RelationKind,
    pub placement: Placement,
    /// In attnum order, dropped columns left out.
    pub columns: Vec<Column>,
    /// Unique and primary keys and unique indexes.
    pub unique_keys: Vec<UniqueKey>,
    /// Columns whose values lead to the shards of their rows.
    pub routing_indexes: Vec<RoutingIndex>,
    pub foreign_keys: Vec<ForeignKey>,
    /// For a view: the relations it reads, transitively and through other views, as (schema, name);
    /// the views in between are named too.
    pub reads: Vec<(String, String)>,
    /// For a view: the functions made by users that it or a view below it calls, as (schema, name).
    pub calls: Vec<(String, String)>,
    /// For a view: it or a view below it reads a system catalog, whose rows differ from shard to shard.
    pub reads_catalogs: bool,
    /// For a view, also a materialised one.
    pub view: Option<View>,
    /// For a sequence: (schema, table, column index) when owned by a sharded or reference table's
    /// column, so that its ids come from the router.
    pub owned_by: Option<(String, String, usize)>,
    /// For a partition or an inheritance child: its direct parent.
    pub parent: Option<(String, String)>,
    pub has_user_triggers: bool,
    pub unsafe_triggers: Vec<UnsafeTrigger>,
    pub has_row_security: bool,
    pub accept_unenforced: bool,
    /// A write to it may change values of unique keys or routing indexes, of this table or another, or rows of
    /// foreign keys that are kept over shards.
    pub changes_entries: bool,
    /// Its use may call a function that leaves something behind in the session, e.g. by a trigger.
    pub leaves_state: bool,
    /// Where `changes_entries`: only an UPDATE of these columns does so. `None`: any may.
    pub watched: Option<Vec<usize>>,
    /// Where `changes_entries`: a DELETE does so.
    pub watches_deletes: bool,
}

impl Relation {
    /// Index into `columns` of the column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// What a view stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Its query as PostgreSQL prints it, without a semicolon: relations, and what else is not of `pg_catalog`,
    /// by qualified names.
    pub definition: String,
    /// No condition of the outer query may be tried before the view's own.
    pub security_barrier: bool,
    /// It reads with the caller's rights rather than with its owner's.
    pub security_invoker: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    /// -1 when the type has none.
    pub type_modifier: i32,
    /// The type as SQL names it, modifier included, e.g. `character varying(20)`; a user's type is qualified and
    /// quoted where it has to be.
    pub type_name: String,
    /// The collation as (schema, name), where it is not the type's own.
    pub collation: Option<(String, String)>,
    pub not_null: bool,
    /// The collation sorts by bytes (C, POSIX, C.UTF-8), or the type has none.
    pub collation_is_bytewise: bool,
    /// Equal strings have equal bytes: `collisdeterministic`, or the type has no collation.
    pub collation_is_deterministic: bool,
    pub default: DefaultValue,
}

impl Column {
    /// The key type of this column, if a shard key may have its type.
    #[must_use]
    pub fn key_type(&self) -> Option<KeyType> {
        KeyType::of(self.type_oid)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DefaultValue {
    #[default]
    None,
    /// Any other default expression, as PostgreSQL prints it. `volatile` if it calls a function
    /// that is not immutable (`now()`, `random()`, `gen_random_uuid()`).
    Expression { text: String, volatile: bool },
    /// `nextval('sequence')`: serial.
    Sequence { schema: String, name: String },
    /// `GENERATED ALWAYS | BY DEFAULT AS IDENTITY`.
    Identity {
        always: bool,
        schema: String,
        name: String,
    },
    /// `GENERATED ALWAYS AS (...) STORED`.
    Generated,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueKey {
    pub name: String,
    pub primary: bool,
    /// An EXCLUDE constraint: two shards cannot exclude each other's rows either.
    pub exclusion: bool,
    /// Indexes into `columns`; empty when the index is over expressions.
    pub columns: Vec<usize>,
    pub partial: bool,
    /// It does not contain the shard key, and holds over all shards by entries.
    pub entries: Option<Entries>,
}

/// A trigger of a table, or of a partition of it, that does not do what it would on one server: of a reference table, as it may do
/// something else on each shard; of another, as it reaches what may not be on its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsafeTrigger {
    pub name: String,
    /// What it does, in words.
    pub why: String,
    pub on_insert: bool,
    pub on_update: bool,
    pub on_delete: bool,
    pub on_truncate: bool,
}

/// The entries of a unique key (`schema/sql/unique.sql`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    /// Of its objects in schema `oskol`, on every shard the same.
    pub number: u32,
    /// Its columns and expressions as PostgreSQL's errors name them.
    pub columns: String,
    /// Indexes of all columns that its expressions and its condition read; `None`: not known.
    pub reads: Option<Vec<usize>>,
    /// Not all rows have their entries yet.
    pub filling: bool,
    /// It may be violated until the end of a transaction.
    pub deferrable: bool,
}

/// A column with an entry for each of its rows (`schema/sql/routes.sql`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingIndex {
    /// Of its objects in schema `oskol`, on every shard the same.
    pub number: u32,
    /// Index into `columns`.
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<usize>,
    pub referenced: (String, String),
    pub referenced_columns: Vec<String>,
    /// Its number in [`Snapshot::kept_keys`], where no shard alone keeps it.
    pub kept: Option<u32>,
}

/// A foreign key whose rows are on different shards (`schema/sql/references.sql`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    pub number: u32,
    /// Of the constraint.
    pub name: String,
    /// Schema and name of the table that refers.
    pub child: (String, String),
    /// Where the parent of a given child is.
    pub parent_at: ParentAt,
    /// Where the children of a given parent are.
    pub child_at: ChildAt,
    pub on_delete: KeyAction,
    pub on_update: KeyAction,
    pub deferrable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentAt {
    Home,
    /// The bucket of the parent's shard key is noted.
    Bucket,
    /// The bucket of an entry is noted, of the unique key of this number: it tells the bucket of the parent.
    Entry(u32),
    /// On any shard.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildAt {
    Home,
    /// The bucket of the child's shard key is noted.
    Bucket,
    /// On any shard.
    All,
    /// Every shard has all of them.
    Every,
}

/// ON DELETE and ON UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl KeyAction {
    /// Of pg_constraint's letter.
    #[must_use]
    pub fn of(letter: char) -> Self {
        match letter {
            'r' => Self::Restrict,
            'c' => Self::Cascade,
            'n' => Self::SetNull,
            'd' => Self::SetDefault,
            _ => Self::NoAction,
        }
    }

    /// Rows of the child are changed.
    #[must_use]
    pub fn changes_children(self) -> bool {
        !matches!(self, Self::NoAction | Self::Restrict)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Function {
    pub schema: String,
    pub name: String,
    /// 'i', 's' or 'v', as in pg_proc.provolatile.
    pub volatility: char,
    /// 'f' function, 'p' procedure, 'a' aggregate, 'w' window, as in pg_proc.prokind.
    pub kind: char,
    /// Names of sharded tables that the body, or that of a function or view it mentions, mentions as
    /// words.
    pub mentions_sharded: Vec<String>,
    /// The same of any local table.
    pub mentions_local: bool,
    /// The same of any reference table.
    pub mentions_reference: bool,
    /// It, or what it calls, may leave something behind in the session that ran it.
    pub leaves_state: bool,
}
