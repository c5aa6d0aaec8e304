//! The SQL text of schema `oskol`, as files under `schema/sql/`, and the statements that use it.

use crate::admission::{Admission, Applied};

/// Version of the objects; `oskol.meta.version` is what a database has.
pub const VERSION: i32 = 12;

/// Run in this order, in one transaction, to make or renew schema `oskol` on any shard.
pub const SHARD: &str = concat!(
    include_str!("../sql/shard.sql"),
    include_str!("../sql/collecting.sql"),
    include_str!("../sql/unique.sql"),
    include_str!("../sql/unique_later.sql"),
    include_str!("../sql/references.sql"),
    include_str!("../sql/routes.sql"),
    include_str!("../sql/verify.sql"),
    include_str!("../sql/moved_code.sql"),
    include_str!("../sql/moves_shard.sql"),
    include_str!("../sql/history.sql"),
    include_str!("../sql/admission.sql")
);
pub const DOCUMENTS: &str = include_str!("../sql/documents.sql");
/// Then this on the home shard.
pub const HOME: &str = concat!(
    include_str!("../sql/home.sql"),
    include_str!("../sql/moves.sql")
);
/// Or this on every other shard; it needs the row of `oskol.meta`.
pub const OTHER: &str = include_str!("../sql/other.sql");

/// One row, one text column: the document for [`crate::Snapshot::from_json`]. On the home shard, by any
/// role, also inside a transaction that has changed the catalog.
pub const SNAPSHOT: &str = "SELECT oskol.snapshot()";

/// One row, one text column: the document for [`crate::oids::OidDocument::from_json`]. On any shard.
pub const OIDS: &str = "SELECT oskol.oids()";

/// One row, one int8[] column: the next values of sequence `$1`.`$2` (text), at most `$3` (int4). On
/// the home shard, with the rights of the caller on the sequence.
pub const LEASE: &str = "SELECT oskol.lease($1, $2, $3)";

/// Admits a connection of router `router`; see `sql/admission.sql`.
pub fn admit(router: u32, admission: &Admission, is_standby: bool) -> String {
    let writes = if is_standby { "" } else { ", READ WRITE" };
    let Admission {
        life,
        applied: Applied { number, digest },
        moved,
    } = admission;
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED{writes}; SELECT oskol.admit({router}, {life}, {number}, {digest}, {moved}); COMMIT"
    )
}

/// One row, one text column: what routers prove themselves by to the functions of this shard. By a superuser.
pub const TOKEN: &str = "SELECT token FROM oskol.secret";
