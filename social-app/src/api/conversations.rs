//! Direct messages.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post, put};
use serde::Deserialize;

use crate::App;
use crate::api::input::{Json, Path, Query};
use crate::api::{Caller, Part, Problem, Routes, Writer};
use crate::models::Page;
use crate::models::messages::{self, Conversation, Message};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .on(Method::GET, "/conversations", get(all))
        .on(Method::GET, "/conversations/{peer}/messages", get(list))
        .on(Method::POST, "/conversations/{peer}/messages", post(send))
        .on(Method::PUT, "/conversations/{peer}/read", put(read))
}

async fn all(
    State(app): State<App>,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Conversation>>, Problem> {
    Ok(Answer(
        messages::conversations(&app, caller.id, part.cursor()?, part.size()?).await?,
    ))
}

async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(peer): Path<i64>,
    Query(part): Query<Part>,
) -> Result<Answer<Page<Message>>, Problem> {
    Ok(Answer(
        messages::list(&app, caller.id, peer, part.cursor()?, part.size()?).await?,
    ))
}

#[derive(Debug, Deserialize)]
struct Text {
    body: String,
}

async fn send(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(peer): Path<i64>,
    Json(Text { body }): Json<Text>,
) -> Result<(StatusCode, Answer<Message>), Problem> {
    let sent = messages::send(&app, caller.id, peer, &body).await?;
    Ok((StatusCode::CREATED, Answer(sent)))
}

async fn read(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(peer): Path<i64>,
) -> Result<StatusCode, Problem> {
    messages::mark_read(&app, caller.id, peer).await?;
    app.live.wake(caller.id);
    Ok(StatusCode::NO_CONTENT)
}
