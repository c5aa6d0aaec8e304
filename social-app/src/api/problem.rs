//! Errors as RFC 9457 has them.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::Error;
use crate::web::{log, retry_after};

pub struct Problem(pub Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(error) = self;
        let status = error.status();
        log(&error, status);
        let mut body = json!({
            "type": format!("/problems/{}", error.kind()),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": error.public(),
        });
        if let Error::Invalid { field, .. } | Error::Conflict { field, .. } = &error {
            body["field"] = json!(field);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, body.to_string()).into_response();
        if matches!(error, Error::SignInFirst) {
            let bearer = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        retry_after(&error, &mut response);
        response
    }
}
