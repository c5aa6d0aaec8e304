//! What a file is, by its first bytes; what its name or sender claims is not asked.

/// As many first bytes as [`Kind::of`] needs.
pub const HEAD: usize = 32;

/// Formats that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Jpeg,
    Png,
    Gif,
    WebP,
    Mp4,
    WebM,
}

impl Kind {
    /// `None`: none of those that are accepted.
    pub fn of(head: &[u8]) -> Option<Kind> {
        let at = |start: usize, text: &[u8]| head.get(start..start + text.len()) == Some(text);
        if at(0, b"\xff\xd8\xff") {
            Some(Kind::Jpeg)
        } else if at(0, b"\x89PNG\r\n\x1a\n") {
            Some(Kind::Png)
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Some(Kind::Gif)
        } else if at(0, b"RIFF") && at(8, b"WEBP") {
            Some(Kind::WebP)
        } else if at(4, b"ftyp") && !is_picture_brand(head) {
            Some(Kind::Mp4)
        } else if at(0, b"\x1a\x45\xdf\xa3") {
            Some(Kind::WebM)
        } else {
            None
        }
    }

    pub fn is_video(self) -> bool {
        matches!(self, Kind::Mp4 | Kind::WebM)
    }

    /// The media type of the file as it was sent.
    pub fn mime(self) -> &'static str {
        match self {
            Kind::Jpeg => "image/jpeg",
            Kind::Png => "image/png",
            Kind::Gif => "image/gif",
            Kind::WebP => "image/webp",
            Kind::Mp4 => "video/mp4",
            Kind::WebM => "video/webm",
        }
    }
}

/// HEIC and AVIF pictures have the container of MP4.
fn is_picture_brand(head: &[u8]) -> bool {
    let brands: [&[u8]; 7] = [
        b"heic", b"heix", b"heim", b"mif1", b"msf1", b"avif", b"avis",
    ];
    head.get(8..12).is_some_and(|brand| brands.contains(&brand))
}

/// Extension and media type of what is served.
const SERVED: [(&str, &str); 3] = [
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
];

/// The extension in an object's name; `None`: not a type that is served.
pub fn extension(mime: &str) -> Option<&'static str> {
    SERVED
        .iter()
        .find(|(_, served)| *served == mime)
        .map(|(extension, _)| *extension)
}

/// The reverse of [`extension`].
pub fn mime(extension: &str) -> Option<&'static str> {
    SERVED
        .iter()
        .find(|(known, _)| *known == extension)
        .map(|(_, mime)| *mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_first_bytes() {
        assert_eq!(Kind::of(b"\xff\xd8\xff\xe0....JFIF"), Some(Kind::Jpeg));
        assert_eq!(Kind::of(b"\x89PNG\r\n\x1a\n"), Some(Kind::Png));
        assert_eq!(Kind::of(b"GIF89a"), Some(Kind::Gif));
        assert_eq!(Kind::of(b"RIFF\x10\0\0\0WEBPVP8 "), Some(Kind::WebP));
        assert_eq!(Kind::of(b"\0\0\0\x18ftypisom"), Some(Kind::Mp4));
        assert_eq!(Kind::of(b"\x1a\x45\xdf\xa3"), Some(Kind::WebM));
    }

    #[test]
    fn whatever_else_is_none() {
        let others: [&[u8]; 8] = [
            b"",
            b"\xff\xd8",
            b"<html><script>",
            b"<svg xmlns",
            b"%PDF-1.7",
            b"\0\0\0\x18ftypheic",
            b"RIFF\x10\0\0\0WAVEfmt ",
            b"PK\x03\x04",
        ];
        for head in others {
            assert_eq!(Kind::of(head), None, "{head:?}");
        }
    }

    #[test]
    fn extensions_and_types_are_each_others_reverse() {
        for (name, kind) in SERVED {
            assert_eq!((extension(kind), mime(name)), (Some(name), Some(kind)));
        }
        assert_eq!((extension("text/html"), mime("html")), (None, None));
    }
}
