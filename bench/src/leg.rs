//! The ways to PostgreSQL that are compared.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Leg {
    /// PostgreSQL, nothing in between.
    Direct,
    /// PgBouncer in front of the same PostgreSQL.
    Pgbouncer,
    /// Oskol in front of one shard.
    Oskol1,
    /// Oskol in front of four shards.
    Oskol4,
}

impl Leg {
    pub fn title(self) -> &'static str {
        match self {
            Leg::Direct => "direct",
            Leg::Pgbouncer => "PgBouncer",
            Leg::Oskol1 => "Oskol, 1 shard",
            Leg::Oskol4 => "Oskol, 4 shards",
        }
    }

    /// Shards behind Oskol; `None` for the legs without it.
    pub fn shards(self) -> Option<usize> {
        match self {
            Leg::Direct | Leg::Pgbouncer => None,
            Leg::Oskol1 => Some(1),
            Leg::Oskol4 => Some(4),
        }
    }
}
