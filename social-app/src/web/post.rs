//! One post: likes, comments, and its end.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::App;
use crate::models::comments::{self, Comment};
use crate::models::{Cursor, Page, likes, posts};
use crate::web::form::SignedForm;
use crate::web::home::From;
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, view};

/// Comments of one page.
const SIZE: usize = 30;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/p/{author}/{id}", get(page))
        .route("/p/{author}/{id}/gallery", get(gallery))
        .route("/p/{author}/{id}/like", post(like))
        .route("/p/{author}/{id}/delete", post(delete))
        .route("/p/{author}/{id}/comments", get(more).post(comment))
        .route(
            "/p/{author}/{id}/comments/{comment}/delete",
            post(delete_comment),
        )
}

async fn page(
    State(app): State<App>,
    signed: Option<Signed>,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<Markup, Failure> {
    let viewer = signed.as_ref().map(Signed::id);
    let shown = posts::get(&app, author, id, viewer).await?;
    let page = comments::list(&app, author, id, viewer, Cursor::START, SIZE).await?;
    let signed = signed.as_ref();
    let content = html! {
        h1.hidden-text { "A post by " (shown.author.name) }
        (view::post(signed, &shown))
        @if let Some(signed) = signed.filter(|signed| signed.id() == author) {
            form.inline.right method="post" action={ "/p/" (author) "/" (id) "/delete" } data-confirm="Delete this post for good?" {
                (view::csrf(signed))
                button.quiet { "Delete this post" }
            }
        }
        section.card #comments aria-label="Comments" {
            h2 { "Comments" }
            @if let Some(signed) = signed { (form(signed, author, id)) }
            ul.comments data-list {
                (list(signed, author, id, &page))
            }
            @if page.items.is_empty() { (view::empty("No comments yet.")) }
        }
    };
    let title = format!("{} on Oskol Town", shown.author.name);
    Ok(layout::either(signed, Place::Elsewhere, &title, content))
}

fn form(signed: &Signed, author: i64, id: i64) -> Markup {
    html! {
        form.comment-form method="post" action={ "/p/" (author) "/" (id) "/comments" } data-swap="prepend" {
            (view::csrf(signed))
            label.hidden-text for="comment" { "Your comment" }
            textarea #comment name="body" rows="1" required maxlength="2000" placeholder="Say something kind" {}
            button.button { "Send" }
        }
    }
}

fn list(signed: Option<&Signed>, author: i64, id: i64, page: &Page<Comment>) -> Markup {
    html! {
        @for item in &page.items { (view::comment(signed, author, id, item)) }
        (view::next(page.next.as_deref(), &format!("/p/{author}/{id}/comments")))
    }
}

async fn more(
    State(app): State<App>,
    signed: Option<Signed>,
    Path((author, id)): Path<(i64, i64)>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let cursor = Cursor::parse(from.cursor.as_deref())?;
    let page = comments::list(
        &app,
        author,
        id,
        signed.as_ref().map(Signed::id),
        cursor,
        SIZE,
    )
    .await?;
    let signed = signed.as_ref();
    let items = list(signed, author, id, &page);
    Ok(match headers.contains_key("x-fragment") {
        true => items,
        false => layout::either(
            signed,
            Place::Elsewhere,
            "Comments",
            html! { section.card { h1 { "Comments" } ul.comments { (items) } } },
        ),
    })
}

/// Its pictures again, for a page that had them while their sizes were made.
async fn gallery(
    State(app): State<App>,
    signed: Option<Signed>,
    Path((author, id)): Path<(i64, i64)>,
) -> Result<Markup, Failure> {
    let viewer = signed.as_ref().map(Signed::id);
    let shown = posts::get(&app, author, id, viewer).await?;
    Ok(view::gallery(&shown))
}

async fn like(
    State(app): State<App>,
    Path((author, id)): Path<(i64, i64)>,
    SignedForm {
        signed,
        fields,
        back,
    }: SignedForm,
) -> Result<Response, Failure> {
    let now = match fields.text("on") {
        "0" => likes::unlike(&app, signed.id(), author, id).await?,
        _ => likes::like(&app, signed.id(), author, id).await?,
    };
    Ok(back.with(view::like(
        Some(&signed),
        author,
        id,
        now.liked,
        now.like_count,
    )))
}

async fn comment(
    State(app): State<App>,
    Path((author, id)): Path<(i64, i64)>,
    SignedForm {
        signed,
        fields,
        back,
    }: SignedForm,
) -> Result<Response, Failure> {
    let body = fields.text("body");
    let (number, created) = comments::add(&app, signed.id(), author, id, body).await?;
    let made = Comment {
        id: number,
        writer: signed.viewer.person.clone(),
        body: body.trim().to_owned(),
        created,
    };
    Ok(back.with(view::comment(Some(&signed), author, id, &made)))
}

async fn delete(
    State(app): State<App>,
    Path((author, id)): Path<(i64, i64)>,
    SignedForm { signed, .. }: SignedForm,
) -> Result<Response, Failure> {
    if signed.id() != author {
        return Err(crate::Error::NotFound.into());
    }
    posts::delete(&app, author, id).await?;
    Ok(Redirect::to("/").into_response())
}

async fn delete_comment(
    State(app): State<App>,
    Path((author, id, comment)): Path<(i64, i64, i64)>,
    SignedForm { signed, back, .. }: SignedForm,
) -> Result<Response, Failure> {
    comments::delete(&app, signed.id(), author, id, comment).await?;
    Ok(back.with(html! {}))
}
