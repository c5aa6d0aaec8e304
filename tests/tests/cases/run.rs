//! One file of cases on both servers.

use tests::answer::Answer;
use tests::sides::{Protocol, Sides};
use wire::Format;

use crate::reader::{Case, Kind};

/// Every case that is not answered as it ought to be, in words.
pub async fn run(sides: &mut Sides, file: &str, cases: &[Case], protocol: Protocol) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        if !is_asked(&case.kind, protocol) {
            continue;
        }
        let what = match judge(sides, case, protocol).await {
            Some(_) if case.mistake => continue,
            None if case.mistake => "no mistake any more: say so in the file".to_owned(),
            Some(what) => what,
            None => continue,
        };
        let line = case.line;
        wrong.push(format!(
            "{file}:{line}: {protocol:?}: {what}\n{}\n",
            case.sql
        ));
    }
    wrong
}

fn is_asked(kind: &Kind, protocol: Protocol) -> bool {
    match kind {
        Kind::Text => protocol == Protocol::Simple,
        Kind::Query { text: true, .. } => protocol != Protocol::Extended(Format::Binary),
        _ => true,
    }
}

async fn judge(sides: &mut Sides, case: &Case, protocol: Protocol) -> Option<String> {
    let (sql, parameters) = (&case.sql, &case.parameters);
    let cluster = sides.cluster.ask(protocol, sql, parameters).await;
    let expected = match &case.kind {
        Kind::Refused(id) => Some(id.as_str()),
        _ => None,
    };
    if expected.is_some() || cluster.refusal().is_some() {
        refuse_as_well(sides, &cluster).await;
        let is_so = cluster.refusal() == expected;
        return (!is_so).then(|| format!("refused or not\n--- cluster\n{cluster}"));
    }
    let oracle = sides.oracle.ask(protocol, sql, parameters).await;
    if let (Kind::Query { .. }, Some(failure)) = (&case.kind, &oracle.failure) {
        return Some(format!("no query for PostgreSQL: {}", failure.message));
    }
    let in_any_order = matches!(
        case.kind,
        Kind::Query { ordered: false, .. } | Kind::Statement
    );
    let difference = sides.difference(&cluster, &oracle, in_any_order).await?;
    Some(format!(
        "{difference} differ\n--- cluster\n{cluster}\n--- PostgreSQL\n{oracle}"
    ))
}

/// A refusal fails an open transaction, so that it must fail at the other side as well.
async fn refuse_as_well(sides: &mut Sides, cluster: &Answer) {
    if cluster.status == b'E' {
        let oracle = &mut sides.oracle;
        oracle
            .ask(Protocol::Simple, "refused as on the cluster", &[])
            .await;
    }
}

pub const PROTOCOLS: [(&str, Protocol); 3] = [
    ("simple", Protocol::Simple),
    ("extended_text", Protocol::Extended(Format::Text)),
    ("extended_binary", Protocol::Extended(Format::Binary)),
];
