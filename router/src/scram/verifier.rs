//! What a server keeps of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

use super::{Key, SCRAM_SHA_256, hmac, sha256};

/// PostgreSQL's SCRAM_DEFAULT_ITERATIONS.
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// Bytes of salt; PostgreSQL's SCRAM_DEFAULT_SALT_LEN.
pub const SALT_BYTES: usize = 16;

/// A parsed `pg_authid.rolpassword`. Does not print: the keys are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: Key,
    pub server_key: Key,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl Verifier {
    /// None when `text` is not a well-formed SCRAM-SHA-256 verifier.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(SCRAM_SHA_256)?.strip_prefix('$')?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|&count| count > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        })
    }

    /// The verifier of `password` under `salt`.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&client_key(&salted)),
            server_key: server_key(&salted),
        }
    }

    /// As it is stored in `pg_authid`. A secret: for `CREATE ROLE ... PASSWORD` only.
    pub fn to_text(&self) -> String {
        format!(
            "{SCRAM_SHA_256}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

/// The verifier text of `password` with a random salt: what `CREATE ROLE ... PASSWORD` is sent
/// with, so that all shards hold the same one. PostgreSQL takes an empty password for none; that
/// is the caller's to see.
pub fn build_verifier(password: &str) -> String {
    let salt: [u8; SALT_BYTES] = rand::random();
    Verifier::derive(password, &salt, DEFAULT_ITERATIONS).to_text()
}

/// RFC 5802's SaltedPassword. About 1 ms for 4096 iterations.
pub(super) fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    // As PostgreSQL: a password that SASLprep prohibits is used as it is (pg_saslprep).
    let normalized = stringprep::saslprep(password).unwrap_or_else(|_| password.into());
    let mut salted = Key::default();
    pbkdf2::pbkdf2_hmac::<Sha256>(normalized.as_bytes(), salt, iterations, &mut salted);
    salted
}

pub(super) fn client_key(salted: &Key) -> Key {
    hmac(salted, &[b"Client Key"])
}

pub(super) fn server_key(salted: &Key) -> Key {
    hmac(salted, &[b"Server Key"])
}

fn decode_key(text: &str) -> Option<Key> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // PostgreSQL's own vector: src/test/regress/expected/password.out.
    const FROM_POSTGRES: &str = "SCRAM-SHA-256$4096:VLK4RMaQLCvNtQ==$\
        6YtlR4t69SguDiwFvbVgVZtuz6gpJQQqUMZ7IQJK5yI=:ps75jrHeYU4lXCcXI4O8oIdJ3eO8o2jirjruw9phBTo=";

    #[test]
    fn a_verifier_survives_the_round_trip() {
        let verifier = Verifier::parse(FROM_POSTGRES).unwrap();
        assert_eq!(verifier.iterations, 4096);
        assert_eq!(verifier.to_text(), FROM_POSTGRES);
        let own = build_verifier("secret");
        assert_eq!(Verifier::parse(&own).unwrap().to_text(), own);
    }

    #[test]
    fn every_verifier_has_its_own_salt() {
        assert_ne!(build_verifier("secret"), build_verifier("secret"));
    }

    #[test]
    fn what_is_not_a_verifier_is_none() {
        for text in [
            "",
            "md53175bce1d3201d16594cebf9d7eb3f9d",
            "SCRAM-SHA-256$0:QQ==$QQ==:QQ==",
            "SCRAM-SHA-256$4096:QQ==$QQ==:QQ==",
            "SCRAM-SHA-1$4096:VLK4RMaQLCvNtQ==$a:b",
            &FROM_POSTGRES[..90],
        ] {
            assert!(Verifier::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn passwords_are_normalized_as_postgres_does() {
        // U+2168 ROMAN NUMERAL NINE is "IX" after SASLprep (postgres' 001_saslprep.pl).
        let salt = [7; 16];
        let roman = Verifier::derive("I\u{ad}X", &salt, 2);
        assert_eq!(roman, Verifier::derive("\u{2168}", &salt, 2));
        // Prohibited: a control character. Used raw, so it differs from any other.
        assert_ne!(
            Verifier::derive("\u{7}", &salt, 2),
            Verifier::derive("", &salt, 2)
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let verifier = Verifier::parse(FROM_POSTGRES).unwrap();
        assert_eq!(format!("{verifier:?}"), "Verifier(..)");
    }
}
