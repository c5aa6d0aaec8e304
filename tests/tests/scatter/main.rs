//! Statements that run on several shards, held against one plain PostgreSQL.

mod attacks;
mod broadcast;
mod created;
mod explain;
mod orders;
mod pipelines;
mod portals;
mod reads;
mod setting;
mod sizes;
mod views;
mod writes;
