//! Where a role's password verifier comes from.

use std::time::SystemTime;

use futures_util::future::BoxFuture;

use crate::error::RouterError;

/// A role as `pg_authid` has it. Does not print its secret.
#[derive(Clone, Default)]
pub struct RoleSecret {
    /// `rolpassword` as it is; none: the role has no password.
    pub password: Option<String>,
    /// `rolcanlogin`
    pub can_login: bool,
    /// `rolvaliduntil`; none: for ever.
    pub valid_until: Option<SystemTime>,
}

impl std::fmt::Debug for RoleSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("RoleSecret");
        shown
            .field("can_login", &self.can_login)
            .field("valid_until", &self.valid_until);
        shown.finish_non_exhaustive()
    }
}

/// Looks up roles.
pub trait RoleSecrets: Send + Sync {
    /// The role of that name, none when there is none. Errors are for the client: say 57P03 when the
    /// home shard cannot be asked.
    fn role_secret<'a>(
        &'a self,
        user: &'a str,
    ) -> BoxFuture<'a, Result<Option<RoleSecret>, RouterError>>;
}
