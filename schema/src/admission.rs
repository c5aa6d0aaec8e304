//! By what a shard lets a router's connection in (`sql/admission.sql`): what the home shard says of the router and of the shard.

/// How far the schema's history has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Changes made, since the database is used by routers.
    pub number: i64,
    /// Of all of them, in their order.
    pub digest: i64,
}

/// What a connection of one shard is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admission {
    /// The router's.
    pub life: u64,
    /// As the home shard has it, and so every other.
    pub applied: Applied,
    /// The epoch of the shard map after the last move from or to the shard.
    pub moved: i64,
}
