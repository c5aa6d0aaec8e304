//! Files: sent by themselves or in a form, and asked about until their sizes are made. Sending takes as long as it takes.

use axum::Json as Answer;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::routing::{delete, get, post};

use crate::App;
use crate::api::input::Path;
use crate::api::{Caller, Problem, Routes, Writer};
use crate::media::{self, Attachment};
use crate::models::rate_limits::{self, UPLOAD};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        // What a file may have bounds it, while it comes.
        .on(
            Method::POST,
            "/media",
            post(send).layer(DefaultBodyLimit::disable()),
        )
        .on(Method::GET, "/media/{id}", get(one))
        .on(Method::DELETE, "/media/{id}", delete(remove))
}

async fn send(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Answer<Attachment>), Problem> {
    rate_limits::take(&app, UPLOAD, caller.id).await?;
    let added = media::receive(&app, caller.id, request).await?;
    Ok((StatusCode::CREATED, Answer(added)))
}

async fn one(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Answer<Attachment>, Problem> {
    Ok(Answer(media::find(&app, caller.id, id).await?))
}

async fn remove(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    media::delete(&app, caller.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
