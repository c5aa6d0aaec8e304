//! Table rules: how each table is placed.

use serde::{Deserialize, Serialize};

/// The types a shard key may have. PostgreSQL's extended hash of int2, int4 and int8 agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    Int2,
    Int4,
    Int8,
    Text,
    Varchar,
    Uuid,
}

impl KeyType {
    /// By the type's oid, which is the same on every PostgreSQL; `None`: not a type of shard keys.
    #[must_use]
    pub fn of(type_oid: u32) -> Option<Self> {
        match type_oid {
            21 => Some(Self::Int2),
            23 => Some(Self::Int4),
            20 => Some(Self::Int8),
            25 => Some(Self::Text),
            1043 => Some(Self::Varchar),
            2950 => Some(Self::Uuid),
            _ => None,
        }
    }

    /// The type's oid, for a parameter of this type.
    #[must_use]
    pub fn oid(self) -> u32 {
        match self {
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Text => 25,
            Self::Varchar => 1043,
            Self::Uuid => 2950,
        }
    }
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "placement")]
pub enum Placement {
    /// Whole, on the home shard.
    #[default]
    Local,
    /// A full copy on every shard.
    Reference,
    /// Divided by the column at index `key` (into [`crate::Relation::columns`]).
    Sharded { key: usize, key_type: KeyType },
}

/// A rule for one table, from the configuration or from `oskol.tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRule {
    /// Schema; `None` in the configuration means `public`.
    #[serde(default)]
    pub schema: Option<String>,
    /// Table name, exactly as PostgreSQL stores it.
    pub name: String,
    /// `sharded`, `reference` or `local`.
    pub placement: RulePlacement,
    /// Shard key column; only with `placement = "sharded"`.
    #[serde(default)]
    pub key: Option<String>,
    /// Accept UNIQUE/PRIMARY KEY/FOREIGN KEY constraints that no shard alone can enforce.
    #[serde(default)]
    pub accept_unenforced: bool,
    /// Database the rule is for; `None` is every database.
    #[serde(default)]
    pub database: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RulePlacement {
    Sharded,
    Reference,
    Local,
}
