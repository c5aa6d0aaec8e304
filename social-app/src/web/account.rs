//! Signing up, in and out.

use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::models::people::{self, SignUp};
use crate::models::rate_limits::{self, SIGN_IN, SIGN_UP};
use crate::models::sessions;
use crate::web::form::{Fields, Form};
use crate::web::session::{self, Signed, Visitor};
use crate::web::{Failure, layout, view};
use crate::{App, Error};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/sign-up", get(sign_up_page).post(sign_up))
        .route("/sign-in", get(sign_in_page).post(sign_in))
        .route("/sign-out", post(sign_out))
}

/// The first page for whoever is not signed in.
pub fn door(visitor: &Visitor) -> Markup {
    layout::plain(
        "Welcome",
        html! {
            div.door {
                section.door-words {
                    h1 { "A small town where everybody is at home." }
                    p { "Write what is new, follow your friends, send them messages. That is all, and it is quick." }
                    p.muted { "Behind it are several ordinary PostgreSQL servers that look like one." }
                }
                (sign_up_form(&visitor.csrf, None, None))
            }
        },
    )
}

fn sign_up_form(csrf: &str, fields: Option<&Fields>, mistake: Option<&Error>) -> Markup {
    let value = |name| fields.map_or("", |fields| fields.text(name));
    html! {
        form.card.account method="post" action="/sign-up" {
            h2 { "Join" }
            (view::mistake(mistake.map(ToString::to_string).as_deref()))
            input type="hidden" name="csrf" value=(csrf);
            (field("name", "Your name", "text", value("name"), "name", None))
            (field("user_name", "User name", "text", value("user_name"), "username", Some("3 to 30 of a to z, digits and _")))
            (field("email", "E-mail", "email", value("email"), "email", None))
            (field("password", "Password", "password", "", "new-password", Some("At least 8 characters")))
            button.button.wide { "Sign up" }
            p.muted { "Already here? " a href="/sign-in" { "Sign in" } }
        }
    }
}

fn field(
    name: &str,
    label: &str,
    kind: &str,
    value: &str,
    complete: &str,
    hint: Option<&str>,
) -> Markup {
    html! {
        label for=(name) { (label) }
        input id=(name) name=(name) type=(kind) value=(value) autocomplete=(complete) required
            aria-describedby=[hint.map(|_| format!("{name}-hint"))];
        @if let Some(hint) = hint { span.muted.field-hint id={ (name) "-hint" } { (hint) } }
    }
}

fn sign_in_form(csrf: &str, login: &str, mistake: Option<&str>) -> Markup {
    html! {
        form.card.account method="post" action="/sign-in" {
            h1 { "Sign in" }
            (view::mistake(mistake))
            input type="hidden" name="csrf" value=(csrf);
            (field("login", "User name or e-mail", "text", login, "username", None))
            (field("password", "Password", "password", "", "current-password", None))
            button.button.wide { "Sign in" }
            p.muted { "New here? " a href="/sign-up" { "Sign up" } }
        }
    }
}

async fn sign_up_page(State(app): State<App>, visitor: Visitor) -> Response {
    let page = layout::plain("Sign up", sign_up_form(&visitor.csrf, None, None));
    (visitor.headers(&app), page).into_response()
}

async fn sign_in_page(
    State(app): State<App>,
    signed: Option<Signed>,
    visitor: Visitor,
) -> Response {
    if signed.is_some() {
        return Redirect::to("/").into_response();
    }
    let page = layout::plain("Sign in", sign_in_form(&visitor.csrf, "", None));
    (visitor.headers(&app), page).into_response()
}

/// Reads the form, and takes a token of the address that it came from.
async fn limited(
    app: &App,
    limit: rate_limits::Limit,
    request: Request,
) -> Result<(Form, HeaderMap), Failure> {
    let (parts, body) = request.into_parts();
    let (address, headers) = (session::address(&parts, app), parts.headers.clone());
    let form = Form::from_request(Request::from_parts(parts, body), app).await?;
    rate_limits::take(app, limit, address).await?;
    Ok((form, headers))
}

async fn sign_up(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let (Form { fields, .. }, headers) = limited(&app, SIGN_UP, request).await?;
    let wish = SignUp {
        user_name: fields.text("user_name").to_owned(),
        email: fields.text("email").to_owned(),
        name: fields.text("name").to_owned(),
        password: fields.text("password").to_owned(),
    };
    match people::sign_up(&app, wish).await {
        Ok(id) => welcome(&app, id, &headers).await,
        Err(error @ (Error::Invalid { .. } | Error::Conflict { .. })) => {
            let page = layout::plain(
                "Sign up",
                sign_up_form(fields.text("csrf"), Some(&fields), Some(&error)),
            );
            Ok((error.status(), page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    let (Form { fields, .. }, headers) = limited(&app, SIGN_IN, request).await?;
    let login = fields.text("login");
    match people::sign_in(&app, login, fields.text("password").to_owned()).await {
        Ok(id) => welcome(&app, id, &headers).await,
        Err(error @ Error::Invalid { .. }) => {
            let form = sign_in_form(fields.text("csrf"), login, Some(&error.to_string()));
            Ok((error.status(), layout::plain("Sign in", form)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn welcome(app: &App, id: i64, headers: &HeaderMap) -> Result<Response, Failure> {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    let token = sessions::start(app, id, agent.unwrap_or("")).await?;
    Ok((session::signed_in(app, &token), Redirect::to("/")).into_response())
}

async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    _: Form,
) -> Result<Response, Failure> {
    if let Some(token) = session::token_of(&headers) {
        sessions::end(&app, &token).await?;
    }
    Ok((session::signed_out(&app), Redirect::to("/")).into_response())
}
