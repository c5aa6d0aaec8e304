//! Waiting until no other router works with a database.

use std::time::Duration;

use crate::config::Config;
use crate::control::connections::Lent;
use crate::control::error::{ControlError, Mismatch};
use crate::control::exclusion::is_heard;
use crate::control::watch::SILENCE_TIME;

/// Between looks whether a router has fallen silent.
const LOOK: Duration = Duration::from_millis(500);

/// Returns when no other router lives; `mismatch` when one does. A router at this one's own address is
/// this one before a crash, and is waited for.
pub(super) async fn wait(
    config: &Config,
    home: &Lent,
    mismatch: Mismatch,
) -> Result<(), ControlError> {
    let own = config.listen.addresses.first().map(ToString::to_string);
    let deadline = tokio::time::Instant::now() + SILENCE_TIME + LOOK;
    let sql = format!("SELECT address FROM oskol.routers WHERE {}", is_heard());
    loop {
        let living = home.query(&sql, &[]).await.map_err(home.failed())?;
        if living.is_empty() {
            return Ok(());
        }
        let is_own = |row: &tokio_postgres::Row| own.as_deref() == Some(row.get(0));
        if !living.iter().all(is_own) || tokio::time::Instant::now() > deadline {
            return Err(ControlError::Mismatch(mismatch));
        }
        tokio::time::sleep(LOOK).await;
    }
}
