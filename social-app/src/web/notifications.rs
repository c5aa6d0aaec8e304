//! What others did.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use maud::{Markup, html};

use crate::App;
use crate::models::notifications::{self, Notification};
use crate::models::{Cursor, Page};
use crate::web::home::From;
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, text, view};

const SIZE: usize = 40;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/notifications", get(page))
        .route("/notifications/latest", get(latest))
}

async fn page(
    State(app): State<App>,
    signed: Signed,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let cursor = Cursor::parse(from.cursor.as_deref())?;
    let page = notifications::list(&app, signed.id(), cursor, SIZE).await?;
    let list = items(signed.id(), &page);
    if headers.contains_key("x-fragment") {
        return Ok(list);
    }
    notifications::mark_seen(&app, signed.id()).await?;
    app.live.wake(signed.id());
    let content = html! {
        section.card {
            h1 { "News" }
            ul.people { (list) }
            @if page.items.is_empty() { (view::empty("Nothing yet. When somebody likes, comments or follows, it is here.")) }
        }
    };
    Ok(layout::page(&signed, Place::Notifications, "News", content))
}

fn items(me: i64, page: &Page<Notification>) -> Markup {
    html! {
        @for item in &page.items {
            li.person.unseen[!item.seen] {
                a.person-link href=(target(me, item)) {
                    (view::avatar(&item.actor, "medium"))
                    span { span { strong { (item.actor.name) } " " (item.words()) } span.muted { (text::when(item.created)) } }
                }
            }
        }
        (view::next(page.next.as_deref(), "/notifications"))
    }
}

/// Where the notification leads.
fn target(me: i64, item: &Notification) -> String {
    match (item.kind.as_str(), item.post_id) {
        ("friend_request", _) => "/friends".to_owned(),
        (_, Some(post)) => format!("/p/{me}/{post}"),
        _ => format!("/@{}", item.actor.user_name),
    }
}

/// The newest one that is not seen, in a line to be shown for a moment.
async fn latest(State(app): State<App>, signed: Signed) -> Result<Markup, Failure> {
    let page = notifications::list(&app, signed.id(), Cursor::START, 1).await?;
    Ok(html! {
        @for item in page.items.iter().filter(|item| !item.seen) {
            a.toast href=(target(signed.id(), item)) {
                (view::avatar(&item.actor, "small"))
                span { strong { (item.actor.name) } " " (item.words()) }
            }
        }
    })
}
