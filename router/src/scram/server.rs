//! The server's half of the exchange, towards a client: [`start`] with the client's first message,
//! [`Pending::finish`] with its last. Texts and SQLSTATEs are those of PostgreSQL's auth-scram.c.

mod error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::attribute::{self, shown};
use super::verifier::{DEFAULT_ITERATIONS, SALT_BYTES};
use super::{Key, ScramKeys, TLS_SERVER_END_POINT, Verifier, hmac, sha256, xor};
pub use error::ScramError;

/// How the exchange is bound to the channel.
#[derive(Debug, Clone, Copy)]
pub enum Binding<'a> {
    /// No TLS, or a certificate that cannot bind: -PLUS was not offered.
    Impossible,
    /// -PLUS was offered, the client chose plain SCRAM-SHA-256.
    Declined,
    /// The client chose -PLUS; the server certificate's hash.
    Chosen(&'a [u8]),
}

/// What a proof is held against.
#[derive(Debug, Clone)]
pub struct Expected {
    verifier: Verifier,
    /// The proof is refused whatever it is.
    doomed: bool,
}

impl Expected {
    pub fn of(verifier: Verifier) -> Self {
        Self {
            verifier,
            doomed: false,
        }
    }

    /// For a role that does not exist or may not use a password: the same salt at every try, so
    /// that a stranger cannot tell. `secret` is this process's own random.
    pub fn mock(user: &str, secret: &Key) -> Self {
        let salt = Sha256::new()
            .chain_update(user)
            .chain_update(secret)
            .finalize();
        let verifier = Verifier {
            iterations: DEFAULT_ITERATIONS,
            salt: salt[..SALT_BYTES].to_vec(),
            stored_key: Key::default(),
            server_key: Key::default(),
        };
        Self {
            verifier,
            doomed: true,
        }
    }
}

/// Waits for the client's final message.
#[derive(Debug)]
pub struct Pending {
    expected: Expected,
    /// client-first-message-bare, a comma, server-first-message, a comma.
    transcript: String,
    /// The client's nonce and the server's.
    nonce: String,
    /// What `c=` must be, in base64.
    binding: String,
    bound: bool,
}

/// A client that knows the password.
#[derive(Debug)]
pub struct Proved {
    /// For AuthenticationSASLFinal: the server's own proof.
    pub message: String,
    pub keys: ScramKeys,
}

/// Takes the client-first-message, gives the server-first-message.
pub fn start(
    expected: Expected,
    binding: Binding<'_>,
    message: &[u8],
    server_nonce: &str,
) -> Result<(String, Pending), ScramError> {
    let message = text(message)?;
    let (flag, mut rest) = gs2_flag(message, binding)?;
    skip_authorization_identity(&mut rest)?;
    let bare = rest;
    if bare.starts_with('m') {
        return Err(ScramError::Extension);
    }
    // PostgreSQL takes the user name of the startup packet and ignores this one.
    attribute::take(&mut rest, 'n')?;
    let client_nonce = attribute::take(&mut rest, 'r')?;
    if !client_nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ScramError::Nonce);
    }
    skip_extensions(rest)?;

    let nonce = format!("{client_nonce}{server_nonce}");
    let salt = STANDARD.encode(&expected.verifier.salt);
    let reply = format!("r={nonce},s={salt},i={}", expected.verifier.iterations);
    let pending = Pending {
        transcript: format!("{bare},{reply},"),
        nonce,
        binding: expected_binding(flag, binding),
        bound: matches!(binding, Binding::Chosen(_)),
        expected,
    };
    Ok((reply, pending))
}

impl Pending {
    /// Takes the client-final-message.
    pub fn finish(self, message: &[u8]) -> Result<Proved, ScramError> {
        let message = text(message)?;
        let mut rest = message;
        self.check_binding(attribute::take(&mut rest, 'c')?)?;
        let nonce = attribute::take(&mut rest, 'r')?;
        let (proof, without_proof) = take_proof(message, rest)?;
        if !bool::from(nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(ScramError::NonceMismatch);
        }
        self.prove(&proof, without_proof)
    }

    fn check_binding(&self, given: &str) -> Result<(), ScramError> {
        if given == self.binding {
            Ok(())
        } else if self.bound {
            Err(ScramError::BindingMismatch)
        } else {
            Err(ScramError::BindingAttribute)
        }
    }

    fn prove(self, proof: &Key, without_proof: &str) -> Result<Proved, ScramError> {
        let Verifier {
            iterations,
            salt,
            stored_key,
            server_key,
        } = self.expected.verifier;
        let transcript: [&[u8]; 2] = [self.transcript.as_bytes(), without_proof.as_bytes()];
        let client_key = xor(proof, &hmac(&stored_key, &transcript));
        let equal = bool::from(sha256(&client_key).ct_eq(&stored_key));
        if !equal || self.expected.doomed {
            return Err(ScramError::WrongProof);
        }
        let signature = hmac(&server_key, &transcript);
        Ok(Proved {
            message: format!("v={}", STANDARD.encode(signature)),
            keys: ScramKeys {
                client_key,
                server_key,
                salt: salt.into(),
                iterations,
            },
        })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.is_empty() {
        return Err(ScramError::Malformed("The message is empty.".into()));
    }
    std::str::from_utf8(message)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| ScramError::Malformed("Message length does not match input length.".into()))
}

/// The client's word on channel binding (RFC 5802, section 6), checked against what was offered;
/// and the rest of the message after the comma.
fn gs2_flag<'a>(message: &'a str, binding: Binding<'_>) -> Result<(char, &'a str), ScramError> {
    let flag = message.chars().next();
    match (flag, binding) {
        (Some('n' | 'y'), Binding::Chosen(_)) => Err(ScramError::Malformed(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include \
             channel binding data."
                .into(),
        )),
        // Somebody between us took -PLUS off the list that we sent.
        (Some('y'), Binding::Declined) => Err(ScramError::Downgrade),
        (Some('n'), _) => Ok(('n', after_comma(&message[1..])?)),
        (Some('y'), _) => Ok(('y', after_comma(&message[1..])?)),
        (Some('p'), _) => bound_flag(message, binding),
        (other, _) => Err(ScramError::Malformed(format!(
            "Unexpected channel-binding flag \"{}\".",
            shown(other)
        ))),
    }
}

fn bound_flag<'a>(message: &'a str, binding: Binding<'_>) -> Result<(char, &'a str), ScramError> {
    if !matches!(binding, Binding::Chosen(_)) {
        return Err(ScramError::Malformed(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message \
             includes channel binding data."
                .into(),
        ));
    }
    let mut rest = message;
    match attribute::take(&mut rest, 'p')? {
        TLS_SERVER_END_POINT => Ok(('p', rest)),
        other => Err(ScramError::BindingType(other.chars().take(64).collect())),
    }
}

fn after_comma(rest: &str) -> Result<&str, ScramError> {
    rest.strip_prefix(',').ok_or_else(|| {
        let found = shown(rest.chars().next());
        ScramError::Malformed(format!("Comma expected, but found character \"{found}\"."))
    })
}

fn skip_authorization_identity(rest: &mut &str) -> Result<(), ScramError> {
    match rest.chars().next() {
        Some('a') => Err(ScramError::AuthorizationIdentity),
        Some(',') => {
            *rest = &rest[1..];
            Ok(())
        }
        other => Err(ScramError::Malformed(format!(
            "Unexpected attribute \"{}\" in client-first-message.",
            shown(other)
        ))),
    }
}

fn skip_extensions(mut rest: &str) -> Result<(), ScramError> {
    while !rest.is_empty() {
        attribute::take_any(&mut rest)?;
    }
    Ok(())
}

/// base64 of the gs2 header and, for -PLUS, the certificate's hash.
fn expected_binding(flag: char, binding: Binding<'_>) -> String {
    match binding {
        Binding::Chosen(hash) => {
            let header = format!("p={TLS_SERVER_END_POINT},,");
            STANDARD.encode([header.as_bytes(), hash].concat())
        }
        Binding::Impossible | Binding::Declined => STANDARD.encode(format!("{flag},,")),
    }
}

/// The proof, and the message up to the comma before it. `rest` is the end of `message`.
fn take_proof<'a>(message: &'a str, mut rest: &str) -> Result<(Key, &'a str), ScramError> {
    loop {
        let start = message.len() - rest.len();
        let (name, value) = attribute::take_any(&mut rest)?;
        if name != 'p' {
            continue;
        }
        let proof = STANDARD
            .decode(value)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        let proof = proof.ok_or_else(|| {
            ScramError::Malformed("Malformed proof in client-final-message.".into())
        })?;
        if start + "p=".len() + value.len() != message.len() {
            return Err(ScramError::Malformed(
                "Garbage found at the end of client-final-message.".into(),
            ));
        }
        return Ok((proof, &message[..start - 1]));
    }
}
