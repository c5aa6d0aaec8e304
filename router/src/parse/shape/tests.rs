use super::{LiteralKind, NoShape, Shape};
use pg_query::protobuf::Token;

fn key(text: &str) -> String {
    let mut shape = Shape::default();
    shape
        .read(text)
        .unwrap_or_else(|no| panic!("{text}: {no:?}"));
    String::from_utf8(shape.key).unwrap()
}

fn no_shape(text: &str) -> NoShape {
    Shape::default().read(text).unwrap_err()
}

fn literals(text: &str) -> Vec<&str> {
    let mut shape = Shape::default();
    shape.read(text).unwrap();
    shape
        .literals
        .iter()
        .map(|literal| &text[literal.start as usize..literal.end as usize])
        .collect()
}

#[test]
fn literals_leave_the_text() {
    assert_eq!(
        key("SELECT abalance FROM a WHERE aid = 12345;"),
        "SELECT abalance FROM a WHERE aid = \u{1}"
    );
    assert_eq!(
        key("select 'it''s', 1.5, .5, 1e5, 1.e-3"),
        "select \u{3}, \u{2}, \u{2}, \u{2}, \u{2}"
    );
    assert_eq!(
        literals("select 'it''s', 1.5, a1, $1, $$x$$, E'\\''"),
        ["'it''s'", "1.5", "$$x$$", "E'\\''"]
    );
    assert_eq!(literals("select 1..3"), ["1", "3"]);
}

#[test]
fn white_space_and_comments_are_one_space() {
    assert_eq!(
        key(" \n select /* a /* nested */ */ 1 -- end\n ; "),
        "select \u{1}"
    );
    assert_eq!(key("select\t1-- end"), "select \u{1}");
    assert_eq!(key("select a/**/b"), "select a b");
    assert_eq!(key("select 1 +/* x */- 2"), "select \u{1} + - \u{1}");
}

#[test]
fn a_literal_after_a_letter_is_no_literal() {
    assert_eq!(
        key("select t1.a2, \"q 1\"\"'x'\", a$1, $12"),
        "select t1.a2, \"q 1\"\"'x'\", a$1, $12"
    );
}

#[test]
fn prefixes_stay_in_the_shape() {
    assert_eq!(
        key("select N'a', B'1', x'f', U&'a', E'a'"),
        "select n\u{4}, b\u{4}, x\u{4}, u\u{4}, e\u{4}"
    );
    assert_eq!(key("select tag'a'"), "select tag\u{3}");
}

#[test]
fn what_versions_read_otherwise_has_no_shape() {
    for text in [
        "select 0x1F",
        "select 1_000",
        "select 1a",
        "select 1e",
        "select $1a",
        "select 'a",
        "select \"a",
        "select /* a",
        "select $a$ x",
        "select 'a'\n'b'",
        "select 'a' -- c\n 'b'",
        "select U&\"a\" UESCAPE '!'",
        "select \u{1}",
        "select \u{b} 1",
        "select E'\\'",
        "select $",
    ] {
        assert_eq!(no_shape(text), NoShape::Unlexable, "{text}");
    }
    assert_eq!(key("select 'a' 'b'"), "select \u{3} \u{3}");
}

#[test]
fn only_one_statement_has_a_shape() {
    assert_eq!(no_shape("select 1; select 2"), NoShape::Several);
    assert_eq!(no_shape(" ; -- nothing\n"), NoShape::Empty);
    assert_eq!(no_shape(""), NoShape::Empty);
    assert_eq!(key("select 1;;  ; -- end"), "select \u{1}");
    assert_eq!(
        no_shape(&format!("select {}", "1,".repeat(super::LONGEST))),
        NoShape::Unlexable
    );
}

/// A small generator of texts out of fragments that meet in awkward ways.
struct Fragments(u64);

impl Fragments {
    const ALL: &'static [&'static str] = &[
        "select",
        "a",
        "b1",
        "e",
        "E",
        "x",
        "n",
        "u",
        "U&",
        "_z",
        "é",
        "1",
        "12",
        "0",
        "1.5",
        ".5",
        "5.",
        "1e5",
        "1e",
        "e5",
        "'a'",
        "'it''s'",
        "''",
        "'",
        "E'\\n'",
        "E'\\''",
        "b'1'",
        "x'f'",
        "N'a'",
        "U&'a'",
        "$$q$$",
        "$t$ ' $t$",
        "$1",
        "$",
        "\"id\"",
        "\"",
        " ",
        "\n",
        "\t",
        " ",
        " ",
        "-",
        "--",
        "--c\n",
        "/*",
        "*/",
        "/*c*/",
        "/",
        "*",
        "+",
        "=",
        "<=",
        ",",
        "(",
        ")",
        "[",
        "]",
        ".",
        "..",
        ":",
        "::",
        ":=",
        "@",
        "#",
        "~",
        "%",
        "^",
        "|",
        "&",
        "?",
        "!",
        "0x1",
        "1_0",
        "\r\n",
    ];

    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize
    }

    fn text(&mut self) -> String {
        let length = self.next() % 9 + 1;
        (0..length)
            .map(|_| Self::ALL[self.next() % Self::ALL.len()])
            .collect()
    }
}

type Tokens = (Vec<String>, Vec<(u32, u32)>);

/// PostgreSQL's own tokens of `text`, without comments, each with its text; literals as their kind.
fn tokens(text: &str) -> Option<Tokens> {
    let mut names = Vec::new();
    let mut spans = Vec::new();
    for token in pg_query::scan(text).ok()?.tokens {
        let span = &text[token.start as usize..token.end as usize];
        let kind = match token.token() {
            Token::SqlComment | Token::CComment => continue,
            Token::Iconst => Some(LiteralKind::Integer),
            Token::Fconst if span.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(LiteralKind::Integer)
            }
            Token::Fconst => Some(LiteralKind::Numeric),
            Token::Sconst if span.starts_with('\'') => Some(LiteralKind::String),
            Token::Sconst | Token::Usconst | Token::Bconst | Token::Xconst => {
                Some(LiteralKind::Other)
            }
            _ => None,
        };
        match kind {
            Some(kind) => {
                names.push(format!("<{kind:?}>"));
                spans.push((token.start as u32, token.end as u32));
            }
            None => names.push(span.to_owned()),
        }
    }
    Some((names, spans))
}

/// The scanner counts `N'a'` as a key word and a string; we keep the prefix with the string.
fn has_national_string(text: &str) -> bool {
    text.contains("n'") || text.contains("N'")
}

#[test]
fn literals_are_those_that_postgresql_scans() {
    let mut fragments = Fragments(0x9e37_79b9_7f4a_7c15);
    let mut shape = Shape::default();
    let mut compared = 0;
    for _ in 0..200_000 {
        let text = fragments.text();
        if shape.read(&text).is_err() || has_national_string(&text) {
            continue;
        }
        // What PostgreSQL cannot scan never gets a plan.
        let Some((_, spans)) = tokens(&text) else {
            continue;
        };
        let ours: Vec<_> = shape
            .literals
            .iter()
            .map(|literal| (literal.start, literal.end))
            .collect();
        assert_eq!(ours, spans, "{text:?}");
        compared += 1;
    }
    assert!(compared > 50_000, "{compared}");
}

#[test]
fn texts_of_one_shape_have_the_same_tokens_but_for_literals() {
    let mut seen: std::collections::HashMap<Vec<u8>, (String, Vec<String>)> = Default::default();
    let mut fragments = Fragments(0x1234_5678_9abc_def1);
    let mut shape = Shape::default();
    for _ in 0..200_000 {
        let text = fragments.text();
        if shape.read(&text).is_err() || has_national_string(&text) {
            continue;
        }
        let Some((names, _)) = tokens(&text) else {
            continue;
        };
        let (first, expected) = seen
            .entry(shape.key.clone())
            .or_insert_with(|| (text.clone(), names.clone()));
        assert_eq!(&names, expected, "{first:?} and {text:?}");
    }
}
