//! Statements whose rows are pulled from the shards and finished over them, held against one plain PostgreSQL.

mod attacks;
mod explain;
mod large;
mod reads;
mod scarce;
mod setting;
mod types;
