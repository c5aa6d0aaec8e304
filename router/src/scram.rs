//! SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, no I/O.
//!
//! Owns verifiers (`pg_authid.rolpassword`), keys and the two exchanges: [`server`] towards
//! clients, [`client`] towards shards. Takes and gives SASL message bodies. Must never know a
//! socket, and never show a secret: no type here that holds one prints it.

pub mod binding;
pub mod client;
pub mod server;
pub mod verifier;

mod attribute;
#[cfg(test)]
mod tests;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

pub use verifier::{Verifier, build_verifier};

/// SASL name of the mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// SASL name of the mechanism bound to the TLS channel.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The one channel binding type that PostgreSQL knows (RFC 5929).
const TLS_SERVER_END_POINT: &str = "tls-server-end-point";

/// Bytes of random in a nonce, before base64; PostgreSQL's SCRAM_RAW_NONCE_LEN.
const NONCE_BYTES: usize = 18;

/// A SHA-256 sized key.
pub type Key = [u8; 32];

/// What a client's proof reveals: enough to log in, as that role, wherever the role has the same
/// verifier (same salt and iterations); not the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub client_key: Key,
    pub server_key: Key,
    pub salt: Box<[u8]>,
    pub iterations: u32,
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length (RFC 2104, section 3), so this cannot fail.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
}

fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|i| left[i] ^ right[i])
}

/// A fresh nonce: base64, so printable and without a comma.
pub fn nonce() -> String {
    use base64::Engine as _;
    let bytes: [u8; NONCE_BYTES] = rand::random();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
