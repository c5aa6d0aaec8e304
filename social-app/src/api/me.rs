//! Joining, tokens, one's own profile, feed and news.

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, patch, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::input::{Json, Path, Query};
use crate::api::{Caller, Part, Problem, Routes, Writer};
use crate::models::notifications::{self, Notification};
use crate::models::people::{self, Profile, SignUp};
use crate::models::rate_limits::{self, Limit, SIGN_IN, SIGN_UP};
use crate::models::tokens::{self, ApiToken};
use crate::models::{Page, Post, deletion, feed};
use crate::{App, web};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Method::POST, "/people", post(join))
        .on(Method::POST, "/tokens", post(create_token))
        .on(Method::GET, "/tokens", get(list_tokens))
        .on(Method::DELETE, "/tokens/{id}", delete(revoke_token))
        .on(Method::GET, "/me", get(me))
        .on(Method::PATCH, "/me", patch(change))
        .on(Method::DELETE, "/me", delete(leave))
        .on(Method::GET, "/feed", get(home_feed))
        .on(Method::GET, "/notifications", get(news))
        .on(Method::PUT, "/notifications/seen", put(seen))
}

#[derive(Debug, Serialize)]
struct NewToken {
    #[serde(flatten)]
    about: ApiToken,
    /// Told this once.
    token: String,
    user_id: i64,
}

/// Reads the body after taking a token of the caller's address.
async fn limited<T: serde::de::DeserializeOwned>(
    app: &App,
    limit: Limit,
    request: Request,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    rate_limits::take(app, limit, web::address(&parts, app)).await?;
    let request = Request::from_parts(parts, body);
    let Json(value) =
        <Json<T> as axum::extract::FromRequest<App>>::from_request(request, app).await?;
    Ok(value)
}

async fn issue(
    app: &App,
    user_id: i64,
    label: &str,
) -> Result<(StatusCode, Answer<NewToken>), Problem> {
    let (about, token) = tokens::create(app, user_id, label).await?;
    let token = NewToken {
        about,
        token: token.text(),
        user_id,
    };
    Ok((StatusCode::CREATED, Answer(token)))
}

#[derive(Debug, Deserialize)]
struct Joining {
    user_name: String,
    email: String,
    name: String,
    password: String,
}

async fn join(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Answer<NewToken>), Problem> {
    let Joining {
        user_name,
        email,
        name,
        password,
    } = limited(&app, SIGN_UP, request).await?;
    let wish = SignUp {
        user_name,
        email,
        name,
        password,
    };
    let id = people::sign_up(&app, wish).await?;
    issue(&app, id, "sign-up").await
}

#[derive(Debug, Deserialize)]
struct Login {
    login: String,
    password: String,
    label: String,
}

async fn create_token(
    State(app): State<App>,
    request: Request,
) -> Result<(StatusCode, Answer<NewToken>), Problem> {
    let login: Login = limited(&app, SIGN_IN, request).await?;
    let id = people::sign_in(&app, &login.login, login.password).await?;
    issue(&app, id, &login.label).await
}

async fn list_tokens(State(app): State<App>, caller: Caller) -> Result<Answer<Value>, Problem> {
    Ok(Answer(
        json!({ "items": tokens::list(&app, caller.id).await? }),
    ))
}

async fn revoke_token(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    tokens::revoke(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn me(State(app): State<App>, caller: Caller) -> Result<Answer<Profile>, Problem> {
    Ok(Answer(
        people::profile(&app, caller.id, Some(caller.id)).await?,
    ))
}

#[derive(Debug, Deserialize)]
struct Change {
    name: String,
    bio: String,
    avatar_id: Option<i64>,
}

async fn change(
    State(app): State<App>,
    Writer(caller): Writer,
    Json(change): Json<Change>,
) -> Result<Answer<Profile>, Problem> {
    people::change(&app, caller.id, &change.name, &change.bio, change.avatar_id).await?;
    me(State(app), caller).await
}

#[derive(Debug, Deserialize)]
struct Password {
    password: String,
}

async fn leave(
    State(app): State<App>,
    caller: Caller,
    Json(sent): Json<Password>,
) -> Result<StatusCode, Problem> {
    rate_limits::take(&app, SIGN_IN, caller.id).await?;
    deletion::request(&app, caller.id, sent.password).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn home_feed(
    State(app): State<App>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Post>>, Problem> {
    Ok(Answer(
        feed::page(&app, caller.id, part.cursor()?, part.size()?).await?,
    ))
}

async fn news(
    State(app): State<App>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Notification>>, Problem> {
    Ok(Answer(
        notifications::list(&app, caller.id, part.cursor()?, part.size()?).await?,
    ))
}

async fn seen(State(app): State<App>, Writer(caller): Writer) -> Result<StatusCode, Problem> {
    notifications::mark_seen(&app, caller.id).await?;
    app.live.wake(caller.id);
    Ok(StatusCode::NO_CONTENT)
}
