//! How a page shows pictures and videos: at once in the right shape and colours, and themselves when they are scrolled to.

use maud::{Markup, html};

use super::{Attachment, Variant, names, placeholder};

/// Widths of a picture in a post, by the page's own layout: a phone's whole width, or the column's.
const IN_POST: &str = "(max-width: 40rem) 100vw, 40rem";

/// A post's pictures and videos, in their order. `again`: where the script finds them once those that wait are ready.
pub fn gallery(all: &[Attachment], again: &str) -> Markup {
    let waits = all.iter().any(|one| one.state == "waiting");
    html! {
        div.gallery.(format!("of-{}", all.len().min(4))) data-gallery=[waits.then_some(again)] {
            @for one in all { (shown(one)) }
        }
    }
}

fn shown(one: &Attachment) -> Markup {
    match (one.state.as_str(), one.kind.as_str()) {
        ("ready", "video") => video(one),
        ("ready", _) => picture(one, IN_POST),
        ("failed", _) => html! { p.gone { "This file could not be shown." } },
        _ => html! {
            div.waiting role="img" aria-label="A picture that is being made ready" style=[style(one)] {}
        },
    }
}

fn video(one: &Attachment) -> Markup {
    let address = names::address(one.owner_id, one.id, &one.hash, &one.mime);
    html! {
        video src=[address] controls preload="metadata" playsinline width=[one.width] height=[one.height]
            aria-label=(if one.alt.is_empty() { "Video" } else { &one.alt }) {}
    }
}

fn picture(one: &Attachment, sizes: &str) -> Markup {
    let Some(largest) = one.variants.last() else {
        return html! {};
    };
    html! {
        img src=[address(one, middle(one).unwrap_or(largest))] srcset=(srcset(one)) sizes=(sizes) alt=(one.alt)
            width=(largest.width) height=(largest.height) loading="lazy" decoding="async" style=[style(one)];
    }
}

/// A person's picture, beside the name: it needs no words.
pub fn avatar(picture: &Attachment) -> Markup {
    let smallest = picture
        .variants
        .first()
        .and_then(|variant| address(picture, variant));
    html! {
        img src=[smallest] alt="" width="96" height="96" loading="lazy" decoding="async" style=[background(picture)];
    }
}

fn address(one: &Attachment, variant: &Variant) -> Option<String> {
    names::address(one.owner_id, one.id, &variant.hash, &variant.mime)
}

/// For browsers that choose no size themselves.
fn middle(one: &Attachment) -> Option<&Variant> {
    one.variants.get(one.variants.len() / 2)
}

fn srcset(one: &Attachment) -> String {
    let sizes = one.variants.iter().filter_map(|variant| {
        let address = address(one, variant)?;
        Some(format!("{address} {}w", variant.width))
    });
    sizes.collect::<Vec<_>>().join(", ")
}

/// The shape, so that nothing jumps, and the colours until the picture is there.
fn style(one: &Attachment) -> Option<String> {
    let (width, height) = one.width.zip(one.height)?;
    let shape = format!("aspect-ratio:{width}/{height}");
    Some(match background(one) {
        Some(colours) => format!("{shape};{colours}"),
        None => shape,
    })
}

fn background(one: &Attachment) -> Option<String> {
    let (width, height) = one.width.zip(one.height)?;
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    let url = placeholder::data_url(one.placeholder.as_deref()?, width, height)?;
    Some(format!("background:center/cover url({url})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        let variant = |width: i32| Variant {
            hash: "ab".repeat(32),
            mime: "image/webp".into(),
            width,
            height: width / 2,
            bytes: 1000,
        };
        Attachment {
            owner_id: 7,
            id: 12,
            kind: "image".into(),
            hash: "cd".repeat(32),
            mime: "image/jpeg".into(),
            width: Some(1000),
            height: Some(500),
            placeholder: Some("LEHV6nWB2yk8pyo0adR*.7kCMdnj".into()),
            alt: "a \"quoted\" boat".into(),
            state: "ready".into(),
            variants: vec![variant(320), variant(640), variant(1000)],
        }
    }

    #[test]
    fn a_picture_has_its_shape_its_sizes_and_its_words() {
        let page = gallery(&[attachment()], "/p/7/1/gallery").into_string();
        let hash = "ab".repeat(32);
        for part in [
            "width=\"1000\" height=\"500\"",
            "aspect-ratio:1000/500;background:center/cover url(data:image/png;base64,",
            "loading=\"lazy\" decoding=\"async\"",
            "alt=\"a &quot;quoted&quot; boat\"",
            &format!("/media/7/12/{hash}.webp 320w, /media/7/12/{hash}.webp 640w"),
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("data-gallery"), "nothing is waited for");
        assert!(
            !page.contains(&"cd".repeat(32)),
            "the file as it was sent is never served"
        );
    }

    #[test]
    fn what_is_not_ready_has_its_place() {
        let mut waiting = attachment();
        waiting.state = "waiting".into();
        let page = gallery(&[waiting], "/p/7/1/gallery").into_string();
        assert!(page.contains("aspect-ratio:1000/500") && !page.contains("<img"));
        assert!(page.contains("data-gallery=\"/p/7/1/gallery\""), "{page}");
    }
}
