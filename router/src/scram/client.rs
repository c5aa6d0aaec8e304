//! The client's half of the exchange, towards a shard: [`start`], [`Started::answer`],
//! [`Answered::verify`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::verifier::{client_key, salted_password, server_key};
use super::{Key, ScramKeys, TLS_SERVER_END_POINT, attribute, hmac, sha256, xor};

/// Most iterations that a server may ask for: more would be an attack on this thread's time
/// (PostgreSQL's default is 4096). Not a bound where the keys are known already.
const MOST_ITERATIONS: u32 = 100_000;

/// Why the exchange with a server cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramClientError {
    #[error("the server sent a malformed SCRAM message: {0}")]
    Malformed(String),
    #[error("the server's SCRAM nonce does not extend the client's")]
    Nonce,
    #[error("the server asks for {0} SCRAM iterations; the most accepted is {MOST_ITERATIONS}")]
    Iterations(u32),
    #[error("the role's password was hashed differently on this server")]
    OtherVerifier,
    #[error("the server refused the SCRAM exchange: {0}")]
    Refused(String),
    #[error("the server does not know the password it is asked for: its signature is wrong")]
    ServerSignature,
}

impl From<attribute::BadAttribute> for ScramClientError {
    fn from(bad: attribute::BadAttribute) -> Self {
        Self::Malformed(bad.0)
    }
}

/// What the role is proved with.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    Password(&'a str),
    Keys(&'a ScramKeys),
}

/// How the exchange is bound to the channel.
#[derive(Debug, Clone)]
pub enum Binding {
    /// No TLS, or a certificate that cannot bind.
    Impossible,
    /// TLS, but the server does not offer -PLUS; said so that the server sees a downgrade.
    NotOffered,
    /// -PLUS; the server certificate's hash.
    Chosen(Vec<u8>),
}

impl Binding {
    fn header(&self) -> String {
        match self {
            Self::Impossible => "n,,".into(),
            Self::NotOffered => "y,,".into(),
            Self::Chosen(_) => format!("p={TLS_SERVER_END_POINT},,"),
        }
    }

    fn attribute(&self) -> String {
        let data: &[u8] = match self {
            Self::Chosen(hash) => hash,
            Self::Impossible | Self::NotOffered => &[],
        };
        STANDARD.encode([self.header().as_bytes(), data].concat())
    }
}

/// Waits for the server-first-message.
pub struct Started<'a> {
    proof: Proof<'a>,
    binding: Binding,
    nonce: String,
    user: &'a str,
}

/// Waits for the server-final-message.
pub struct Answered {
    server_signature: Key,
}

/// Gives the client-first-message. `user` is what goes into it: empty towards PostgreSQL, which
/// takes the startup packet's.
pub fn start<'a>(
    proof: Proof<'a>,
    binding: Binding,
    user: &'a str,
    nonce: String,
) -> (String, Started<'a>) {
    let message = format!("{}n={user},r={nonce}", binding.header());
    (
        message,
        Started {
            proof,
            binding,
            nonce,
            user,
        },
    )
}

impl Started<'_> {
    /// Takes the server-first-message, gives the client-final-message.
    pub fn answer(self, message: &[u8]) -> Result<(String, Answered), ScramClientError> {
        let first = ServerFirst::parse(message)?;
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(ScramClientError::Nonce);
        }
        let (client_key, server_key) = self.keys(&first)?;
        let without_proof = format!("c={},r={}", self.binding.attribute(), first.nonce);
        let bare = format!("n={},r={},", self.user, self.nonce);
        let transcript: [&[u8]; 4] = [bare.as_bytes(), message, b",", without_proof.as_bytes()];
        let proof = xor(&client_key, &hmac(&sha256(&client_key), &transcript));
        let answered = Answered {
            server_signature: hmac(&server_key, &transcript),
        };
        Ok((
            format!("{without_proof},p={}", STANDARD.encode(proof)),
            answered,
        ))
    }

    fn keys(&self, first: &ServerFirst<'_>) -> Result<(Key, Key), ScramClientError> {
        match self.proof {
            Proof::Password(_) if first.iterations > MOST_ITERATIONS => {
                Err(ScramClientError::Iterations(first.iterations))
            }
            Proof::Password(password) => {
                let salted = salted_password(password, &first.salt, first.iterations);
                Ok((client_key(&salted), server_key(&salted)))
            }
            Proof::Keys(keys)
                if *keys.salt == *first.salt && keys.iterations == first.iterations =>
            {
                Ok((keys.client_key, keys.server_key))
            }
            Proof::Keys(_) => Err(ScramClientError::OtherVerifier),
        }
    }
}

impl Answered {
    /// Takes the server-final-message: only a server that knows the verifier can sign it.
    pub fn verify(self, message: &[u8]) -> Result<(), ScramClientError> {
        let mut rest = text(message)?;
        if rest.starts_with('e') {
            return Err(ScramClientError::Refused(
                attribute::take(&mut rest, 'e')?.to_owned(),
            ));
        }
        let signature = STANDARD
            .decode(attribute::take(&mut rest, 'v')?)
            .map_err(|_| ScramClientError::Malformed("signature is not base64".into()))?;
        if bool::from(signature.ct_eq(&self.server_signature)) {
            Ok(())
        } else {
            Err(ScramClientError::ServerSignature)
        }
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramClientError> {
        let mut rest = text(message)?;
        let nonce = attribute::take(&mut rest, 'r')?;
        let salt = attribute::take(&mut rest, 's')?;
        let iterations = attribute::take(&mut rest, 'i')?;
        Ok(Self {
            nonce,
            salt: STANDARD
                .decode(salt)
                .map_err(|_| ScramClientError::Malformed("salt is not base64".into()))?,
            iterations: iterations
                .parse()
                .ok()
                .filter(|&count| count > 0)
                .ok_or_else(|| ScramClientError::Malformed("bad iteration count".into()))?,
        })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramClientError> {
    std::str::from_utf8(message)
        .map_err(|_| ScramClientError::Malformed("the message is not UTF-8".into()))
}
