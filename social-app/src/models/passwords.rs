//! Argon2id, off the runtime's threads and as many at a time as there are cores.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};

use crate::{App, Error};

/// A hash that no password fits, verified where there is no such person: so that the time tells nothing.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b3Nrb2wtbm9ib2R5IQ$DGVzNOG7VHJDxzjPXDXl4ZDCTmUFGlkUrQEZBFAKy8c";

/// Checks its length, too.
pub async fn hash(app: &App, password: String) -> Result<String, Error> {
    if !(8..=200).contains(&password.chars().count()) {
        return Err(Error::invalid(
            "password",
            "Please take a password of 8 to 200 characters.",
        ));
    }
    blocking(app, move || {
        let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt)?;
        Ok(hash.to_string())
    })
    .await
}

/// Whether the password fits; without a hash it never does.
pub async fn verify(app: &App, password: String, hash: Option<String>) -> Result<bool, Error> {
    blocking(app, move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let parsed = PasswordHash::new(&hash)?;
        let fits = Argon2::default().verify_password(password.as_bytes(), &parsed);
        Ok(fits.is_ok() && known)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> argon2::password_hash::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let permit = app.passwords.clone().acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await
        .map_err(anyhow::Error::from)?
        .map_err(|error| anyhow::anyhow!("argon2: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_is_a_hash() {
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
