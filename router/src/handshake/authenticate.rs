//! Who the client is: SCRAM-SHA-256, -PLUS, md5 for roles whose password is still hashed so, trust.
//!
//! A role that does not exist, has no password or may not use it any more is asked for a SCRAM proof
//! like any other and refused in the end, so that nobody learns which roles there are.

use std::time::SystemTime;

use bytes::BytesMut;
use subtle::ConstantTimeEq as _;
use wire::backend::write;
use wire::frontend::{Password, SaslInitialResponse, SaslResponse};

use super::channel::Channel;
use super::startup::Startup;
use super::{HandshakeContext, HandshakeError, RoleSecret, refused};
use crate::config::{ClientAuth, Secret};
use crate::credentials::{Credentials, md5};
use crate::error::RouterError;
use crate::scram::server::{self, Binding, Expected, ScramError};
use crate::scram::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramKeys, Verifier, nonce};
use crate::worker::Peer;

/// Ends with AuthenticationOk sent.
pub(super) async fn authenticate(
    channel: &mut Channel,
    startup: &Startup,
    peer: Peer,
    context: &HandshakeContext,
) -> Result<Credentials, HandshakeError> {
    let credentials = match context.auth {
        ClientAuth::Trust => trusted(channel).await,
        ClientAuth::ScramSha256 => by_password(channel, &startup.user, context).await,
    };
    if let Err(HandshakeError::Refused(error)) = &credentials {
        tracing::info!(%peer, user = startup.user, database = startup.database, %error, "refused");
    }
    credentials
}

/// The shards say whether the role exists.
async fn trusted(channel: &mut Channel) -> Result<Credentials, HandshakeError> {
    let mut out = BytesMut::new();
    write::authentication_ok(&mut out);
    channel.send(&out).await?;
    Ok(Credentials::None)
}

async fn by_password(
    channel: &mut Channel,
    user: &str,
    context: &HandshakeContext,
) -> Result<Credentials, HandshakeError> {
    let role = context.secrets.role_secret(user).await?;
    let may_log_in = role.as_ref().is_none_or(|role| role.can_login);
    let exchange = match usable_password(role, SystemTime::now()) {
        Some(UsablePassword::Md5(stored)) => by_md5(channel, user, stored).await?,
        Some(UsablePassword::Scram(verifier)) => {
            by_scram(channel, user, Expected::of(verifier), context).await?
        }
        None => {
            let mock = Expected::mock(user, &context.mock_secret);
            by_scram(channel, user, mock, context).await?
        }
    };
    if !may_log_in {
        let message = format!("role \"{user}\" is not permitted to log in");
        return Err(refused("28000", message));
    }
    let Exchange {
        mut last_message,
        credentials,
    } = exchange;
    write::authentication_ok(&mut last_message);
    channel.send(&last_message).await?;
    Ok(credentials)
}

enum UsablePassword {
    Scram(Verifier),
    Md5(String),
}

/// None: there is no password that would be right.
fn usable_password(role: Option<RoleSecret>, now: SystemTime) -> Option<UsablePassword> {
    let role = role.filter(|role| role.valid_until.is_none_or(|end| now < end))?;
    let password = role.password?;
    match Verifier::parse(&password) {
        Some(verifier) => Some(UsablePassword::Scram(verifier)),
        None => md5::answer(&password, [0; 4]).map(|_| UsablePassword::Md5(password)),
    }
}

/// A proof that was right, and what is to be sent with AuthenticationOk.
struct Exchange {
    last_message: BytesMut,
    credentials: Credentials,
}

async fn by_md5(
    channel: &mut Channel,
    user: &str,
    stored: String,
) -> Result<Exchange, HandshakeError> {
    let salt = rand::random();
    let mut out = BytesMut::new();
    write::authentication_md5_password(&mut out, salt);
    channel.send(&out).await?;
    let body = channel.answer("password response").await?;
    let given = Password::parse(&body).map_err(malformed)?;
    let expected = md5::answer(&stored, salt).unwrap_or_default();
    if !bool::from(expected.as_bytes().ct_eq(given.password)) {
        return Err(wrong_password(user));
    }
    let credentials = Credentials::Md5(Secret(stored));
    Ok(Exchange {
        last_message: BytesMut::new(),
        credentials,
    })
}

async fn by_scram(
    channel: &mut Channel,
    user: &str,
    expected: Expected,
    context: &HandshakeContext,
) -> Result<Exchange, HandshakeError> {
    let end_point = context.tls.end_point().filter(|_| channel.is_tls());
    let mut out = BytesMut::new();
    offer(&mut out, end_point.is_some());
    channel.send(&out).await?;

    let body = channel.answer("SASL response").await?;
    let response = SaslInitialResponse::parse(&body).map_err(malformed)?;
    let binding = binding(response.mechanism, end_point)?;
    let message = match response.data {
        Some(data) => BytesMut::from(data),
        None => first_message_on_request(channel).await?,
    };
    let (reply, pending) =
        server::start(expected, binding, &message, &nonce()).map_err(|e| failed(user, &e))?;
    out.clear();
    write::authentication_sasl_continue(&mut out, reply.as_bytes());
    channel.send(&out).await?;

    let body = channel.answer("SASL response").await?;
    let proved = pending
        .finish(SaslResponse::parse(&body).data)
        .map_err(|e| failed(user, &e))?;
    out.clear();
    write::authentication_sasl_final(&mut out, proved.message.as_bytes());
    let keys: ScramKeys = proved.keys;
    Ok(Exchange {
        last_message: out,
        credentials: Credentials::Scram(keys),
    })
}

fn offer(out: &mut BytesMut, plus: bool) {
    let all = [SCRAM_SHA_256_PLUS.as_bytes(), SCRAM_SHA_256.as_bytes()];
    write::authentication_sasl(out, all.into_iter().skip(usize::from(!plus)));
}

/// A client may send its choice alone (RFC 4422, section 3.3); it then gets an empty challenge.
async fn first_message_on_request(channel: &mut Channel) -> Result<BytesMut, HandshakeError> {
    let mut out = BytesMut::new();
    write::authentication_sasl_continue(&mut out, b"");
    channel.send(&out).await?;
    channel.answer("SASL response").await
}

fn binding<'a>(
    mechanism: &[u8],
    end_point: Option<&'a [u8]>,
) -> Result<Binding<'a>, HandshakeError> {
    match (mechanism, end_point) {
        (name, Some(hash)) if name == SCRAM_SHA_256_PLUS.as_bytes() => Ok(Binding::Chosen(hash)),
        (name, Some(_)) if name == SCRAM_SHA_256.as_bytes() => Ok(Binding::Declined),
        (name, None) if name == SCRAM_SHA_256.as_bytes() => Ok(Binding::Impossible),
        _ => Err(refused(
            "08P01",
            "client selected an invalid SASL authentication mechanism",
        )),
    }
}

fn failed(user: &str, error: &ScramError) -> HandshakeError {
    if *error == ScramError::WrongProof {
        return wrong_password(user);
    }
    let told = RouterError::new(error.sqlstate(), error.to_string());
    match error.detail() {
        Some(detail) => told.detail(detail).into(),
        None => told.into(),
    }
}

fn wrong_password(user: &str) -> HandshakeError {
    refused(
        "28P01",
        format!("password authentication failed for user \"{user}\""),
    )
}

fn malformed(error: wire::ProtocolError) -> HandshakeError {
    refused(error.sqlstate(), error.to_string())
}
