//! Conversations in a few letters, held with the router and with one plain PostgreSQL.
//!
//! One message a line; a line `--` ends a batch: it is sent at once, and all replies to it are read
//! before the next. Fields are separated by `|`.
//!
//! `Q text`, `P name|text`, `B portal|statement|parameter|...` (`~` is NULL), `DS statement`,
//! `DP portal`, `E portal|rows`, `CS statement`, `CP portal`, `S`, `H` (Flush),
//! `d line` (CopyData), `c` (CopyDone), `f why` (CopyFail).

use std::time::Duration;

use bytes::BytesMut;
use tests::RawClient;
use wire::Format;
use wire::frontend::{StatementOrPortal, write};

/// How long a batch without Sync may stay unanswered.
const QUIET: Duration = Duration::from_millis(400);

/// Holds the conversation; all that was heard.
pub async fn hold(client: &mut RawClient, script: &str) -> Vec<String> {
    let mut heard = Vec::new();
    for batch in script.split("--\n") {
        let mut ready = 0;
        let mut waits = false;
        for line in batch.lines().map(str::trim).filter(|line| !line.is_empty()) {
            ready += usize::from(line == "S" || line.starts_with("Q "));
            waits |= starts_copy(line);
            put(&mut client.out, line);
        }
        heard.push("--".to_owned());
        if ready == 0 || waits {
            heard.extend(client.heard(QUIET).await);
        } else {
            heard.extend(client.transcript(ready).await);
        }
    }
    heard
}

/// The number of ReadyForQuery messages then depends on more than the batch.
fn starts_copy(line: &str) -> bool {
    line.to_lowercase().contains("stdin") || matches!(line.split(' ').next(), Some("d" | "c" | "f"))
}

fn put(out: &mut BytesMut, line: &str) {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut fields = rest.split('|').map(str::as_bytes);
    let mut field = || fields.next().unwrap_or_default();
    match kind {
        "Q" => write::query(out, rest.as_bytes()),
        "P" => write::parse(out, field(), field(), []).expect("few types"),
        "B" => {
            let (portal, statement) = (field(), field());
            let parameters: Vec<_> = fields
                .map(|value| (Format::Text, (value != b"~").then_some(value)))
                .collect();
            write::bind(out, portal, statement, &parameters, &[Format::Text])
                .expect("few parameters");
        }
        "DS" => write::describe(out, StatementOrPortal::Statement, field()),
        "DP" => write::describe(out, StatementOrPortal::Portal, field()),
        "CS" => write::close(out, StatementOrPortal::Statement, field()),
        "CP" => write::close(out, StatementOrPortal::Portal, field()),
        "E" => {
            let portal = field();
            let rows = String::from_utf8_lossy(field()).parse().unwrap_or(0);
            write::execute(out, portal, rows);
        }
        "S" => write::sync(out),
        "H" => write::flush(out),
        "d" => write::copy_data(out, format!("{}\n", rest.replace('|', "\t")).as_bytes()),
        "c" => write::copy_done(out),
        "f" => write::copy_fail(out, rest.as_bytes()),
        other => panic!("no such message: {other}"),
    }
}
