//! A plan in a few lines of text.

use router::merge::Merge;
use router::plan::gather::locked::LockedTable;
use router::plan::gather::{Argument, Finish, Fragment, Gather, Source};
use router::plan::key::{Arithmetic, Constant};
use router::plan::parts::Part;
use router::plan::{Action, Broadcast, Copies, Fallback, KeyExpr, Piece, Plan, Scatter, Split};

pub fn plan(plan: &Plan) -> String {
    let mut out = action(&plan.action);
    let effect = plan.effect;
    let flags = [
        (plan.by_shape, "by-shape"),
        (effect.writes, "writes"),
        (effect.pins, "pins"),
        (effect.unpreparable, "unpreparable"),
        (
            !effect.returns_rows && !matches!(plan.action, Action::Refuse(_)),
            "no-rows",
        ),
    ];
    for (_, flag) in flags.iter().filter(|(set, _)| *set) {
        out.push(' ');
        out.push_str(flag);
    }
    for detail in details(&plan.action) {
        out.push_str("\n  ");
        out.push_str(&detail);
    }
    out
}

fn action(action: &Action) -> String {
    match action {
        Action::AnyShard => "any shard".to_owned(),
        Action::Home => "home".to_owned(),
        Action::ByKey(by) => format!("key {} {:?}", key(&by.key), by.key_type),
        Action::Split(Split::Keys { keys, .. }) => {
            format!(
                "keys {}",
                keys.iter().map(key).collect::<Vec<_>>().join(", ")
            )
        }
        Action::Split(Split::KeyArray { array, .. }) => format!("key array {}", key(array)),
        Action::Scatter(_) => "scatter".to_owned(),
        Action::Gather(plan) => format!("gather: {}", plan.why),
        Action::Broadcast(_) => "broadcast".to_owned(),
        Action::Explain(explain) => {
            format!(
                "explain analyze={} format={} of: {}",
                explain.analyze,
                explain.format,
                plan(&explain.inner)
            )
        }
        Action::InsertRows(rows) => format!("rows of {}", self::action(&rows.source.action)),
        Action::InParts(_) => "in parts".to_owned(),
        Action::Refuse(error) => format!(
            "refused {}",
            if error.id.is_empty() {
                error.sqlstate
            } else {
                error.id
            }
        ),
        other => format!("{other:?}"),
    }
}

fn details(action: &Action) -> Vec<String> {
    match action {
        Action::Scatter(plan)
        | Action::Split(
            Split::Keys { scatter: plan, .. } | Split::KeyArray { scatter: plan, .. },
        ) => scatter(plan),
        Action::Gather(plan) => gather(plan),
        Action::InsertRows(rows) => vec![
            rows.source_text.clone(),
            format!(
                "{}<rows>{}",
                template(&rows.parts.head.fragments),
                template(&rows.parts.tail.fragments)
            ),
        ],
        Action::InParts(it) => {
            let part = |part: &Part| {
                [
                    vec![format!("part {}: {}", part.name, part.text)],
                    indented(&part.plan),
                ]
                .concat()
            };
            let text = it.rest_text.iter().map(|text| format!("text: {text}"));
            let mut lines: Vec<String> = it.parts.iter().flat_map(part).collect();
            lines.push("rest".to_owned());
            lines.extend(text);
            lines.extend(indented(&it.rest));
            lines
        }
        Action::Broadcast(plan) => mirror(plan),
        Action::ByKey(by) => match &by.fallback {
            Fallback::Refuse(error) => vec![format!("else refused {}", error.id)],
            Fallback::Scatter(_) => vec!["else scatter".to_owned()],
        },
        Action::Refuse(error) => error.detail.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

fn indented(inner: &Plan) -> Vec<String> {
    plan(inner)
        .lines()
        .map(|line| format!("  {line}"))
        .collect()
}

fn mirror(plan: &Broadcast) -> Vec<String> {
    let (Copies::Mirrored(mirror), Some(rewrite)) = (&plan.copies, &plan.rewrite) else {
        return Vec::new();
    };
    let first = if mirror.at_home { "home" } else { "one shard" };
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let text: String = rewrite.pieces.iter().map(piece).collect();
    vec![
        format!(
            "{first} ({} columns for the client): {text}",
            mirror.visible
        ),
        format!("others: {}", template(&mirror.copy.fragments)),
    ]
}

fn gather(plan: &Gather) -> Vec<String> {
    let mut lines = Vec::new();
    for pull in &plan.pulls {
        let optional = if pull.is_optional { " (optional)" } else { "" };
        lines.push(format!(
            "pull {} from {}{optional}: {}",
            pull.name,
            source(&pull.source),
            template(&pull.text.fragments)
        ));
    }
    let place = match &plan.place {
        Finish::Apart { home: true } => "apart at home".to_owned(),
        Finish::Apart { home: false } => "apart".to_owned(),
        Finish::Locked { home, locks } => {
            let lock = |table: &LockedTable| {
                format!("{} {}{}", table.name, table.clause, table.wait.sql())
            };
            let locked: Vec<String> = locks.tables.iter().map(lock).collect();
            let home = if *home { " at home" } else { "" };
            format!("apart{home}, locked {}", locked.join(", "))
        }
        Finish::Mirrored(mirror) => format!(
            "on one shard ({} columns for the client), others: {};",
            mirror.visible,
            template(&mirror.copy.fragments)
        ),
        Finish::Shards {
            source: on,
            merge: way,
            ..
        } => format!("on {} {}", source(on), merge(way)),
    };
    lines.push(format!(
        "finish {place}: {}",
        template(&plan.finish.fragments)
    ));
    lines
}

fn source(source: &Source) -> String {
    match source {
        Source::Everywhere => "everywhere".to_owned(),
        Source::Key { key: one, .. } => format!("key {}", key(one)),
        Source::Keys { keys, .. } => {
            format!(
                "keys {}",
                keys.iter().map(key).collect::<Vec<_>>().join(", ")
            )
        }
        Source::KeyArray { array, .. } => format!("key array {}", key(array)),
        Source::Home => "home".to_owned(),
        Source::AnyShard => "any shard".to_owned(),
        Source::Part(number) => format!("part {number}"),
    }
}

/// `{..}` for what is filled in.
fn template(fragments: &[Fragment]) -> String {
    let pieces = fragments.iter().map(|fragment| match fragment {
        Fragment::Text(text) => text.clone(),
        Fragment::Argument(Argument::Client(number)) => format!("${number}"),
        Fragment::Argument(Argument::Clock) => "{clock}".to_owned(),
        Fragment::IfArrays { fragments, .. } => format!("{{if few:{}}}", template(fragments)),
        Fragment::Rows(pull) => format!("{{rows {pull}}}"),
        Fragment::Table {
            pulled, in_place, ..
        } => format!("{{{} or {in_place}}}", template(pulled)),
    });
    pieces.collect()
}

fn scatter(plan: &Scatter) -> Vec<String> {
    let mut lines = vec![merge(&plan.merge)];
    lines.extend(plan.text.iter().map(|text| format!("text: {text}")));
    lines
}

fn merge(merge: &Merge) -> String {
    match merge {
        Merge::Concatenate { limit, offset } => {
            format!("concatenate limit={limit:?} offset={offset:?}")
        }
        Merge::CountOnly => "count".to_owned(),
        Merge::Sort {
            keys,
            limit,
            offset,
            hidden,
        } => {
            format!(
                "sort {} hidden={hidden} limit={limit:?} offset={offset:?}",
                sort_keys(keys)
            )
        }
        Merge::Aggregate {
            columns,
            sort,
            limit,
            offset,
        } => {
            format!(
                "fold {columns:?} sort {} limit={limit:?} offset={offset:?}",
                sort_keys(sort)
            )
        }
    }
}

fn sort_keys(keys: &[router::merge::SortKey]) -> String {
    let keys = keys.iter().map(|key| {
        let direction = if key.descending { "desc" } else { "asc" };
        let nulls = if key.nulls_first { " nulls first" } else { "" };
        format!("{}:{:?} {direction}{nulls}", key.column, key.order)
    });
    format!("[{}]", keys.collect::<Vec<_>>().join(", "))
}

fn key(expression: &KeyExpr) -> String {
    let cast = |oid: &Option<u32>| oid.map(|oid| format!("::{oid}")).unwrap_or_default();
    match expression {
        KeyExpr::Parameter { number, cast_to } => format!("${number}{}", cast(cast_to)),
        KeyExpr::SharedParameter { number, cast_to } => {
            format!("${number}{} (shared)", cast(cast_to))
        }
        KeyExpr::Literal {
            negative,
            value,
            cast_to,
            location,
        } => {
            let sign = if *negative { "-" } else { "" };
            let value = match value {
                Constant::Integer(value) => value.to_string(),
                Constant::String(value) => format!("'{value}'"),
                other => format!("{other:?}"),
            };
            format!("{sign}{value}{}@{location}", cast(cast_to))
        }
        KeyExpr::Arithmetic {
            operator,
            left,
            right,
        } => {
            let sign = match operator {
                Arithmetic::Add => '+',
                Arithmetic::Subtract => '-',
                Arithmetic::Multiply => '*',
            };
            format!("({} {sign} {})", key(left), key(right))
        }
        KeyExpr::GeneratedId(number) => format!("id#{number}"),
    }
}
