//! Divides a script as psql does. Backslash commands are left out, but for `\set` and `\getenv`, on whose variables
//! statements depend, and `\;`, which joins statements to one string.

use std::collections::HashMap;

/// What psql would send at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Of its first word, 1-based.
    pub line: usize,
    pub sql: String,
    /// The lines between `COPY ... FROM stdin;` and `\.`.
    pub data: Option<Vec<u8>>,
}

pub struct Script<'a> {
    text: &'a str,
    at: usize,
    variables: HashMap<String, String>,
}

/// What stands at one place of a statement.
enum Piece {
    /// Text that is part of the statement, up to this offset.
    Text(usize),
    /// A variable's value, and the offset after its name.
    Variable(String, usize),
    /// `\;`
    Joint,
    End,
    Comment(usize),
}

impl<'a> Script<'a> {
    /// `environment`: what `\getenv` finds.
    pub fn new(text: &'a str, environment: &[(&str, &str)]) -> Self {
        let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Script {
            text,
            at: 0,
            variables: environment.iter().map(variable).collect(),
        }
    }

    pub fn all(mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(sent) = self.next() {
            all.push(sent);
        }
        all
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<Sent> {
        self.skip_to_statement()?;
        let line = 1 + self.text[..self.at].matches('\n').count();
        let sql = self.statement();
        let data = reads_input(&sql).then(|| self.data());
        Some(Sent { line, sql, data })
    }

    /// Past blanks, comments, lone semicolons and backslash commands.
    fn skip_to_statement(&mut self) -> Option<()> {
        loop {
            let rest = self.rest();
            let skipped = match rest.chars().next()? {
                '\\' => {
                    let end = rest.find('\n').unwrap_or(rest.len());
                    self.command(&rest[1..end]);
                    end
                }
                blank if blank.is_whitespace() || blank == ';' => blank.len_utf8(),
                _ => comment_length(rest)?,
            };
            if skipped == 0 {
                return Some(());
            }
            self.at += skipped;
        }
    }

    /// `\set name value...` and `\getenv name variable`.
    fn command(&mut self, command: &str) {
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let (name, value) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let value = match word {
            "getenv" => self.variables.get(value.trim()).cloned(),
            "set" => Some(self.words(value)),
            _ => None,
        };
        if let Some(value) = value {
            self.variables.insert(name.to_owned(), value);
        }
    }

    /// The arguments of `\set` are put together without blanks, quotes taken off, variables put in.
    fn words(&self, text: &str) -> String {
        let mut value = String::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            if first == '\'' {
                let length = quoted_length(rest, false);
                value += &rest[1..length - 1].replace("''", "'");
                rest = rest[length..].trim_start();
            } else {
                let length = rest.find([' ', '\'']).unwrap_or(rest.len());
                let word = &rest[..length];
                let known = word
                    .strip_prefix(':')
                    .and_then(|name| self.variables.get(name));
                value += known.map_or(word, String::as_str);
                rest = rest[length..].trim_start();
            }
        }
        value
    }

    /// The statement that begins here, without its semicolon.
    fn statement(&mut self) -> String {
        let mut sql = String::new();
        let mut depth = 0_usize;
        let mut blocks = 0_usize;
        loop {
            match self.piece(depth + blocks) {
                Piece::Text(length) => {
                    let text = &self.rest()[..length];
                    match text {
                        "(" | "[" => depth += 1,
                        ")" | "]" => depth = depth.saturating_sub(1),
                        word => blocks = blocks_after(&sql, word, blocks),
                    }
                    sql += text;
                    self.at += length;
                }
                Piece::Variable(value, length) => {
                    sql += &value;
                    self.at += length;
                }
                Piece::Joint => {
                    sql += ";";
                    self.at += 2;
                }
                Piece::Comment(length) => {
                    sql += " ";
                    self.at += length;
                }
                Piece::End => {
                    self.at = (self.at + 1).min(self.text.len());
                    return sql.trim().to_owned();
                }
            }
        }
    }

    fn piece(&self, depth: usize) -> Piece {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Piece::End;
        };
        match first {
            ';' if depth == 0 => Piece::End,
            '\\' if rest.starts_with("\\;") => Piece::Joint,
            '\\' => Piece::Comment(rest.find('\n').unwrap_or(rest.len())),
            '\'' => Piece::Text(quoted_length(rest, false)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                Piece::Text(1 + quoted_length(&rest[1..], true))
            }
            '"' => Piece::Text(double_quoted_length(rest)),
            '$' => Piece::Text(dollar_quoted_length(rest)),
            ':' => self.variable(rest),
            _ if comment_length(rest).is_some_and(|length| length > 0) => {
                Piece::Comment(comment_length(rest).unwrap_or(1))
            }
            first if is_word(first) => Piece::Text(
                rest.find(|next| !is_word(next) && next != '$')
                    .unwrap_or(rest.len()),
            ),
            other => Piece::Text(other.len_utf8()),
        }
    }

    fn variable(&self, rest: &str) -> Piece {
        if rest.starts_with("::") || rest.starts_with(":=") {
            return Piece::Text(2);
        }
        let quote = rest[1..]
            .chars()
            .next()
            .filter(|quote| matches!(quote, '\'' | '"'));
        let start = 1 + quote.map_or(0, char::len_utf8);
        let length = rest[start..]
            .find(|next| !is_word(next))
            .unwrap_or(rest.len() - start);
        let end = start + length + quote.map_or(0, char::len_utf8);
        match (self.variables.get(&rest[start..start + length]), quote) {
            (None, _) => Piece::Text(1),
            (Some(value), None) => Piece::Variable(value.clone(), end),
            (Some(value), Some(quote)) => {
                let doubled = value.replace(quote, &format!("{quote}{quote}"));
                Piece::Variable(format!("{quote}{doubled}{quote}"), end)
            }
        }
    }

    fn data(&mut self) -> Vec<u8> {
        let rest = self.rest();
        let start = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let end = rest[start..]
            .find("\\.\n")
            .map_or(rest.len(), |end| start + end);
        self.at += (end + 2).min(rest.len());
        rest.as_bytes()[start..end].to_vec()
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// How many `BEGIN ATOMIC ... END` and `CASE ... END` of a function's body are open after this word.
fn blocks_after(before: &str, word: &str, open: usize) -> usize {
    let word = word.to_ascii_lowercase();
    if word == "end" {
        return open.saturating_sub(1);
    }
    let body = before.len() > 6 && before.as_bytes()[..6].eq_ignore_ascii_case(b"create");
    let last = before.split_whitespace().next_back().unwrap_or_default();
    let atomic = body && word == "atomic" && last.eq_ignore_ascii_case("begin");
    open + usize::from(atomic || (open > 0 && word == "case"))
}

/// Of the comment at the start; 0: there is none. None: no text at all.
fn comment_length(text: &str) -> Option<usize> {
    text.chars().next()?;
    if text.starts_with("--") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return Some(0);
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let step = if rest.starts_with(b"/*") {
            depth += 1;
            2
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            2
        } else {
            1
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// Of the literal at the start, quotes included.
fn quoted_length(text: &str, escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn double_quoted_length(text: &str) -> usize {
    text[1..].find('"').map_or(text.len(), |end| end + 2)
}

/// Of the dollar-quoted literal at the start; of a `$` that begins none: 1.
fn dollar_quoted_length(text: &str) -> usize {
    let Some(end) = text[1..].find(|next: char| !is_word(next)) else {
        return 1;
    };
    let tag = &text[..end + 2];
    let is_parameter = text[1..].starts_with(|first: char| first.is_ascii_digit());
    if !tag.ends_with('$') || is_parameter {
        return 1;
    }
    text[tag.len()..]
        .find(tag)
        .map_or(text.len(), |end| end + 2 * tag.len())
}

/// psql reads its input for STDOUT as well.
fn reads_input(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let from_input = |pair: &[&str]| pair[0] == "from" && matches!(pair[1], "stdin" | "stdout");
    words.first() == Some(&"copy") && words.windows(2).any(from_input)
}

#[cfg(test)]
mod facts {
    use super::*;

    fn statements(text: &str) -> Vec<String> {
        let sent = Script::new(text, &[("HOME", "/h")]).all();
        sent.into_iter().map(|sent| sent.sql).collect()
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_where_psql_ends_it() {
        let text = "select 1; -- a;b\nselect ';', \";\", $$;$$, $a$;$$;$a$, E'\\';', (1;2) /* ; /* ; */ ; */;\n;;x";
        assert_eq!(
            statements(text),
            [
                "select 1",
                "select ';', \";\", $$;$$, $a$;$$;$a$, E'\\';', (1;2)",
                "x"
            ]
        );
    }

    #[test]
    fn commands_are_left_out_and_variables_put_in() {
        let text = "\\pset null x\n\\getenv dir HOME\n\\set file :dir '/a b'\nselect :'file', a::int, :file;\n\\d t\nselect 2;";
        assert_eq!(
            statements(text),
            ["select '/h/a b', a::int, /h/a b", "select 2"]
        );
    }

    #[test]
    fn joined_statements_are_one_string() {
        assert_eq!(statements("select 1\\; select 2;"), ["select 1; select 2"]);
    }

    #[test]
    fn a_body_in_sql_is_one_statement() {
        let text = "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3;";
        assert_eq!(statements(text).len(), 2);
    }

    #[test]
    fn data_of_copy_goes_with_its_statement() {
        let sent = Script::new("copy t from stdin;\n1\ta;b\n2\tc\n\\.\nselect 1;", &[]).all();
        assert_eq!(sent[0].data.as_deref(), Some(b"1\ta;b\n2\tc\n".as_slice()));
        assert_eq!((sent[1].sql.as_str(), sent[1].line), ("select 1", 5));
    }
}
