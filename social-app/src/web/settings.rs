//! One's own profile, tokens for programs, blocked people, and leaving.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::models::rate_limits::{self, SIGN_IN};
use crate::models::{blocks, deletion, people, tokens};
use crate::web::form::SignedForm;
use crate::web::layout::{self, Place};
use crate::web::session::{self, Signed};
use crate::web::{Failure, view};
use crate::{App, Error};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/settings", get(page).post(change))
        .route("/settings/tokens", post(new_token))
        .route("/settings/tokens/{id}/revoke", post(revoke))
        .route("/settings/delete", post(delete))
}

async fn page(State(app): State<App>, signed: Signed) -> Result<Markup, Failure> {
    shown(&app, &signed, None, None).await
}

async fn shown(
    app: &App,
    signed: &Signed,
    mistake: Option<&str>,
    new_token: Option<&str>,
) -> Result<Markup, Failure> {
    let profile = people::profile(app, signed.id(), Some(signed.id())).await?;
    let tokens = tokens::list(app, signed.id()).await?;
    let blocked = blocks::list(app, signed.id()).await?;
    let content = html! {
        h1 { "Settings" }
        (view::mistake(mistake))
        form.card.account method="post" action="/settings" data-avatar {
            h2 { "Profile" }
            (view::csrf(signed))
            label for="name" { "Your name" }
            input #name name="name" required maxlength="60" value=(profile.person.name) autocomplete="name";
            label for="bio" { "About you" }
            textarea #bio name="bio" rows="3" maxlength="500" { (profile.bio) }
            div data-needs-script hidden {
                label for="avatar" { "Picture" }
                input #avatar type="file" accept="image/*" data-upload="avatar_id";
                div.previews data-previews {}
            }
            button.button { "Save" }
        }
        section.card {
            h2 { "Tokens for programs" }
            @if let Some(token) = new_token {
                p role="status" { "Your new token, shown this once: " code.token { (token) } }
            }
            ul.people { @for token in &tokens {
                li.person { span { strong { (token.label) } }
                    form.inline method="post" action={ "/settings/tokens/" (token.id) "/revoke" } { (view::csrf(signed)) button.quiet { "Revoke" } }
                }
            } }
            form.search method="post" action="/settings/tokens" {
                (view::csrf(signed))
                label.hidden-text for="label" { "Name of the token" }
                input #label name="label" required maxlength="60" placeholder="What is it for?";
                button.button.soft { "New token" }
            }
            p.muted { "The interface is described at " a href="/api/v1/openapi.json" { "/api/v1/openapi.json" } "." }
        }
        @if !blocked.is_empty() {
            section.card { h2 { "Blocked" } ul.people { @for person in &blocked {
                (view::person_line(person, html! {
                    form.inline method="post" action={ "/people/" (person.id) "/block" } {
                        (view::csrf(signed)) input type="hidden" name="on" value="0"; button.quiet { "Unblock" }
                    }
                }))
            } } }
        }
        form.card method="post" action="/sign-out" { (view::csrf(signed)) button.button.soft.wide { "Sign out" } }
        details.card {
            summary { "Delete my account" }
            form.account method="post" action="/settings/delete" data-confirm="Delete your account for good?" {
                p { "Your posts, pictures, comments, likes and messages go for good, also those with others." }
                (view::csrf(signed))
                label for="password" { "Your password" }
                input #password type="password" name="password" required autocomplete="current-password";
                button.button.danger { "Delete everything" }
            }
        }
    };
    Ok(layout::page(signed, Place::Me, "Settings", content))
}

/// The page again with the mistake, if it is one of the person's own.
async fn or_mistake(app: &App, signed: &Signed, error: Error) -> Result<Response, Failure> {
    match error {
        Error::Invalid { message, .. } => Ok((
            axum::http::StatusCode::UNPROCESSABLE_ENTITY,
            shown(app, signed, Some(&message), None).await?,
        )
            .into_response()),
        error => Err(error.into()),
    }
}

async fn change(
    State(app): State<App>,
    SignedForm { signed, fields, .. }: SignedForm,
) -> Result<Response, Failure> {
    let avatar = fields.numbers("avatar_id").last().copied();
    match people::change(
        &app,
        signed.id(),
        fields.text("name"),
        fields.text("bio"),
        avatar,
    )
    .await
    {
        Ok(()) => {
            Ok(Redirect::to(&format!("/@{}", signed.viewer.person.user_name)).into_response())
        }
        Err(error) => or_mistake(&app, &signed, error).await,
    }
}

async fn new_token(
    State(app): State<App>,
    SignedForm { signed, fields, .. }: SignedForm,
) -> Result<Response, Failure> {
    match tokens::create(&app, signed.id(), fields.text("label")).await {
        Ok((_, token)) => Ok(shown(&app, &signed, None, Some(&token.text()))
            .await?
            .into_response()),
        Err(error) => or_mistake(&app, &signed, error).await,
    }
}

async fn revoke(
    State(app): State<App>,
    Path(id): Path<i64>,
    SignedForm { signed, .. }: SignedForm,
) -> Result<Response, Failure> {
    tokens::revoke(&app, signed.id(), id).await?;
    Ok(Redirect::to("/settings").into_response())
}

async fn delete(
    State(app): State<App>,
    SignedForm { signed, fields, .. }: SignedForm,
) -> Result<Response, Failure> {
    rate_limits::take(&app, SIGN_IN, signed.id()).await?;
    match deletion::request(&app, signed.id(), fields.text("password").to_owned()).await {
        Ok(()) => Ok((session::signed_out(&app), Redirect::to("/")).into_response()),
        Err(error) => or_mistake(&app, &signed, error).await,
    }
}
