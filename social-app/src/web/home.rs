//! The home feed and what is written there; for strangers, the door.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;

use crate::models::posts::{self, Draft};
use crate::models::{Cursor, feed, friends};
use crate::web::form::SignedForm;
use crate::web::layout::{self, Place};
use crate::web::session::{Signed, Visitor};
use crate::web::{Failure, account, view};
use crate::{App, Error};

/// Posts of one page.
pub const SIZE: usize = 15;

#[derive(Debug, Deserialize)]
pub struct From {
    pub cursor: Option<String>,
}

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home))
        .route("/feed", get(more))
        .route("/posts", post(create))
}

async fn home(
    State(app): State<App>,
    signed: Option<Signed>,
    visitor: Visitor,
) -> Result<Response, Failure> {
    let Some(signed) = signed else {
        return Ok((visitor.headers(&app), account::door(&visitor)).into_response());
    };
    let page = feed::page(&app, signed.id(), Cursor::START, SIZE).await?;
    let asked = friends::requests(&app, signed.id()).await?;
    let content = html! {
        h1.hidden-text { "Home" }
        (composer(&signed, "", None))
        @if !asked.is_empty() {
            p.card.hint { a href="/friends" { (crate::web::text::counted(asked.len() as i64, "friend request", "friend requests")) } " for you" }
        }
        div #feed aria-label="Posts" {
            @if page.items.is_empty() && page.next.is_none() {
                (view::empty("It is quiet here. Search for people, and follow them: their posts come here."))
            }
            (view::posts(Some(&signed), &page, "/feed"))
        }
    };
    Ok(layout::page(&signed, Place::Home, "Home", content).into_response())
}

/// The next posts: a part of a page for the script, a whole one otherwise.
async fn more(
    State(app): State<App>,
    signed: Signed,
    Query(from): Query<From>,
    headers: axum::http::HeaderMap,
) -> Result<Markup, Failure> {
    let page = feed::page(
        &app,
        signed.id(),
        Cursor::parse(from.cursor.as_deref())?,
        SIZE,
    )
    .await?;
    let list = view::posts(Some(&signed), &page, "/feed");
    Ok(match headers.contains_key("x-fragment") {
        true => list,
        false => layout::page(
            &signed,
            Place::Home,
            "Home",
            html! { h1.hidden-text { "Home" } div #feed { (list) } },
        ),
    })
}

pub fn composer(signed: &Signed, body: &str, mistake: Option<&str>) -> Markup {
    html! {
        form.card.composer method="post" action="/posts" data-compose {
            (view::csrf(signed))
            (view::mistake(mistake))
            div.composer-row {
                (view::avatar(&signed.viewer.person, "medium"))
                label.hidden-text for="composer" { "What is new?" }
                textarea #composer name="body" rows="2" maxlength="5000" placeholder="What is new in town?" { (body) }
            }
            div.previews data-previews {}
            div.composer-foot {
                label.act.file data-needs-script hidden {
                    span.icon aria-hidden="true" { (maud::PreEscaped(PICTURE)) } "Picture"
                    input.hidden-text type="file" accept="image/*,video/mp4,video/webm" multiple data-upload;
                }
                label.hidden-text for="audience" { "Who may see it" }
                select #audience name="audience" {
                    option value="everyone" { "Everyone" }
                    option value="friends" { "Friends" }
                }
                button.button { "Post" }
            }
        }
    }
}

const PICTURE: &str = r#"<svg viewBox="0 0 24 24"><path d="M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17"/><circle cx="15.5" cy="9" r="1.3"/></svg>"#;

async fn create(
    State(app): State<App>,
    SignedForm {
        signed,
        fields,
        back,
    }: SignedForm,
) -> Result<Response, Failure> {
    let draft = Draft {
        body: fields.text("body").to_owned(),
        audience: match fields.text("audience") {
            "" => "everyone".to_owned(),
            audience => audience.to_owned(),
        },
        media: fields.numbers("media"),
    };
    match posts::create(&app, signed.id(), draft).await {
        Ok(id) => {
            let made = posts::get(&app, signed.id(), id, Some(signed.id())).await?;
            Ok(match back.wants_fragment {
                true => view::post(Some(&signed), &made).into_response(),
                false => Redirect::to("/").into_response(),
            })
        }
        Err(Error::Invalid { message, .. }) if !back.wants_fragment => {
            let form = composer(&signed, fields.text("body"), Some(&message));
            Ok(layout::page(&signed, Place::Home, "New post", form).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
