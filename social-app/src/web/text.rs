//! What people wrote, and when, as HTML.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Paragraphs, with links and names that can be followed.
pub fn body(text: &str) -> Markup {
    html! {
        @for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            p {
                @for (number, line) in paragraph.lines().enumerate() {
                    @if number > 0 { br; }
                    @for word in line.split_inclusive(' ') { (linked(word)) }
                }
            }
        }
    }
}

/// A word with the space behind it.
fn linked(word: &str) -> Markup {
    let bare = word
        .trim_end()
        .trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
    let rest = &word[bare.len()..];
    if (bare.starts_with("https://") || bare.starts_with("http://")) && bare.len() > 10 {
        return html! { a href=(bare) rel="nofollow noopener ugc" { (bare) } (rest) };
    }
    match bare.strip_prefix('@') {
        Some(name) if is_user_name(name) => {
            html! { a href={ "/@" (name.to_lowercase()) } { (bare) } (rest) }
        }
        _ => html! { (word) },
    }
}

fn is_user_name(name: &str) -> bool {
    (3..=30).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// How long ago, with the exact time for whoever wants it.
pub fn when(moment: OffsetDateTime) -> Markup {
    let exact = moment.format(&Rfc3339).unwrap_or_default();
    html! { time datetime=(exact) title=(exact) { (ago(OffsetDateTime::now_utc(), moment)) } }
}

fn ago(now: OffsetDateTime, moment: OffsetDateTime) -> String {
    let seconds = (now - moment).whole_seconds();
    match seconds {
        ..60 => "now".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        86_400..604_800 => format!("{} d", seconds / 86_400),
        _ if now.year() == moment.year() => {
            let day = format_description!("[day padding:none] [month repr:short]");
            moment.format(&day).unwrap_or_default()
        }
        _ => {
            let day = format_description!("[day padding:none] [month repr:short] [year]");
            moment.format(&day).unwrap_or_default()
        }
    }
}

/// 1234 as 1.2k.
pub fn short(number: i64) -> String {
    match number {
        ..1000 => number.to_string(),
        1000..1_000_000 => format!("{:.1}k", number as f64 / 1000.0),
        _ => format!("{:.1}M", number as f64 / 1e6),
    }
}

/// One thing, several things.
pub fn counted(number: i64, one: &str, several: &str) -> String {
    format!(
        "{} {}",
        short(number),
        if number == 1 { one } else { several }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_cannot_be_markup() {
        let html =
            body("<b>hi</b> @Ada, see https://example.com/?a=1&b=2.\n\n\"bye\"").into_string();
        assert_eq!(
            html,
            "<p>&lt;b&gt;hi&lt;/b&gt; <a href=\"/@ada\">@Ada</a>, see \
             <a href=\"https://example.com/?a=1&amp;b=2\" rel=\"nofollow noopener ugc\">https://example.com/?a=1&amp;b=2</a>.</p>\
             <p>&quot;bye&quot;</p>"
        );
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(400);
        let told = |seconds| ago(now, now - time::Duration::seconds(seconds));
        assert_eq!(told(5), "now");
        assert_eq!(told(125), "2 min");
        assert_eq!(told(7300), "2 h");
        assert_eq!(told(200_000), "2 d");
        assert_eq!(told(86_400 * 400), "1 Jan 1970");
    }
}
