//! Who asks: cookies, the client's address, and the proof that a form is one of ours.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::models::sessions::{self, Token, Viewer};
use crate::web::failure::Failure;
use crate::{App, Error};

pub const SESSION_COOKIE: &str = "session";
/// Ties the forms of somebody who is not signed in to this browser.
const VISITOR_COOKIE: &str = "visitor";

/// The person who is signed in, with what that person's forms must send.
#[derive(Debug, Clone)]
pub struct Signed {
    pub viewer: Viewer,
    pub csrf: String,
}

impl Signed {
    pub fn id(&self) -> i64 {
        self.viewer.person.id
    }
}

impl FromRequestParts<App> for Signed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Signed, Failure> {
        let signed =
            <Signed as OptionalFromRequestParts<App>>::from_request_parts(parts, app).await?;
        Ok(signed.ok_or(Error::SignInFirst)?)
    }
}

impl OptionalFromRequestParts<App> for Signed {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Signed>, Failure> {
        let Some(token) = token_of(&parts.headers) else {
            return Ok(None);
        };
        let viewer = sessions::viewer(app, &token).await?;
        Ok(viewer.map(|viewer| Signed {
            viewer,
            csrf: csrf_of(&token.text()),
        }))
    }
}

/// Somebody who is not signed in, with what the forms must send.
pub struct Visitor {
    pub csrf: String,
    /// To be set where the browser has none yet.
    cookie: Option<String>,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Visitor, Failure> {
        if let Some(known) = cookie(&parts.headers, VISITOR_COOKIE) {
            return Ok(Visitor {
                csrf: csrf_of(known),
                cookie: None,
            });
        }
        let new = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>());
        Ok(Visitor {
            csrf: csrf_of(&new),
            cookie: Some(new),
        })
    }
}

impl Visitor {
    pub fn headers(&self, app: &App) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = &self.cookie {
            set_cookie(&mut headers, app, VISITOR_COOKIE, value, 86_400);
        }
        headers
    }
}

/// The session's token among the cookies.
pub fn token_of(headers: &HeaderMap) -> Option<Token> {
    Token::parse(cookie(headers, SESSION_COOKIE)?)
}

/// What a form has to send beside the cookie: only who knows the cookie can make it.
pub fn csrf_of(cookie: &str) -> String {
    let digest = Sha256::new()
        .chain_update("csrf:")
        .chain_update(cookie)
        .finalize();
    URL_SAFE_NO_PAD.encode(&digest[..18])
}

/// Whether a form's proof fits one of the request's cookies: of somebody who may not be signed in yet.
pub fn is_ours(headers: &HeaderMap, proof: &str) -> bool {
    is_of_session(headers, proof) || fits(headers, VISITOR_COOKIE, proof)
}

/// Whether the proof is that of the session. A visitor's will not do for what is done in somebody's name: a neighbour
/// site may be able to set that cookie, and so would know its proof.
pub fn is_of_session(headers: &HeaderMap, proof: &str) -> bool {
    fits(headers, SESSION_COOKIE, proof)
}

fn fits(headers: &HeaderMap, name: &str, proof: &str) -> bool {
    cookie(headers, name).is_some_and(|cookie| {
        subtle::ConstantTimeEq::ct_eq(csrf_of(cookie).as_bytes(), proof.as_bytes()).into()
    })
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter();
    let texts = all.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// Adds a cookie; of no age, it is taken away.
fn set_cookie(headers: &mut HeaderMap, app: &App, name: &str, value: &str, age: u32) {
    let secure = if app.config.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let text = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}

pub fn signed_in(app: &App, token: &Token) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set_cookie(
        &mut headers,
        app,
        SESSION_COOKIE,
        &token.text(),
        60 * 86_400,
    );
    headers
}

pub fn signed_out(app: &App) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set_cookie(&mut headers, app, SESSION_COOKIE, "", 0);
    headers
}

/// Where the request came from, for rate limits.
pub fn address(parts: &Parts, app: &App) -> IpAddr {
    let forwarded = || {
        let value = parts
            .headers
            .get_all("x-forwarded-for")
            .into_iter()
            .next_back()?;
        value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = || {
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(peer.ip())
    };
    let told = if app.config.behind_proxy {
        forwarded()
    } else {
        None
    };
    told.or_else(peer).unwrap_or(IpAddr::from([0, 0, 0, 0]))
}
