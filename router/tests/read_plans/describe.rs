//! A plan in a few lines of text.

use router::merge::Merge;
use router::plan::key::{Arithmetic, Constant};
use router::plan::{Action, Fallback, KeyExpr, Plan, Scatter, Split};

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
        Action::Broadcast(_) => "broadcast".to_owned(),
        Action::Explain(explain) => {
            format!(
                "explain analyze={} format={} of: {}",
                explain.analyze,
                explain.format,
                plan(&explain.inner)
            )
        }
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
        Action::ByKey(by) => match &by.fallback {
            Fallback::Refuse(error) => vec![format!("else refused {}", error.id)],
            Fallback::Scatter(_) => vec!["else scatter".to_owned()],
        },
        Action::Refuse(error) => error.detail.iter().cloned().collect(),
        _ => Vec::new(),
    }
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
