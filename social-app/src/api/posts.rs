//! Posts, likes, comments. A post's address has its author, too: that is where it is.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::input::{Json, Path, Query};
use crate::api::{Caller, Part, Problem, Routes, Writer};
use crate::models::comments::{self, Comment};
use crate::models::likes::{self, Liked};
use crate::models::posts::{self, Draft};
use crate::models::{Page, Post};
use crate::{App, Error};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Method::POST, "/posts", post(create))
        .on(Method::GET, "/posts/{author}/{id}", get(one))
        .on(Method::DELETE, "/posts/{author}/{id}", delete(remove))
        .on(Method::PUT, "/posts/{author}/{id}/like", put(like))
        .on(Method::DELETE, "/posts/{author}/{id}/like", delete(unlike))
        .on(Method::GET, "/posts/{author}/{id}/comments", get(list))
        .on(Method::POST, "/posts/{author}/{id}/comments", post(comment))
        .on(
            Method::DELETE,
            "/posts/{author}/{id}/comments/{comment}",
            delete(remove_comment),
        )
}

#[derive(Debug, Deserialize)]
struct NewPost {
    #[serde(default)]
    body: String,
    audience: Option<String>,
    #[serde(default)]
    media: Vec<i64>,
}

async fn create(
    State(app): State<App>,
    Writer(caller): Writer,
    Json(new): Json<NewPost>,
) -> Result<(StatusCode, Answer<Post>), Problem> {
    let draft = Draft {
        body: new.body,
        audience: new.audience.unwrap_or_else(|| "everyone".to_owned()),
        media: new.media,
    };
    let id = posts::create(&app, caller.id, draft).await?;
    let made = posts::get(&app, caller.id, id, Some(caller.id)).await?;
    Ok((StatusCode::CREATED, Answer(made)))
}

async fn one(
    State(app): State<App>,
    caller: Caller,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<Answer<Post>, Problem> {
    Ok(Answer(posts::get(&app, author, id, Some(caller.id)).await?))
}

async fn remove(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<StatusCode, Problem> {
    if author != caller.id {
        return Err(Error::NotFound.into());
    }
    posts::delete(&app, author, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn like(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<Answer<Liked>, Problem> {
    Ok(Answer(likes::like(&app, caller.id, author, id).await?))
}

async fn unlike(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<Answer<Liked>, Problem> {
    Ok(Answer(likes::unlike(&app, caller.id, author, id).await?))
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Path((author, id)): Path<(i64, i64)>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Comment>>, Problem> {
    let page = comments::list(
        &app,
        author,
        id,
        Some(caller.id),
        part.cursor()?,
        part.size()?,
    );
    Ok(Answer(page.await?))
}

#[derive(Debug, Deserialize)]
struct Text {
    body: String,
}

async fn comment(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((author, id)): Path<(i64, i64)>,
    Json(Text { body }): Json<Text>,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    let (number, _) = comments::add(&app, caller.id, author, id, &body).await?;
    Ok((StatusCode::CREATED, Answer(json!({ "id": number }))))
}

async fn remove_comment(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((author, id, comment)): Path<(i64, i64, i64)>,
) -> Result<StatusCode, Problem> {
    comments::delete(&app, caller.id, author, id, comment).await?;
    Ok(StatusCode::NO_CONTENT)
}
