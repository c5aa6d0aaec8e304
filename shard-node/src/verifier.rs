//! What a server keeps of a password (`pg_authid.rolpassword`), made outside of it so that it is the same on several.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// PostgreSQL's default.
const ITERATIONS: u32 = 4096;
const SALT_LENGTH: usize = 16;

/// The SCRAM-SHA-256 verifier of `password`, whose salt comes from `seed`: the same password and seed give the same
/// verifier on every machine, so that a log-in proved to one of them opens all. The salt is shown to whoever tries to log
/// in, so the seed must be long and random (a join token), and must not be made from the password.
///
/// # Errors
/// [`Error::Password`]: the password cannot be prepared as RFC 4013 asks.
pub fn verifier(password: &str, seed: &str) -> Result<String> {
    let digest = Sha256::new()
        .chain_update(b"oskol superuser salt\0")
        .chain_update(seed.as_bytes())
        .finalize();
    with_salt(password, &digest[..SALT_LENGTH])
}

fn with_salt(password: &str, salt: &[u8]) -> Result<String> {
    let prepared: Cow<'_, str> = stringprep::saslprep(password).map_err(|_| Error::Password)?;
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(prepared.as_bytes(), salt, ITERATIONS);
    let stored = Sha256::digest(keyed(&salted, b"Client Key"));
    let server = keyed(&salted, b"Server Key");
    Ok(format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    ))
}

fn keyed(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_the_one_of_postgresql() {
        // Made by PostgreSQL's own client library, which chose the salt.
        let theirs = postgres_protocol::password::scram_sha_256(b"pencil");
        let salt = theirs.split(['$', ':']).nth(2).unwrap();
        let salt = STANDARD.decode(salt).unwrap();
        assert_eq!(with_salt("pencil", &salt).unwrap(), theirs);
    }

    #[test]
    fn the_salt_follows_the_seed() {
        assert_eq!(
            verifier("a", "seed").unwrap(),
            verifier("a", "seed").unwrap()
        );
        assert_ne!(
            verifier("a", "seed").unwrap(),
            verifier("a", "other").unwrap()
        );
    }
}
