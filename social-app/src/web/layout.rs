//! The frame around every page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::web::assets;
use crate::web::session::Signed;
use crate::web::view;

/// Which entry of the navigation the page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Home,
    Search,
    Messages,
    Notifications,
    Me,
    Elsewhere,
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
            meta name="color-scheme" content="light dark";
            meta name="theme-color" media="(prefers-color-scheme: light)" content="#f6f4ef";
            meta name="theme-color" media="(prefers-color-scheme: dark)" content="#14161b";
            title { (title) " · Oskol Town" }
            link rel="icon" href=(assets::address("icon.svg")) type="image/svg+xml";
            link rel="stylesheet" href=(assets::address("app.css"));
            script src=(assets::address("app.js")) defer {}
        }
    }
}

/// A page for somebody who is signed in.
pub fn page(signed: &Signed, place: Place, title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body data-live="/events" data-csrf=(signed.csrf) data-me=(signed.id()) {
                a.skip href="#main" { "Skip to the content" }
                div.frame {
                    (navigation(signed, place))
                    main #main tabindex="-1" { (content) }
                }
                div.toasts #toasts role="status" aria-live="polite" {}
            }
        }
    }
}

/// A page for somebody who is not.
pub fn plain(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                a.skip href="#main" { "Skip to the content" }
                header.plain-head { a.brand href="/" { (view::logo()) "Oskol Town" } }
                main.plain #main tabindex="-1" { (content) }
            }
        }
    }
}

/// A page for either.
pub fn either(signed: Option<&Signed>, place: Place, title: &str, content: Markup) -> Markup {
    match signed {
        Some(signed) => page(signed, place, title, content),
        None => plain(title, content),
    }
}

fn navigation(signed: &Signed, here: Place) -> Markup {
    let me = &signed.viewer.person;
    let unread = signed.viewer.unread;
    let mine = format!("/@{}", me.user_name);
    let entries = [
        (Place::Home, "/", "Home", HOME, 0, ""),
        (Place::Search, "/search", "Search", SEARCH, 0, ""),
        (
            Place::Messages,
            "/messages",
            "Messages",
            MESSAGES,
            unread.messages,
            "messages",
        ),
        (
            Place::Notifications,
            "/notifications",
            "News",
            BELL,
            unread.notifications,
            "notifications",
        ),
        (Place::Me, mine.as_str(), "Me", PERSON, 0, ""),
    ];
    html! {
        header.side {
            a.brand href="/" { (view::logo()) span { "Oskol Town" } }
            nav aria-label="Main" {
                ul {
                    @for (place, address, name, icon, number, badge) in entries {
                        li { a href=(address) aria-current=[(place == here).then_some("page")] {
                            span.icon aria-hidden="true" { (PreEscaped(icon)) }
                            span.label { (name) }
                            @if !badge.is_empty() { (view::badge(badge, number)) }
                        } }
                    }
                }
            }
            div.side-me {
                (view::avatar(me, "small"))
                div { strong { (me.name) } span.muted { "@" (me.user_name) } }
                a.quiet href="/settings" { "Settings" }
            }
        }
    }
}

const HOME: &str = r#"<svg viewBox="0 0 24 24"><path d="M3 11.5 12 4l9 7.5M5.5 9.8V20h4.7v-5.5h3.6V20h4.7V9.8"/></svg>"#;
const SEARCH: &str = r#"<svg viewBox="0 0 24 24"><circle cx="10.8" cy="10.8" r="6.3"/><path d="m15.6 15.6 5 5"/></svg>"#;
const MESSAGES: &str =
    r#"<svg viewBox="0 0 24 24"><path d="M4 5h16v11.5H10.5L6 20.5v-4H4z"/></svg>"#;
const BELL: &str = r#"<svg viewBox="0 0 24 24"><path d="M5 17.5h14c-1.6-1.7-1.9-3.4-1.9-6.6a5.1 5.1 0 0 0-10.2 0c0 3.2-.3 4.9-1.9 6.600zM10 20.300a2.3 2.3 0 0 0 4 0"/></svg>"#;
const PERSON: &str = r#"<svg viewBox="0 0 24 24"><circle cx="12" cy="8.3" r="4"/><path d="M4.5 20.500c.7-4 3.7-6 7.5-6s6.8 2 7.5 6"/></svg>"#;
