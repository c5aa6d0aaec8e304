//! The SQL text of schema `oskol`, as files under `schema/sql/`.
