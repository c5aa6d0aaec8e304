//! `a=value,b=value`: reading the attributes of SCRAM messages in their fixed order.

/// Why an attribute could not be read; the text is PostgreSQL's (auth-scram.c).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadAttribute(pub(super) String);

/// Takes `name=value` and the comma after it off the front of `rest`.
pub(super) fn take<'a>(rest: &mut &'a str, name: char) -> Result<&'a str, BadAttribute> {
    let found = rest.chars().next();
    if found != Some(name) {
        return Err(BadAttribute(format!(
            "Expected attribute \"{name}\" but found \"{}\".",
            shown(found)
        )));
    }
    let (value, after) = split(&rest[1..], name)?;
    *rest = after;
    Ok(value)
}

/// Takes any attribute off the front; its name and value.
pub(super) fn take_any<'a>(rest: &mut &'a str) -> Result<(char, &'a str), BadAttribute> {
    match rest.chars().next() {
        Some(name) if name.is_ascii_alphabetic() => Ok((name, take(rest, name)?)),
        found => Err(BadAttribute(format!(
            "Attribute expected, but found invalid character \"{}\".",
            shown(found)
        ))),
    }
}

fn split(after_name: &str, name: char) -> Result<(&str, &str), BadAttribute> {
    let value = after_name.strip_prefix('=').ok_or_else(|| {
        BadAttribute(format!(
            "Expected character \"=\" for attribute \"{name}\"."
        ))
    })?;
    Ok(value.split_once(',').unwrap_or((value, "")))
}

/// A character of a stranger's message, safe to print.
pub(super) fn shown(character: Option<char>) -> String {
    match character {
        None => String::new(),
        Some(c) if c.is_ascii_graphic() || c == ' ' => c.to_string(),
        Some(c) => format!("0x{:02x}", u32::from(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_off_in_order() {
        let mut rest = "r=a=b,s=QQ==,i=4096";
        assert_eq!(take(&mut rest, 'r'), Ok("a=b"));
        assert_eq!(take_any(&mut rest), Ok(('s', "QQ==")));
        assert_eq!(take(&mut rest, 'i'), Ok("4096"));
        assert_eq!(rest, "");
    }

    #[test]
    fn a_wrong_attribute_is_named() {
        let mut rest = "x=1";
        let error = take(&mut rest, 'r').unwrap_err();
        assert_eq!(error.0, "Expected attribute \"r\" but found \"x\".");
        assert!(take(&mut "r", 'r').is_err());
        assert!(take(&mut "", 'r').is_err());
        assert!(take_any(&mut "é=1").is_err());
    }
}
