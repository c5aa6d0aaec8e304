//! The parts that pages are made of.

use maud::{Markup, PreEscaped, html};

use crate::media;
use crate::models::comments::Comment;
use crate::models::{Page, Person, Post};
use crate::web::session::Signed;
use crate::web::text;

pub fn logo() -> Markup {
    html! { span.logo aria-hidden="true" { (PreEscaped(LOGO)) } }
}

const LOGO: &str = include_str!("../../static/icon.svg");

/// The person's picture, or the first letter of the name on a colour of the person's own. `size`: small, medium or large.
pub fn avatar(person: &Person, size: &str) -> Markup {
    let hue = (person.id.unsigned_abs().wrapping_mul(137)) % 360;
    let letter: String = person
        .name
        .chars()
        .take(1)
        .flat_map(char::to_uppercase)
        .collect();
    html! {
        span.avatar.(size) style={ "--hue:" (hue) } aria-hidden="true" {
            @match &person.avatar {
                Some(picture) if picture.state == "ready" => (media::avatar(picture)),
                _ => (letter),
            }
        }
    }
}

/// A number at the navigation; nothing to see at zero.
pub fn badge(name: &str, number: i64) -> Markup {
    html! {
        span.badge data-badge=(name) hidden[number == 0] {
            (if number > 99 { "99+".to_owned() } else { number.to_string() }) span.hidden-text { " new" }
        }
    }
}

/// A person in a list, with room for a button.
pub fn person_line(person: &Person, action: Markup) -> Markup {
    html! {
        li.person {
            a.person-link href={ "/@" (person.user_name) } {
                (avatar(person, "medium"))
                span { strong { (person.name) } span.muted { "@" (person.user_name) } }
            }
            (action)
        }
    }
}

pub fn csrf(signed: &Signed) -> Markup {
    html! { input type="hidden" name="csrf" value=(signed.csrf); }
}

/// `signed` is whoever looks; none may only read.
pub fn post(signed: Option<&Signed>, post: &Post) -> Markup {
    let address = format!("/p/{}/{}", post.author.id, post.id);
    html! {
        article.card.post id={ "post-" (post.id) } {
            header.post-head {
                a href={ "/@" (post.author.user_name) } tabindex="-1" aria-hidden="true" { (avatar(&post.author, "medium")) }
                div {
                    a.name href={ "/@" (post.author.user_name) } { (post.author.name) }
                    span.muted { "@" (post.author.user_name) " · " a href=(address) { (text::when(post.created)) }
                        @if post.audience == "friends" { " · " span.tag { "friends only" } }
                    }
                }
            }
            div.body { (text::body(&post.body)) }
            @if !post.media.is_empty() { (gallery(post)) }
            footer.post-foot {
                (like(signed, post.author.id, post.id, post.liked, post.like_count))
                a.act href={ (address) "#comments" } {
                    span.icon aria-hidden="true" { (PreEscaped(COMMENT)) }
                    span data-comment-count { (text::short(post.comment_count)) }
                    span.hidden-text { (if post.comment_count == 1 { " comment" } else { " comments" }) }
                }
            }
        }
    }
}

/// What is seen of a post beside its words.
pub fn gallery(post: &Post) -> Markup {
    let again = format!("/p/{}/{}/gallery", post.author.id, post.id);
    media::gallery(&post.media, &again)
}

const HEART: &str = r#"<svg viewBox="0 0 24 24"><path d="M12 20.300S3.8 15.3 3.8 9.400A4.5 4.5 0 0 1 12 7a4.5 4.5 0 0 1 8.2 2.400c0 5.9-8.2 10.9-8.2 10.900z"/></svg>"#;
const COMMENT: &str =
    r#"<svg viewBox="0 0 24 24"><path d="M4 5h16v11.500H10.500L6 20.500v-4H4z"/></svg>"#;

/// The like button, which is replaced by itself.
pub fn like(signed: Option<&Signed>, author: i64, id: i64, liked: bool, count: i64) -> Markup {
    let inside = html! {
        span.icon aria-hidden="true" { (PreEscaped(HEART)) }
        (text::short(count))
        span.hidden-text { (if count == 1 { " like" } else { " likes" }) }
    };
    html! {
        @match signed {
            Some(signed) => form.inline method="post" action={ "/p/" (author) "/" (id) "/like" } data-swap="self" {
                (csrf(signed))
                input type="hidden" name="on" value=(if liked { "0" } else { "1" });
                button.act.like aria-pressed=(liked) title=(if liked { "Take the like back" } else { "Like" }) { (inside) }
            },
            None => span.act { (inside) },
        }
    }
}

/// Posts, and a link to the next ones, which the script follows when it comes into view.
pub fn posts(signed: Option<&Signed>, page: &Page<Post>, more: &str) -> Markup {
    html! {
        @for item in &page.items { (post(signed, item)) }
        (next(page.next.as_deref(), more))
    }
}

/// `more` is the address of the list; the cursor is added to it.
pub fn next(cursor: Option<&str>, more: &str) -> Markup {
    let separator = if more.contains('?') { '&' } else { '?' };
    html! {
        @if let Some(cursor) = cursor {
            a.more data-more href={ (more) (separator) "cursor=" (cursor) } { "Show more" }
        }
    }
}

pub fn comment(signed: Option<&Signed>, author: i64, post: i64, comment: &Comment) -> Markup {
    let mine =
        signed.is_some_and(|signed| signed.id() == comment.writer.id || signed.id() == author);
    html! {
        li.comment id={ "comment-" (comment.id) } {
            a href={ "/@" (comment.writer.user_name) } tabindex="-1" aria-hidden="true" { (avatar(&comment.writer, "small")) }
            div.bubble {
                a.name href={ "/@" (comment.writer.user_name) } { (comment.writer.name) } " "
                span.muted { (text::when(comment.created)) }
                div.body { (text::body(&comment.body)) }
            }
            @if let (true, Some(signed)) = (mine, signed) {
                form.inline method="post" action={ "/p/" (author) "/" (post) "/comments/" (comment.id) "/delete" } data-swap="parent" {
                    (csrf(signed))
                    button.quiet.small title="Delete this comment" aria-label="Delete this comment" { "✕" }
                }
            }
        }
    }
}

/// What is shown where there is nothing.
pub fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// A mistake, above the form that has it.
pub fn mistake(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.mistake role="alert" { (text) } } }
}
