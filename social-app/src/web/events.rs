//! Live news, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;

use crate::App;
use crate::live::{self, News};
use crate::web::Failure;
use crate::web::session::Signed;

const KEEP_ALIVE: Duration = Duration::from_secs(20);

pub fn routes() -> Router<App> {
    Router::new().route("/events", get(events))
}

/// One event at once, and one whenever something is new: `{"notifications": 1, "messages": 0, "number": 7}`.
async fn events(
    State(app): State<App>,
    signed: Signed,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let news = live::subscribe(&app, signed.id())?;
    let stream = unfold((news, app), next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

type Following = (watch::Receiver<Option<News>>, App);

/// Only the newest is told: who reads slowly misses what is old.
async fn next((mut news, app): Following) -> Option<(Result<Event, Infallible>, Following)> {
    tokio::select! {
        () = app.live.closed() => return None,
        changed = async {
            loop {
                news.changed().await?;
                if news.borrow().is_some() {
                    return Ok::<(), watch::error::RecvError>(());
                }
            }
        } => changed.ok()?,
    }
    let latest = (*news.borrow_and_update())?;
    let text = format!(
        "{{\"notifications\":{},\"messages\":{},\"number\":{}}}",
        latest.unread.notifications, latest.unread.messages, latest.number
    );
    Some((Ok(Event::default().event("news").data(text)), (news, app)))
}
