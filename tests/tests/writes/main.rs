//! Writes over four shards, held against one plain PostgreSQL with the same rows: after each statement both have
//! said the same, and have the same rows; and all copies of reference tables are the same.

mod carried;
mod merged;
mod moved;
mod parts;
mod reference;
mod rivals;
mod setting;
mod upserts;
mod views;
