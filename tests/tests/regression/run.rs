//! One file, statement by statement, on the cluster and on one plain PostgreSQL.

use std::path::Path;
use std::time::Duration;

use tests::answer::Answer;
use tests::sides::{Protocol, Side, Sides};

use crate::anatomy::Anatomy;
use crate::judge::{Verdict, compare};
use crate::rules::{self, Placement};
use crate::script::{Script, Sent};

/// No statement of these files takes as long.
const LONGEST: Duration = Duration::from_secs(45);

/// What `pg_regress` sets, so that the files' own answers hold.
const SETTINGS: &str = "set datestyle = 'Postgres, MDY'; set timezone = 'PST8PDT'; \
    set intervalstyle = 'postgres_verbose'; set bytea_output = 'hex'";

/// One statement's line, its text and how it was answered.
pub struct Told {
    pub line: usize,
    pub sql: String,
    pub verdict: Verdict,
    /// It speaks of what a refused statement would have made.
    pub after_refusal: bool,
    /// Both answers, where they differ.
    pub answers: String,
}

/// Runs a file that makes what the others use. Its tables stay local for now.
pub async fn set_up(sides: &mut Sides, folder: &Path, name: &str) {
    for sent in read(folder, name) {
        statement(sides, folder, sent).await;
    }
}

/// Runs a file of the folder; tables that it makes are divided at once. What it had made to be temporary is removed.
pub async fn file(sides: &mut Sides, folder: &Path, name: &str) -> Vec<Told> {
    for side in [&mut sides.cluster, &mut sides.oracle] {
        for setting in SETTINGS.split("; ") {
            side.ask(Protocol::Simple, setting, &[]).await;
        }
    }
    let mut told = Vec::new();
    let mut missing: Vec<String> = Vec::new();
    let mut made: Vec<String> = Vec::new();
    let mut unordered: Vec<String> = Vec::new();
    for sent in read(folder, name) {
        let anatomy = Anatomy::of(&sent.sql);
        if anatomy.is_explain {
            continue;
        }
        let sent = without_temporary(name, sent, &anatomy);
        unordered.extend(anatomy.unordered_cursor.clone());
        let mut one = statement(sides, folder, sent).await;
        // The cursor's query leaves the order open: another row may come first.
        let reads_any = anatomy
            .fetches
            .is_some_and(|cursor| unordered.contains(&cursor));
        let rows_differ = one.verdict == Verdict::Different("rows".to_owned());
        let is_open =
            rules::OPEN.contains(&(name, one.line)) && matches!(one.verdict, Verdict::Different(_));
        if (reads_any && rows_differ) || is_open {
            one.verdict = Verdict::Free;
        }
        let after_refusal = mentions(&one.sql, &missing);
        if let Verdict::Refused(_) = one.verdict {
            missing.extend(made_by(&one.sql));
        }
        let is_same = one.verdict == Verdict::Same;
        told.push(Told {
            after_refusal,
            ..one
        });
        if let Some(table) = anatomy.creates.filter(|_| is_same) {
            place(sides, name, &table).await;
            made.push(table);
        }
    }
    for side in [&mut sides.cluster, &mut sides.oracle] {
        side.ask(Protocol::Simple, "rollback", &[]).await;
        for table in &made {
            let drop = format!("drop table if exists \"{table}\" cascade");
            side.ask(Protocol::Simple, &drop, &[]).await;
        }
    }
    told
}

fn read(folder: &Path, name: &str) -> Vec<Sent> {
    let path = folder.join(format!("sql/{name}.sql"));
    // A few files have comments in other encodings.
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let text = String::from_utf8_lossy(&bytes);
    let source = folder.to_string_lossy();
    let environment = [
        ("PG_ABS_SRCDIR", &*source),
        ("PG_LIBDIR", "/nowhere"),
        ("PG_DLSUFFIX", ".so"),
    ];
    Script::new(&text, &environment).all()
}

/// Tables that the rules divide are made to stay: a temporary one would be on the home shard.
fn without_temporary(file: &str, sent: Sent, anatomy: &Anatomy) -> Sent {
    let Some(table) = &anatomy.creates else {
        return sent;
    };
    if matches!(rules::placement(file, table), Placement::Local) {
        return sent;
    }
    let mut sql = sent.sql.clone();
    for word in ["TEMPORARY ", "temporary ", "TEMP ", "temp "] {
        let create = &sql[..7];
        if sql[7..].starts_with(word) && create.eq_ignore_ascii_case("create ") {
            sql.replace_range(7..7 + word.len(), "");
        }
    }
    Sent { sql, ..sent }
}

/// Asks the cluster, and then, unless it refuses, the plain PostgreSQL. So a refusal leaves both as they were.
async fn statement(sides: &mut Sides, folder: &Path, sent: Sent) -> Told {
    let (sql, data) = input(folder, &sent);
    let cluster = ask(&mut sides.cluster, &sql, data.as_deref()).await;
    let mut answers = String::new();
    let verdict = if let Some(id) = cluster.refusal() {
        if cluster.status == b'E' {
            ask(&mut sides.oracle, "refused as on the cluster", None).await;
        }
        Verdict::Refused(id.to_owned())
    } else {
        let oracle = ask(&mut sides.oracle, &sql, data.as_deref()).await;
        let verdict = compare(sides, &sql, &cluster, &oracle).await;
        answers = format!("--- cluster\n{cluster}\n--- PostgreSQL\n{oracle}");
        verdict
    };
    Told {
        line: sent.line,
        sql,
        verdict,
        after_refusal: false,
        answers,
    }
}

/// A COPY from a file on the server is one from the client, whose file it is.
fn input(folder: &Path, sent: &Sent) -> (String, Option<Vec<u8>>) {
    let copies = sent
        .sql
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case("copy"));
    let source = format!("'{}", folder.to_string_lossy());
    if let (true, Some(start)) = (copies, sent.sql.find(&source)) {
        let path = sent.sql[start + 1..].split('\'').next().unwrap_or_default();
        let data = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let sql = sent.sql.replace(&format!("'{path}'"), "stdin");
        return (sql, Some(data));
    }
    (sent.sql.clone(), sent.data.clone())
}

async fn ask(side: &mut Side, sql: &str, data: Option<&[u8]>) -> Answer {
    let asking = async {
        match data {
            Some(data) => side.copy_in(sql, data).await,
            None => side.ask(Protocol::Simple, sql, &[]).await,
        }
    };
    let answer = tokio::time::timeout(LONGEST, asking).await;
    answer.unwrap_or_else(|_| panic!("no answer in {LONGEST:?}: {sql}"))
}

/// Divides a table that both have just made, where it can be.
async fn place(sides: &mut Sides, file: &str, table: &str) {
    let table = format!("\"{table}\"");
    let call = match rules::placement(file, table.trim_matches('"')) {
        Placement::Local => return,
        Placement::Reference => format!("select oskol.reference_table('{table}')"),
        Placement::ShardedBy(key) => format!("select oskol.shard_table('{table}', '{key}')"),
        Placement::Sharded => match key_of(sides, &table).await {
            Some(key) => format!("select oskol.shard_table('{table}', '{key}')"),
            None => return,
        },
    };
    // Inside a transaction it stays local: a failure would end the transaction. So does one that cannot be divided.
    let status = sides
        .cluster
        .ask(Protocol::Simple, "select 1", &[])
        .await
        .status;
    if status == b'I' {
        sides.cluster.ask(Protocol::Simple, &call, &[]).await;
    }
}

/// The primary key's first column, or else the first column, of a type that a shard key can have.
async fn key_of(sides: &mut Sides, table: &str) -> Option<String> {
    const KEY: &str = "select attname from pg_attribute as a left join pg_index as i \
        on i.indrelid = a.attrelid and i.indisprimary where attrelid = to_regclass($1) and attnum > 0 \
        and atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype, \
        'uuid'::regtype) order by coalesce(attnum = any(i.indkey), false) desc, attnum limit 1";
    let table = [table.to_owned()];
    let protocol = Protocol::Extended(wire::Format::Text);
    let answer = sides.oracle.ask(protocol, KEY, &table).await;
    let row = answer.outcomes.first()?.rows.first()?.first()?.clone()?;
    String::from_utf8(row).ok()
}

/// Names that a statement would have made.
fn made_by(sql: &str) -> Option<String> {
    let mut words = sql
        .split(|next: char| !(next.is_alphanumeric() || next == '_'))
        .filter(|word| !word.is_empty());
    let first = words.next()?.to_ascii_lowercase();
    if !matches!(first.as_str(), "create" | "declare" | "prepare") {
        return None;
    }
    const KINDS: [&str; 18] = [
        "or",
        "replace",
        "temp",
        "temporary",
        "unlogged",
        "recursive",
        "table",
        "view",
        "materialized",
        "function",
        "aggregate",
        "rule",
        "trigger",
        "unique",
        "index",
        "type",
        "domain",
        "operator",
    ];
    words
        .map(str::to_ascii_lowercase)
        .find(|word| !KINDS.contains(&word.as_str()))
}

fn mentions(sql: &str, names: &[String]) -> bool {
    let lower = sql.to_ascii_lowercase();
    let mut words = lower.split(|next: char| !(next.is_alphanumeric() || next == '_'));
    words.any(|word| names.iter().any(|name| name == word))
}
