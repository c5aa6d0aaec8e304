//! Finding people.

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use crate::App;
use crate::models::rate_limits::{self, SEARCH};
use crate::models::search;
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, view};

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    q: String,
}

pub fn routes() -> Router<App> {
    Router::new().route("/search", get(page))
}

async fn page(
    State(app): State<App>,
    signed: Signed,
    Query(Wanted { q }): Query<Wanted>,
    headers: axum::http::HeaderMap,
) -> Result<Markup, Failure> {
    rate_limits::take(&app, SEARCH, signed.id()).await?;
    let found = search::find(&app, signed.id(), &q).await?;
    let list = html! {
        ul.people { @for person in &found { (view::person_line(person, html! {})) } }
        @if found.is_empty() && q.trim().chars().count() >= 2 { (view::empty("Nobody of that name.")) }
        @if q.trim().chars().count() < 2 { (view::empty("Type the beginning of a name: two letters or more.")) }
    };
    if headers.contains_key("x-fragment") {
        return Ok(list);
    }
    let content = html! {
        section.card {
            h1 { "Find people" }
            form.search role="search" action="/search" data-search {
                label.hidden-text for="q" { "Name" }
                input #q name="q" type="search" value=(q) placeholder="A name, or the beginning of one" autocomplete="off";
                button.button { "Search" }
            }
            div data-results aria-live="polite" { (list) }
        }
    };
    Ok(layout::page(&signed, Place::Search, "Search", content))
}
