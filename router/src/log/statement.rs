//! A statement's text as it may stand in the log.

use std::time::Duration;

use crate::parse::shape::Shape;

/// Bytes of a statement that are shown.
const SHOWN: usize = 1_000;

/// A statement that ran longer than `log.slow_statement`.
#[derive(Debug, Clone, Copy)]
pub struct SlowStatement<'a> {
    pub text: &'a str,
    pub elapsed: Duration,
    /// As SHOW CLIENTS numbers it.
    pub session: u32,
    pub user: &'a str,
    pub database: &'a str,
    /// Name of the plan, as in the metrics.
    pub plan: &'static str,
    /// Shards that ran it.
    pub shards: usize,
}

impl SlowStatement<'_> {
    /// Writes one line, at level WARN.
    pub fn log(&self) {
        tracing::warn!(
            target: "oskol::slow",
            milliseconds = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            session = self.session,
            user = self.user,
            database = self.database,
            plan = self.plan,
            shards = self.shards,
            statement = masked(self.text),
            "slow statement"
        );
    }
}

/// The text without literals and comments, cut to 1000 bytes. A text whose literals cannot be told
/// (several statements, very long, broken) is shown up to where the first of them may begin.
pub fn masked(text: &str) -> String {
    if mentions_password(text) {
        return "(a statement that mentions PASSWORD is not shown)".to_owned();
    }
    let mut shape = Shape::default();
    match shape.read(text) {
        Ok(()) => cut(&without_marks(&shape.key)),
        Err(_) => cut(&format!("{} ...", harmless_beginning(text).trim_end())),
    }
}

/// A shape's key has one byte 1 to 4 where a literal stood.
fn without_marks(key: &[u8]) -> String {
    let shown = key
        .iter()
        .map(|byte| if (1..=4).contains(byte) { b'?' } else { *byte });
    String::from_utf8_lossy(&shown.collect::<Vec<u8>>()).into_owned()
}

fn mentions_password(text: &str) -> bool {
    let word = b"password";
    text.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// Up to the first character that can begin a literal, a comment or a quoted name.
fn harmless_beginning(text: &str) -> &str {
    let suspicious =
        |c: char| c.is_ascii_digit() || matches!(c, '\'' | '"' | '$' | '-' | '/' | '\\');
    &text[..text.find(suspicious).unwrap_or(text.len())]
}

fn cut(text: &str) -> String {
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let end = (0..=SHOWN)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_left_out() {
        let text = "SELECT * FROM t /* secret */ WHERE a = 'secret' AND b = 42 AND c = $1";
        let shown = masked(text);
        assert_eq!(shown, "SELECT * FROM t WHERE a = ? AND b = ? AND c = $1");
    }

    #[test]
    fn a_text_whose_literals_cannot_be_told_is_cut_before_the_first() {
        assert_eq!(
            masked("SELECT a FROM t; SELECT 'secret'"),
            "SELECT a FROM t; SELECT ..."
        );
        assert_eq!(masked("UPDATE t SET a = 'secret"), "UPDATE t SET a = ...");
    }

    #[test]
    fn statements_that_set_a_password_are_not_shown() {
        for text in [
            "ALTER ROLE a PassWord 'x'",
            "create role b password md5",
            "SET my.password = 'x'",
        ] {
            assert!(
                !masked(text).contains("ALTER") && !masked(text).contains('x'),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("SELECT {} FROM t", "é".repeat(1_000));
        let shown = masked(&text);
        assert!(shown.ends_with("é...") && shown.len() <= SHOWN + 3);
    }
}
