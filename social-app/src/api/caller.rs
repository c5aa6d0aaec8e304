//! Who calls: a program with a token, or our own page with its cookie and the proof that it is ours.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};

use crate::api::Problem;
use crate::models::rate_limits::{self, WRITE};
use crate::models::sessions::{self, Token};
use crate::models::tokens;
use crate::{App, Error, web};

/// The person on whose behalf the call is made.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub id: i64,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let id = match bearer(parts) {
            Some(token) => tokens::owner(app, &token?).await?,
            None => by_cookie(parts, app).await?,
        };
        Ok(Caller {
            id: id.ok_or(Error::SignInFirst)?,
        })
    }
}

/// The same, about to write something, and not too fast.
pub struct Writer(pub Caller);

impl FromRequestParts<App> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Writer, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        rate_limits::take(app, WRITE, caller.id).await?;
        Ok(Writer(caller))
    }
}

/// None: there is no such header.
fn bearer(parts: &Parts) -> Option<Result<Token, Error>> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str();
    let token = value
        .ok()
        .and_then(|value| value.strip_prefix("Bearer "))
        .and_then(|text| Token::parse(text.trim()));
    Some(token.ok_or(Error::SignInFirst))
}

async fn by_cookie(parts: &Parts, app: &App) -> Result<Option<i64>, Error> {
    let Some(token) = web::token_of(&parts.headers) else {
        return Ok(None);
    };
    let proof = parts
        .headers
        .get("x-csrf-token")
        .and_then(|value| value.to_str().ok());
    let proven = proof.is_some_and(|proof| web::is_of_session(&parts.headers, proof));
    if !proven && ![Method::GET, Method::HEAD].contains(&parts.method) {
        return Err(Error::Forbidden(
            "Send the header X-CSRF-Token of the page, or use a token.",
        ));
    }
    Ok(sessions::viewer(app, &token)
        .await?
        .map(|viewer| viewer.person.id))
}
