//! The page `docs/sql.md` tells the truth: each example has the plan or the refusal that stands beside it, gives what
//! PostgreSQL gives, and no refusal is left out.

use std::collections::BTreeSet;
use std::path::Path;

use tests::answer::Answer;
use tests::sides::{Protocol, Sides};

use crate::setting::Setting;

/// Statements that EXPLAIN does not take: only their result is compared.
const NOT_EXPLAINED: [&str; 2] = ["session", "all shards"];

struct Entry {
    line: usize,
    cells: Vec<String>,
}

impl Entry {
    /// The text in backticks of a cell.
    fn code(&self, cell: usize) -> Option<&str> {
        let text = self.cells.get(cell)?;
        text.strip_prefix('`')?.strip_suffix('`')
    }
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The rows of all tables with three columns under a heading of the first rank.
fn entries(page: &str, heading: &str) -> Vec<Entry> {
    let mut inside = false;
    let mut entries = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            inside = title == heading;
        }
        let cells: Vec<String> = cells(line);
        let is_head = matches!(
            cells.first().map(String::as_str),
            Some("form" | "id" | "---")
        );
        if inside && cells.len() == 3 && !is_head {
            entries.push(Entry {
                line: index + 1,
                cells,
            });
        }
    }
    assert!(entries.len() > 10, "{heading}: {} entries", entries.len());
    entries
}

fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line
        .strip_prefix('|')
        .and_then(|rest| rest.strip_suffix('|'))
    else {
        return Vec::new();
    };
    inner
        .split(" | ")
        .flat_map(|cell| cell.split("|---|"))
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// Asks inside a transaction that is rolled back on both sides.
async fn tried(sides: &mut Sides, sql: &str) -> (Answer, Answer) {
    let mut answers = Vec::new();
    for side in [&mut sides.cluster, &mut sides.oracle] {
        side.ask(Protocol::Simple, "begin", &[]).await;
        answers.push(if sql.ends_with("from stdin") {
            side.copy_in(sql, b"").await
        } else {
            side.ask(Protocol::Simple, sql, &[]).await
        });
        side.ask(Protocol::Simple, "rollback", &[]).await;
    }
    let oracle = answers.pop().expect("two sides");
    (answers.pop().expect("two sides"), oracle)
}

/// `Oskol: scatter, shards 0, 1`: scatter.
async fn plan_of(sides: &mut Sides, sql: &str) -> String {
    let explain = format!("explain (costs off) {sql}");
    let answer = sides.cluster.ask(Protocol::Simple, &explain, &[]).await;
    let first = || {
        let line = answer.outcomes.first()?.rows.first()?.first()?.as_deref()?;
        let line = String::from_utf8_lossy(line).into_owned();
        Some(line.strip_prefix("Oskol: ")?.split(',').next()?.to_owned())
    };
    first().unwrap_or_else(|| answer.to_string())
}

#[tokio::test]
async fn every_form_on_the_page_works_with_the_plan_it_names() {
    let setting = Setting::new("page").await;
    let mut sides = setting.sides().await;
    let mut wrong = Vec::new();
    for entry in entries(&page(), "What works") {
        let (line, plan) = (entry.line, &entry.cells[2]);
        let sql = entry
            .code(1)
            .unwrap_or_else(|| panic!("line {line}: no example"));
        let (cluster, oracle) = tried(&mut sides, sql).await;
        if let Some(what) = sides.difference(&cluster, &oracle, true).await {
            wrong.push(format!("{line}: {sql}: {what} differ\n{cluster}\n{oracle}"));
        } else if !NOT_EXPLAINED.contains(&plan.as_str()) {
            let said = plan_of(&mut sides, sql).await;
            if said != *plan {
                wrong.push(format!("{line}: {sql}: {said}, not {plan}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} forms:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn every_refusal_on_the_page_is_one() {
    let setting = Setting::new("page_refusals").await;
    let mut sides = setting.sides().await;
    let mut wrong = Vec::new();
    for entry in entries(&page(), "What is refused") {
        let id = entry
            .code(0)
            .unwrap_or_else(|| panic!("line {}: no id", entry.line));
        if let Some(sql) = entry.code(1) {
            let answer = sides.cluster.ask(Protocol::Simple, sql, &[]).await;
            if answer.refusal() != Some(id) {
                wrong.push(format!("{}: {sql}: not {id}\n{answer}", entry.line));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} refusals:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_page_has_every_refusal_of_the_router_and_no_other() {
    let mut source = String::new();
    read_all(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../router/src"),
        &mut source,
    );
    let known = ids_in(&source);
    assert!(known.len() > 60, "{known:?}");
    let page = page();
    let entries = entries(&page, "What is refused");
    let told: BTreeSet<&str> = entries.iter().filter_map(|entry| entry.code(0)).collect();
    let missing: Vec<_> = known.difference(&told).collect();
    let is_gone = |id: &&&str| !source.contains(&format!("\"{id}\""));
    let gone: Vec<_> = told.iter().filter(is_gone).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not on the page: {missing:?}\nnot in the router: {gone:?}"
    );
}

fn read_all(folder: &Path, source: &mut String) {
    for entry in std::fs::read_dir(folder)
        .expect("a readable folder")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, source);
        } else if path.extension().is_some_and(|end| end == "rs") {
            *source += &std::fs::read_to_string(&path).expect("readable");
        }
    }
}

/// The literals that stand where refusals are made. Elsewhere than in a call an id is known by its hyphen.
fn ids_in(source: &str) -> BTreeSet<&str> {
    const BEFORE: [&str; 5] = [
        "unsupported(",
        "reference_write(",
        "refusal(",
        "id: ",
        "=> (",
    ];
    let mut ids = BTreeSet::new();
    for before in BEFORE {
        for (at, _) in source.match_indices(before) {
            let rest = source[at + before.len()..].trim_start();
            let id = rest
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            ids.extend(id.filter(|id| is_id(id) && (before == BEFORE[0] || id.contains('-'))));
        }
    }
    ids
}

fn is_id(text: &str) -> bool {
    text.len() > 3
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}
