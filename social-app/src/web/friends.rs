//! Friend requests that wait for an answer.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use maud::{Markup, html};

use crate::App;
use crate::models::friends;
use crate::web::layout::{self, Place};
use crate::web::session::Signed;
use crate::web::{Failure, view};

pub fn routes() -> Router<App> {
    Router::new().route("/friends", get(page))
}

async fn page(State(app): State<App>, signed: Signed) -> Result<Markup, Failure> {
    let asked = friends::requests(&app, signed.id()).await?;
    let content = html! {
        section.card {
            h1 { "Friend requests" }
            ul.people {
                @for person in &asked { (view::person_line(person, answers(&signed, person.id))) }
            }
            @if asked.is_empty() { (view::empty("Nobody waits for your answer.")) }
        }
    };
    Ok(layout::page(
        &signed,
        Place::Notifications,
        "Friend requests",
        content,
    ))
}

fn answers(signed: &Signed, id: i64) -> Markup {
    html! {
        div.actions {
            @for (on, label, look) in [("1", "Accept", "strong"), ("0", "Decline", "soft")] {
                form.inline method="post" action={ "/people/" (id) "/friend" } {
                    (view::csrf(signed))
                    input type="hidden" name="on" value=(on);
                    button.button.(look) { (label) }
                }
            }
        }
    }
}
