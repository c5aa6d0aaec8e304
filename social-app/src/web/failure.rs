//! Errors as pages, in kind words.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use crate::Error;
use crate::web::layout;

/// An error of a page.
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(error) = self;
        if matches!(error, Error::SignInFirst) {
            return Redirect::to("/sign-in").into_response();
        }
        let status = error.status();
        log(&error, status);
        let page = layout::plain(
            title(status),
            html! {
                section.card.notice {
                    p.notice-sign aria-hidden="true" { (sign(status)) }
                    h1 { (title(status)) }
                    p { (error.public()) }
                    p { a.button href="/" { "Home" } }
                }
            },
        );
        let mut response = (status, page).into_response();
        retry_after(&error, &mut response);
        response
    }
}

/// What nobody should be told, but somebody has to know.
pub fn log(error: &Error, status: StatusCode) {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(?error, "a request failed"),
        StatusCode::SERVICE_UNAVAILABLE => tracing::warn!(?error, "a request could not be served"),
        _ => {}
    }
}

/// When to come back.
pub fn retry_after(error: &Error, response: &mut Response) {
    let seconds = match error {
        Error::TooMany { retry_after } => retry_after.as_secs().max(1),
        error if error.is_unavailable() => 5,
        _ => return,
    };
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Nothing here",
        StatusCode::FORBIDDEN => "Not for you",
        StatusCode::TOO_MANY_REQUESTS => "A little slower, please",
        StatusCode::SERVICE_UNAVAILABLE => "Back in a moment",
        StatusCode::INTERNAL_SERVER_ERROR => "That is our fault",
        _ => "That did not work",
    }
}

fn sign(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "🍂",
        StatusCode::SERVICE_UNAVAILABLE => "🌙",
        _ => "☁",
    }
}
