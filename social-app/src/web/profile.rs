//! A person's page.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::models::follows::{self, List};
use crate::models::people::{self, Profile, Relation};
use crate::models::{Cursor, blocks, friends, posts};
use crate::web::form::SignedForm;
use crate::web::home::{From, SIZE};
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, text, view};
use crate::{App, Error};

/// People of one page of a list.
const PEOPLE: usize = 40;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/@{name}", get(page))
        .route("/@{name}/{list}", get(list))
        .route("/people/{id}/head", get(head_now))
        .route("/people/{id}/follow", post(follow))
        .route("/people/{id}/friend", post(friend))
        .route("/people/{id}/block", post(block))
}

async fn page(
    State(app): State<App>,
    signed: Option<Signed>,
    Path(name): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let viewer = signed.as_ref().map(Signed::id);
    let id = people::id_of(&app, &name).await?;
    let cursor = Cursor::parse(from.cursor.as_deref())?;
    let profile = people::profile(&app, id, viewer).await?;
    let page = posts::by_author(&app, id, viewer, cursor, SIZE).await?;
    let signed = signed.as_ref();
    let list = view::posts(signed, &page, &format!("/@{}", profile.person.user_name));
    if headers.contains_key("x-fragment") {
        return Ok(list);
    }
    let place = if viewer == Some(id) {
        Place::Me
    } else {
        Place::Elsewhere
    };
    let content = html! {
        (head(signed, &profile))
        div {
            @if page.items.is_empty() { (view::empty("No posts yet.")) }
            (list)
        }
    };
    Ok(layout::either(signed, place, &profile.person.name, content))
}

fn head(signed: Option<&Signed>, profile: &Profile) -> Markup {
    let person = &profile.person;
    let link = |list: &str| format!("/@{}/{list}", person.user_name);
    html! {
        section.card.profile data-profile={ "/people/" (person.id) "/head" } {
            div.profile-top {
                (view::avatar(person, "large"))
                @if let Some(signed) = signed { (actions(signed, profile)) }
            }
            h1 { (person.name) }
            p.muted { "@" (person.user_name) }
            @if !profile.bio.is_empty() { div.body { (text::body(&profile.bio)) } }
            ul.counts {
                li { strong { (text::short(profile.post_count)) } (if profile.post_count == 1 { " post" } else { " posts" }) }
                li { a href=(link("followers")) {
                    strong { (text::short(profile.follower_count)) } (if profile.follower_count == 1 { " follower" } else { " followers" })
                } }
                li { a href=(link("following")) { strong { (text::short(profile.following_count)) } " following" } }
                li { a href=(link("friends")) { "Friends" } }
            }
        }
    }
}

/// What the viewer can do about the person; the head of the page is replaced by what it is then.
fn actions(signed: &Signed, profile: &Profile) -> Markup {
    let id = profile.person.id;
    let Some(relation) = &profile.relation else {
        return html! { div.actions { a.button.soft href="/settings" { "Edit" } } };
    };
    html! {
        div.actions {
            @if relation.blocked_by_me {
                (button(signed, id, "block", "0", "Unblock", "soft"))
            } @else {
                (follow_button(signed, id, relation))
                (friend_button(signed, id, relation))
                a.button.soft href={ "/messages/" (id) } { "Message" }
                (button(signed, id, "block", "1", "Block", "quiet"))
            }
        }
    }
}

fn follow_button(signed: &Signed, id: i64, relation: &Relation) -> Markup {
    match relation.following {
        true => button(signed, id, "follow", "0", "Following", "soft"),
        false => button(signed, id, "follow", "1", "Follow", "strong"),
    }
}

fn friend_button(signed: &Signed, id: i64, relation: &Relation) -> Markup {
    if relation.friends {
        button(signed, id, "friend", "0", "Friends", "soft")
    } else if relation.request_received {
        button(signed, id, "friend", "1", "Accept friend", "strong")
    } else if relation.request_sent {
        button(signed, id, "friend", "0", "Requested", "soft")
    } else {
        button(signed, id, "friend", "1", "Add friend", "soft")
    }
}

fn button(signed: &Signed, id: i64, what: &str, on: &str, label: &str, look: &str) -> Markup {
    html! {
        form.inline method="post" action={ "/people/" (id) "/" (what) } data-swap="profile" {
            (view::csrf(signed))
            input type="hidden" name="on" value=(on);
            button.button.(look) { (label) }
        }
    }
}

/// What a button of the profile does, "0" the reverse; gives the head of the page as it is then.
async fn done(
    app: &App,
    id: i64,
    form: SignedForm,
    action: impl AsyncFn(&App, i64, i64, bool) -> Result<(), Error>,
) -> Result<Response, Failure> {
    let me = form.signed.id();
    action(app, me, id, form.fields.text("on") != "0").await?;
    if !form.back.wants_fragment {
        return Ok(form.back.with(html! {}));
    }
    let profile = people::profile(app, id, Some(me)).await?;
    let head = head(Some(&form.signed), &profile);
    Ok(form.back.with(head))
}

async fn follow(
    State(app): State<App>,
    Path(id): Path<i64>,
    form: SignedForm,
) -> Result<Response, Failure> {
    done(&app, id, form, async |app, me, id, on| match on {
        true => follows::follow(app, me, id).await,
        false => follows::unfollow(app, me, id).await,
    })
    .await
}

async fn friend(
    State(app): State<App>,
    Path(id): Path<i64>,
    form: SignedForm,
) -> Result<Response, Failure> {
    done(&app, id, form, async |app, me, id, on| match on {
        true => friends::request(app, me, id).await,
        false => friends::end(app, me, id).await,
    })
    .await
}

async fn block(
    State(app): State<App>,
    Path(id): Path<i64>,
    form: SignedForm,
) -> Result<Response, Failure> {
    done(&app, id, form, async |app, me, id, on| match on {
        true => blocks::block(app, me, id).await,
        false => blocks::unblock(app, me, id).await,
    })
    .await
}

/// The head of a profile as it is now, for a page that shows it.
async fn head_now(
    State(app): State<App>,
    signed: Signed,
    Path(id): Path<i64>,
) -> Result<Markup, Failure> {
    let profile = people::profile(&app, id, Some(signed.id())).await?;
    Ok(head(Some(&signed), &profile))
}

async fn list(
    State(app): State<App>,
    signed: Option<Signed>,
    Path((name, list)): Path<(String, String)>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Markup, Failure> {
    let (kind, title) = match list.as_str() {
        "followers" => (List::Followers, "Followers"),
        "following" => (List::Following, "Following"),
        "friends" => (List::Friends, "Friends"),
        _ => return Err(Error::NotFound.into()),
    };
    let id = people::id_of(&app, &name).await?;
    // Who is blocked sees nothing of the person.
    let profile = people::profile(&app, id, signed.as_ref().map(Signed::id)).await?;
    let page = follows::list(
        &app,
        id,
        kind,
        signed.as_ref().map(Signed::id),
        Cursor::parse(from.cursor.as_deref())?,
        PEOPLE,
    )
    .await?;
    let items = html! {
        @for person in &page.items { (view::person_line(person, html! {})) }
        (view::next(page.next.as_deref(), &format!("/@{}/{list}", profile.person.user_name)))
    };
    if headers.contains_key("x-fragment") {
        return Ok(items);
    }
    let content = html! {
        section.card {
            h1 { (title) " of " a href={ "/@" (profile.person.user_name) } { (profile.person.name) } }
            ul.people { (items) }
            @if page.items.is_empty() { (view::empty("Nobody yet.")) }
        }
    };
    Ok(layout::either(
        signed.as_ref(),
        Place::Elsewhere,
        title,
        content,
    ))
}
