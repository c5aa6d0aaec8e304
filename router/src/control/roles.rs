//! Roles as the home shard knows them, for log-in. A look-up is good for a few seconds, and for as long
//! as the home shard does not answer.

pub(super) mod copy;
mod members;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::error::ControlError;
use crate::handshake::RoleSecret;

const FRESH: Duration = Duration::from_secs(3);
/// Roles kept; beyond it those that are not fresh any more are dropped.
const KEPT: usize = 10_000;

type Known = (Option<RoleSecret>, Instant);

#[derive(Default)]
pub(crate) struct Roles {
    known: Mutex<HashMap<String, Known>>,
}

impl Roles {
    /// `None`: there is no such role.
    pub(crate) async fn get(
        &self,
        connections: &Arc<Connections>,
        user: &str,
    ) -> Result<Option<RoleSecret>, ControlError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(user)
            .cloned();
        match (known, fetch(connections, user)) {
            (Some((role, since)), _) if since.elapsed() < FRESH => Ok(role),
            (Some((role, _)), fetched) => Ok(match fetched.await {
                Ok(role) => self.keep(user, role),
                Err(error) => {
                    tracing::warn!(%error, "the home shard does not tell roles; the last ones count");
                    role
                }
            }),
            (None, fetched) => Ok(self.keep(user, fetched.await?)),
        }
    }

    /// After a role was changed through this router.
    pub(crate) fn forget(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn keep(&self, user: &str, role: Option<RoleSecret>) -> Option<RoleSecret> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.retain(|_, (_, since)| since.elapsed() < FRESH);
        }
        if known.len() < KEPT {
            known.insert(user.to_owned(), (role.clone(), Instant::now()));
        }
        role
    }
}

async fn fetch(
    connections: &Arc<Connections>,
    user: &str,
) -> Result<Option<RoleSecret>, ControlError> {
    let home = connections.get_home(super::CLUSTER_DATABASE).await?;
    let sql = "SELECT rolpassword, rolcanlogin,
        CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil
             WHEN rolvaliduntil = '-infinity' THEN 'epoch'::timestamptz END
        FROM pg_authid WHERE rolname = $1";
    let row = home.query_opt(sql, &[&user]).await.map_err(home.failed())?;
    Ok(row.map(|row| RoleSecret {
        password: row.get(0),
        can_login: row.get(1),
        valid_until: row.get(2),
    }))
}
