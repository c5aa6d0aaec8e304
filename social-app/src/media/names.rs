//! Names of objects in the store, and the addresses that they are served at.
//!
//! An object that is served is named by whose it is, the row of `media` it belongs to, and the SHA-256 of its own bytes: so it
//! never changes, two rows never share one, and to delete a row's objects is to delete what begins with its name.

use object_store::path::Path;

use super::kind;

/// Below it is what is served.
const PUBLIC: &str = "public";
/// Below it are files as they were sent, until their sizes are made. Never served.
const INCOMING: &str = "incoming";

/// A file that was just received.
pub fn incoming(owner: i64, unique: uuid::Uuid) -> Path {
    Path::from_iter([INCOMING, &owner.to_string(), &unique.simple().to_string()])
}

/// All files of a person that still wait.
pub fn all_incoming(owner: i64) -> Path {
    Path::from_iter([INCOMING, &owner.to_string()])
}

/// Something to serve; `None`: not a type that is served.
pub fn public(owner: i64, media: i64, hash: &str, mime: &str) -> Option<Path> {
    let file = format!("{hash}.{}", kind::extension(mime)?);
    Some(Path::from_iter([
        PUBLIC,
        &owner.to_string(),
        &media.to_string(),
        &file,
    ]))
}

/// All objects of one row of `media`.
pub fn all_of(owner: i64, media: i64) -> Path {
    Path::from_iter([PUBLIC, &owner.to_string(), &media.to_string()])
}

/// All objects of a person.
pub fn all_public(owner: i64) -> Path {
    Path::from_iter([PUBLIC, &owner.to_string()])
}

/// The address of an object, from the site's root.
pub fn address(owner: i64, media: i64, hash: &str, mime: &str) -> Option<String> {
    let extension = kind::extension(mime)?;
    Some(format!("/media/{owner}/{media}/{hash}.{extension}"))
}

/// The file part of an [`address`]: hash and media type. `None`: no such name was ever given.
pub fn parse_file(file: &str) -> Option<(&str, &'static str)> {
    let (hash, extension) = file.split_once('.')?;
    let is_hash = hash.len() == 64
        && hash
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hash {
        Some((hash, kind::mime(extension)?))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn an_address_names_its_object() {
        let address = address(7, 12, HASH, "image/webp").unwrap();
        assert_eq!(address, format!("/media/7/12/{HASH}.webp"));
        let (hash, mime) = parse_file(address.rsplit_once('/').unwrap().1).unwrap();
        let object = public(7, 12, hash, mime).unwrap();
        assert_eq!(object.as_ref(), format!("public/7/12/{HASH}.webp"));
        assert!(object.prefix_matches(&all_of(7, 12)) && object.prefix_matches(&all_public(7)));
        assert!(!object.prefix_matches(&all_of(7, 1)) && !object.prefix_matches(&all_incoming(7)));
    }

    #[test]
    fn other_names_are_none() {
        let wrong = [
            "..".to_owned(),
            format!("{HASH}.html"),
            format!("{HASH}.webp.html"),
            format!("{}.webp", &HASH[1..]),
            format!("{}.webp", HASH.to_uppercase()),
            HASH.to_owned(),
        ];
        for file in wrong {
            assert_eq!(parse_file(&file), None, "{file}");
        }
        assert_eq!(public(1, 2, HASH, "text/html"), None);
    }
}
