//! The startup parameter `options`: a command line, as `PGOPTIONS` has it. Pure.

use crate::error::RouterError;

/// The settings that `options` asks for: `-c name=value`, `-cname=value` and `--name=value`, in
/// order. Dashes in names are underscores, as in PostgreSQL's ParseLongOption.
pub(super) fn parse(options: &str) -> Result<Vec<(String, String)>, RouterError> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            settings.push(setting(long, &format!("--{long}"))?);
        } else if let Some(short) = word.strip_prefix("-c") {
            let text = if short.is_empty() {
                words.next()
            } else {
                Some(short.to_owned())
            };
            let text = text.ok_or_else(|| invalid(&word))?;
            settings.push(setting(&text, &format!("-c {text}"))?);
        } else {
            return Err(invalid(&word));
        }
    }
    Ok(settings)
}

/// Words between white space; a backslash takes the next character as it is (pg_split_opts).
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = options.chars().peekable();
    loop {
        while characters.next_if(char::is_ascii_whitespace).is_some() {}
        if characters.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(character) = characters.next_if(|c| !c.is_ascii_whitespace()) {
            match character {
                '\\' => word.extend(characters.next()),
                other => word.push(other),
            }
        }
        words.push(word);
    }
}

fn setting(text: &str, shown: &str) -> Result<(String, String), RouterError> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.replace('-', "_"), value.to_owned())),
        None => Err(RouterError::new(
            "42601",
            format!("{shown} requires a value"),
        )),
    }
}

fn invalid(word: &str) -> RouterError {
    let message = format!("invalid command-line argument for server process: {word}");
    RouterError::new("42601", message).hint("Use -c name=value or --name=value.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &str) -> Vec<(String, String)> {
        parse(options).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn every_way_to_write_a_setting_is_read() {
        assert_eq!(
            settings(" -c geqo=off -cwork_mem=4MB  --search-path=a,b\t--x.y= "),
            [
                pair("geqo", "off"),
                pair("work_mem", "4MB"),
                pair("search_path", "a,b"),
                pair("x.y", "")
            ]
        );
        assert_eq!(settings(""), []);
    }

    #[test]
    fn a_backslash_keeps_what_follows() {
        assert_eq!(
            settings(r"-c application_name=a\ b\\c --x=\-\=\"),
            [pair("application_name", r"a b\c"), pair("x", "-=")]
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_as_postgres_does() {
        let error = |options| parse(options).unwrap_err().message;
        assert_eq!(error("-c geqo"), "-c geqo requires a value");
        assert_eq!(error("--geqo"), "--geqo requires a value");
        for (options, word) in [("-c", "-c"), ("--", "--"), ("x", "x"), ("-S 4", "-S")] {
            let expected = format!("invalid command-line argument for server process: {word}");
            assert_eq!(error(options), expected);
        }
    }
}
