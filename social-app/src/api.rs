//! The interface for programs: `/api/v1`, JSON, described at `/api/v1/openapi.json`.

mod caller;
mod conversations;
mod document;
mod input;
mod me;
mod media;
mod people;
mod posts;
mod problem;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;

use crate::models::Cursor;
use crate::{App, Error};

pub use caller::{Caller, Writer};
pub use problem::Problem;

/// Largest body of JSON.
const BODY: usize = 64 * 1024;

/// Routes, and what they are called in the document: a test holds the two against one another.
struct Routes {
    router: Router<App>,
    listed: Vec<(Method, &'static str)>,
}

impl Routes {
    fn new() -> Routes {
        Routes {
            router: Router::new(),
            listed: Vec::new(),
        }
    }

    /// Adds one operation.
    fn on(mut self, method: Method, path: &'static str, handler: MethodRouter<App>) -> Routes {
        self.router = self.router.route(path, handler);
        self.listed.push((method, path));
        self
    }
}

fn all() -> Routes {
    let routes = me::routes(Routes::new());
    let routes = people::routes(routes);
    let routes = posts::routes(routes);
    let routes = conversations::routes(routes);
    routes.on(Method::GET, "/openapi.json", get(document::serve))
}

pub fn routes() -> Router<App> {
    nested(all())
}

/// Those that are not bounded in time.
pub fn file_routes() -> Router<App> {
    nested(media::routes(Routes::new()))
}

fn nested(routes: Routes) -> Router<App> {
    let inner = routes.router.method_not_allowed_fallback(wrong_method);
    let limited = inner
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn(typed));
    Router::new().nest("/api/v1", limited)
}

async fn wrong_method() -> Problem {
    Problem(Error::Refused {
        status: StatusCode::METHOD_NOT_ALLOWED,
        kind: "method-not-allowed",
        detail: "This address does not know the method.".to_owned(),
    })
}

/// Whatever fails says so as a problem, also what never came to a handler.
async fn typed(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if status.is_success() || is_json(response.headers()) {
        return response;
    }
    let (kind, detail) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is larger than 64 KiB."),
        _ => ("refused", "The request could not be understood."),
    };
    let detail = detail.to_owned();
    Problem(Error::Refused {
        status,
        kind,
        detail,
    })
    .into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(axum::http::header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.contains("json"))
}

/// Which part of a list.
#[derive(Debug, Deserialize)]
struct Part {
    cursor: Option<String>,
    limit: Option<u32>,
}

impl Part {
    fn cursor(&self) -> Result<Cursor, Error> {
        Cursor::parse(self.cursor.as_deref())
    }

    /// 20 unless told otherwise, and at most 100.
    fn size(&self) -> Result<usize, Error> {
        match self.limit {
            None => Ok(20),
            Some(limit @ 1..=100) => Ok(limit as usize),
            Some(_) => Err(Error::invalid("limit", "The limit is 1 to 100.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let files = media::routes(Routes::new()).listed;
        let routed: BTreeSet<String> = all()
            .listed
            .iter()
            .chain(&files)
            .map(|(method, path)| format!("{} {path}", method.as_str().to_lowercase()))
            .collect();
        let document = document::document();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
            {
                described.insert(format!("{method} {path}"));
            }
        }
        assert_eq!(routed, described);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document::document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
