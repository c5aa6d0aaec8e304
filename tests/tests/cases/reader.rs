//! The files in `tests/cases`: records in the manner of sqllogictest, without the expected results, which one plain
//! PostgreSQL gives.
//!
//! Records are separated by blank lines; a line that begins with `#` is a comment. The first line of a record says
//! what is asked, the others are the statement:
//! - `query`: rows in any order; `query ordered`: rows in this order; `query text`: left out for binary results, where
//!   oids of users' types and tables are part of the values;
//! - `statement`: a statement that may change something; also for errors, which must be PostgreSQL's own;
//! - `refused ID`: the cluster refuses it with this stable id. It is not asked of the plain PostgreSQL;
//! - `mistake query`: a known mistake of ours, which must not be mended without changing the file;
//! - `string`: several statements in one simple Query, left out in the extended protocol.
//!
//! A last word `with A | B` gives the values of `$1` and `$2`.

use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Query {
        ordered: bool,
        text: bool,
    },
    Statement,
    Refused(String),
    /// Several statements in one simple Query.
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Of the first line, 1-based.
    pub line: usize,
    pub kind: Kind,
    /// Known to be answered wrongly.
    pub mistake: bool,
    pub sql: String,
    pub parameters: Vec<String>,
}

/// All files of the folder, by name, with their cases.
pub fn files(folder: &Path) -> Vec<(String, Vec<Case>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let is_case = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "slt");
    let mut paths: Vec<_> = paths.filter(is_case).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let cases = cases(&text).unwrap_or_else(|line| panic!("{name}:{line}: not understood"));
        (name, cases)
    };
    paths.into_iter().map(read).collect()
}

/// Errors: the number of a line that is not understood.
pub fn cases(text: &str) -> Result<Vec<Case>, usize> {
    let mut cases = Vec::new();
    let mut record: Vec<(usize, &str)> = Vec::new();
    for (index, line) in text.lines().chain([""]).enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if !line.trim().is_empty() {
            record.push((index + 1, line));
        } else if !record.is_empty() {
            cases.push(case(&record)?);
            record.clear();
        }
    }
    Ok(cases)
}

fn case(record: &[(usize, &str)]) -> Result<Case, usize> {
    let (line, head) = record[0];
    let (head, parameters) = match head.split_once(" with ") {
        Some((head, values)) => (
            head,
            values
                .split('|')
                .map(|value| value.trim().to_owned())
                .collect(),
        ),
        None => (head, Vec::new()),
    };
    let right = head.strip_prefix("mistake ");
    let words: Vec<&str> = right.unwrap_or(head).split_whitespace().collect();
    let kind = match words[..] {
        ["query", ref options @ ..]
            if options
                .iter()
                .all(|word| ["ordered", "text"].contains(word)) =>
        {
            let has = |word| options.contains(&word);
            Kind::Query {
                ordered: has("ordered"),
                text: has("text"),
            }
        }
        ["statement"] => Kind::Statement,
        ["refused", id] => Kind::Refused(id.to_owned()),
        ["string"] => Kind::Text,
        _ => return Err(line),
    };
    let lines: Vec<&str> = record[1..].iter().map(|(_, line)| *line).collect();
    let sql = lines.join("\n");
    if sql.is_empty() {
        Err(line)
    } else {
        Ok(Case {
            line,
            kind,
            mistake: right.is_some(),
            sql,
            parameters,
        })
    }
}

#[test]
fn a_record_is_its_kind_its_statement_and_its_parameters() {
    let text =
        "# a comment\nquery ordered with 5 | a b\nselect $1,\n  $2\n\n\nrefused some-id\nlock it\n";
    let cases = cases(text).unwrap();
    assert_eq!(cases.len(), 2);
    assert_eq!(cases[0].line, 2);
    assert_eq!(
        cases[0].kind,
        Kind::Query {
            ordered: true,
            text: false
        }
    );
    assert_eq!(cases[0].sql, "select $1,\n  $2");
    assert_eq!(cases[0].parameters, ["5", "a b"]);
    assert_eq!(cases[1].kind, Kind::Refused("some-id".to_owned()));
}

#[test]
fn a_line_that_is_not_understood_is_named() {
    assert_eq!(cases("query\nselect 1\n\nquery sorted\nselect 1\n"), Err(4));
    assert_eq!(cases("query\n"), Err(1));
}
