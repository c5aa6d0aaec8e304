//! The program `shard-node` with real servers: health, membership, the end in order.

mod health;
mod membership;
mod process;
mod router;
