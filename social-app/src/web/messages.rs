//! Conversations.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::models::messages::{self, Message};
use crate::models::people;
use crate::models::{Cursor, Page};
use crate::web::form::SignedForm;
use crate::web::home::From;
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, text, view};
use crate::{App, Error};

const SIZE: usize = 40;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/messages", get(inbox))
        .route("/messages/{peer}", get(conversation).post(send))
        .route("/messages/{peer}/since", get(since))
}

async fn inbox(
    State(app): State<App>,
    signed: Signed,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let cursor = Cursor::parse(from.cursor.as_deref())?;
    let page = messages::conversations(&app, signed.id(), cursor, SIZE).await?;
    let items = html! {
        @for talk in &page.items {
            li.person { a.person-link href={ "/messages/" (talk.peer.id) } {
                (view::avatar(&talk.peer, "medium"))
                span {
                    strong { (talk.peer.name) }
                    span.muted.excerpt { (talk.excerpt) }
                }
                span.person-side { (text::when(talk.latest)) @if talk.unread > 0 { span.badge { (talk.unread) span.hidden-text { " unread" } } } }
            } }
        }
        (view::next(page.next.as_deref(), "/messages"))
    };
    if headers.contains_key("x-fragment") {
        return Ok(items);
    }
    let content = html! {
        section.card {
            h1 { "Messages" }
            ul.people data-refresh="/messages" { (items) }
            @if page.items.is_empty() { (view::empty("No messages yet. Find somebody, and write.")) }
        }
    };
    Ok(layout::page(&signed, Place::Messages, "Messages", content))
}

async fn conversation(
    State(app): State<App>,
    signed: Signed,
    Path(peer): Path<i64>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let cursor = Cursor::parse(from.cursor.as_deref())?;
    let page = messages::list(&app, signed.id(), peer, cursor, SIZE).await?;
    let list = older(signed.id(), peer, &page);
    if headers.contains_key("x-fragment") {
        return Ok(list);
    }
    messages::mark_read(&app, signed.id(), peer).await?;
    let person = people::by_ids(&app, [peer])
        .await?
        .remove(&peer)
        .ok_or(Error::NotFound)?;
    let content = html! {
        section.card.talk {
            header.talk-head {
                a.quiet href="/messages" aria-label="All messages" { "←" }
                a.person-link href={ "/@" (person.user_name) } {
                    (view::avatar(&person, "small"))
                    h1 { (person.name) }
                }
            }
            div.talk-list data-talk={ "/messages/" (peer) "/since" } tabindex="0" aria-label={ "Conversation with " (person.name) } {
                // The newest is first in the document, and last to the eye.
                (list)
            }
            form.comment-form method="post" action={ "/messages/" (peer) } data-swap="talk" {
                (view::csrf(&signed))
                label.hidden-text for="message" { "Your message" }
                textarea #message name="body" rows="1" required maxlength="4000" placeholder="Write a message" autocomplete="off" {}
                button.button { "Send" }
            }
        }
    };
    Ok(layout::page(
        &signed,
        Place::Messages,
        &person.name,
        content,
    ))
}

fn older(me: i64, peer: i64, page: &Page<Message>) -> Markup {
    html! {
        @for item in &page.items { (message(me, item)) }
        (view::next(page.next.as_deref(), &format!("/messages/{peer}")))
    }
}

fn message(me: i64, message: &Message) -> Markup {
    let micros = message.created.unix_timestamp_nanos() / 1000;
    html! {
        div.message.mine[message.sender_id == me] id={ "message-" (message.id) } data-at=(micros) {
            div.body { (text::body(&message.body)) }
            span.muted { (text::when(message.created)) }
        }
    }
}

#[derive(Debug, Deserialize)]
struct After {
    /// Microseconds since 1970.
    after: i64,
}

/// What was written since, the newest first; it is read by that.
async fn since(
    State(app): State<App>,
    signed: Signed,
    Path(peer): Path<i64>,
    Query(After { after }): Query<After>,
) -> Result<Markup, Failure> {
    let after = OffsetDateTime::from_unix_timestamp_nanos(i128::from(after) * 1000);
    let after = after.map_err(|_| Error::invalid("after", "This is no time."))?;
    let new = messages::since(&app, signed.id(), peer, after).await?;
    if !new.is_empty() {
        messages::mark_read(&app, signed.id(), peer).await?;
        app.live.wake(signed.id());
    }
    Ok(html! { @for item in new.iter().rev() { (message(signed.id(), item)) } })
}

async fn send(
    State(app): State<App>,
    Path(peer): Path<i64>,
    SignedForm {
        signed,
        fields,
        back,
    }: SignedForm,
) -> Result<Response, Failure> {
    let sent = messages::send(&app, signed.id(), peer, fields.text("body")).await?;
    Ok(back.with(message(signed.id(), &sent)))
}
