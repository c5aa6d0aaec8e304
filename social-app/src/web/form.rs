//! Forms: read within a limit, and proven to be ours before anything else is done.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::models::rate_limits::{self, WRITE};
use crate::web::failure::Failure;
use crate::web::session::{Signed, is_of_session, is_ours};
use crate::{App, Error};

/// A form's fields.
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first of this name, or nothing.
    pub fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// All numbers of this name; others are left out.
    pub fn numbers(&self, name: &str) -> Vec<i64> {
        let named = self.0.iter().filter(|(key, _)| key == name);
        named.filter_map(|(_, value)| value.parse().ok()).collect()
    }
}

/// A form from somebody who may be signed in or not.
pub struct Form {
    pub fields: Fields,
    pub back: Back,
}

impl FromRequest<App> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Form, Failure> {
        Form::proven_by(is_ours, request, app).await
    }
}

impl Form {
    async fn proven_by(
        proves: fn(&HeaderMap, &str) -> bool,
        request: Request,
        app: &App,
    ) -> Result<Form, Failure> {
        let headers = request.headers().clone();
        let back = Back::of(&headers);
        let read = axum::Form::<Vec<(String, String)>>::from_request(request, app).await;
        let axum::Form(fields) = read.map_err(|rejection| Error::Refused {
            status: rejection.status(),
            kind: "form",
            detail: "The form could not be read.".to_owned(),
        })?;
        let fields = Fields(fields);
        if !proves(&headers, fields.text("csrf")) {
            return Err(Error::Forbidden(
                "The form is too old. Please go back, reload the page, and try again.",
            )
            .into());
        }
        Ok(Form { fields, back })
    }
}

/// A form from somebody who is signed in, and does not send them too fast.
pub struct SignedForm {
    pub signed: Signed,
    pub fields: Fields,
    pub back: Back,
}

impl FromRequest<App> for SignedForm {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<SignedForm, Failure> {
        let (mut parts, body) = request.into_parts();
        let signed =
            <Signed as axum::extract::FromRequestParts<App>>::from_request_parts(&mut parts, app)
                .await?;
        let request = Request::from_parts(parts, body);
        let Form { fields, back } = Form::proven_by(is_of_session, request, app).await?;
        rate_limits::take(app, WRITE, signed.id()).await?;
        Ok(SignedForm {
            signed,
            fields,
            back,
        })
    }
}

/// Where a form leads: to a fragment for the script that sent it, or back to the page that it is on.
pub struct Back {
    pub wants_fragment: bool,
    path: String,
}

impl Back {
    fn of(headers: &HeaderMap) -> Back {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or("");
        let path = text(header::REFERER).and_then(|referer| {
            let (_, rest) = referer.split_once("://")?;
            let path = rest.strip_prefix(host)?;
            (path.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
        });
        Back {
            wants_fragment: headers.contains_key("x-fragment"),
            path: path.unwrap_or_else(|| "/".to_owned()),
        }
    }

    /// The fragment, or the page again.
    pub fn with(self, fragment: maud::Markup) -> Response {
        match self.wants_fragment {
            true => fragment.into_response(),
            false => Redirect::to(&self.path).into_response(),
        }
    }
}
