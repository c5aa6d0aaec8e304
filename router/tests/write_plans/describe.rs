//! A plan in a few short lines.

use std::fmt::Write as _;

use router::plan::gather::Fragment;
use router::plan::gather::template::Handed;
use router::plan::insert_rows::{Destination, InsertRows};
use router::plan::key::{Arithmetic, Constant};
use router::plan::{
    Action, AppendedId, ByKey, Copies, Copy, Ddl, Effect, KeyExpr, Piece, Plan, SequenceName, Split,
};

pub fn plan(plan: &Plan) -> String {
    let mut out = action(&plan.action);
    let marks = effect(plan.effect);
    if !marks.is_empty() {
        writeln!(out, "  effect: {marks}").expect("a string takes all");
    }
    if plan.by_shape {
        out.push_str("  by shape\n");
    }
    for notice in &plan.notices {
        writeln!(out, "  notice {}: {notice}", notice.id).expect("a string takes all");
    }
    out
}

fn effect(effect: Effect) -> String {
    let marks = [
        (effect.writes, "writes"),
        (effect.pins, "pins"),
        (effect.unpreparable, "unpreparable"),
        (effect.returns_rows, "rows"),
        (effect.outside_transaction, "outside"),
    ];
    marks
        .iter()
        .filter(|mark| mark.0)
        .map(|mark| mark.1)
        .collect::<Vec<_>>()
        .join(" ")
}

fn action(action: &Action) -> String {
    match action {
        Action::Refuse(error) => format!("refuse {} {}: {error}\n", error.sqlstate, error.id),
        Action::ByKey(by_key_plan) => by_key(by_key_plan),
        Action::Split(Split::Insert(insert)) => {
            let mut out = format!(
                "split returning={} skips={}\n",
                insert.returning, insert.may_skip_rows
            );
            writeln!(out, "  head: {}", pieces(&insert.head)).expect("a string takes all");
            for row in &insert.rows {
                writeln!(out, "  {} -> {}", key(&row.key), pieces(&row.text))
                    .expect("a string takes all");
            }
            writeln!(out, "  tail: {}", pieces(&insert.tail)).expect("a string takes all");
            out
        }
        Action::Broadcast(broadcast) => {
            let mut out = String::from("broadcast\n");
            if let Some(rewrite) = &broadcast.rewrite {
                writeln!(out, "  text: {}", pieces(&rewrite.pieces)).expect("a string takes all");
            }
            if let Copies::Mirrored(mirror) = &broadcast.copies {
                let first = if mirror.at_home { "home" } else { "one shard" };
                writeln!(
                    out,
                    "  {first} first, {} columns for the client, others: {}",
                    mirror.visible,
                    template(&mirror.copy.fragments)
                )
                .expect("a string takes all");
            }
            out
        }
        Action::InsertRows(rows) => insert_rows(rows),
        Action::InParts(it) => {
            let mut out = String::from("in parts\n");
            for part in &it.parts {
                writeln!(out, "  {}: {}", part.name, part.text).expect("a string takes all");
            }
            let text = it.rest_text.as_deref().unwrap_or("the client's own");
            writeln!(out, "  rest: {text}").expect("a string takes all");
            out
        }
        Action::Ddl(statement) => ddl(statement),
        Action::Copy(Copy::FromDivided(copy)) => format!(
            "copy divided by field {} {:?} ids {}\n  text: {}\n",
            copy.key_field,
            copy.options.format,
            appended(&copy.append_ids),
            copy.text
        ),
        Action::Copy(Copy::FromBroadcast(copy)) => {
            format!(
                "copy to all {:?} ids {}\n  text: {}\n",
                copy.options.format,
                appended(&copy.append_ids),
                copy.text
            )
        }
        Action::Copy(Copy::ToWritten(copy)) => {
            format!(
                "copy written by the router {:?} quoted {:?}\n  query: {}\n  of no rows: {}\n",
                copy.options.format, copy.force_quote, copy.query_text, copy.empty_text
            )
        }
        Action::Copy(Copy::ToConcatenated(copy)) => {
            format!(
                "copy from all {:?}\n  text: {}\n",
                copy.options.format, copy.text
            )
        }
        other => format!("{other:?}\n"),
    }
}

fn insert_rows(rows: &InsertRows) -> String {
    let to = match &rows.destination {
        Destination::Home => "home".to_owned(),
        Destination::Everywhere => "every shard".to_owned(),
        Destination::ByKey(key) => format!("shards by {}", key.name),
    };
    let at_once = if rows.at_once { " at once" } else { "" };
    let mut out = format!("rows of a query to {to}{at_once}\n");
    let source = format!("{:?}", rows.source.action);
    let kind: String = source.chars().take_while(|c| c.is_alphanumeric()).collect();
    writeln!(out, "  query: {} ({kind})", rows.source_text).expect("a string takes all");
    let casts = vec![None; 2 + rows.ids_for(2).len()];
    let text = rows.text(2).render(&[Handed::Arrays(casts)]).text;
    writeln!(out, "  text for two columns: {text}").expect("a string takes all");
    out
}

fn appended(added: &[AppendedId]) -> String {
    let names: Vec<_> = added
        .iter()
        .map(|id| format!("{}:{}", id.column, id.width))
        .collect();
    format!("[{}]", names.join(", "))
}

fn sequences(sequences: &[SequenceName]) -> String {
    let names: Vec<_> = sequences
        .iter()
        .map(|sequence| sequence.name.as_str())
        .collect();
    format!("[{}]", names.join(", "))
}

fn by_key(plan: &ByKey) -> String {
    let mut out = format!("by key {}\n", key(&plan.key));
    if let Some(rewrite) = &plan.rewrite {
        writeln!(out, "  text: {}", pieces(&rewrite.pieces)).expect("a string takes all");
    }
    out
}

fn ddl(ddl: &Ddl) -> String {
    let mut out = String::from("ddl");
    for (marked, mark) in [
        (ddl.outside_transaction, " outside"),
        (!ddl.changes_catalog, " same catalog"),
        (ddl.home_last, " home last"),
    ] {
        out.push_str(if marked { mark } else { "" });
    }
    out.push('\n');
    let mut line =
        |name: &str, text: &str| writeln!(out, "  {name}: {text}").expect("a string takes all");
    line("text", &ddl.text);
    if let Some(text) = &ddl.text_other_shards {
        line("other shards", text);
    }
    if let Some(insert) = &ddl.fill {
        line("filled by", insert);
    }
    ddl.home_also
        .iter()
        .for_each(|text| line("home also", text));
    ddl.every_shard_also
        .iter()
        .for_each(|text| line("every shard also", text));
    ddl.other_shards_also
        .iter()
        .for_each(|text| line("other shards also", text));
    if let Some(undo) = &ddl.undo {
        line("undo", undo);
    }
    if let Some(undo) = &ddl.undo_failed {
        line("undo failed", undo);
    }
    if let Some(database) = &ddl.database {
        line("database", &format!("{database:?}"));
    }
    if let Some(hole) = &ddl.password {
        line("password", &ddl.text[hole.start..hole.end]);
    }
    if !ddl.reset_sequences.is_empty() {
        line("reset", &sequences(&ddl.reset_sequences));
    }
    out
}

fn pieces(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::NextId(sequence) => format!("<next {}>", sequence.name),
            Piece::CurrentId(Some(sequence)) => format!("<current {}>", sequence.name),
            Piece::CurrentId(None) => "<last>".to_owned(),
            Piece::Parameter(number) => format!("<${number}>"),
        })
        .collect()
}

fn key(key_expression: &KeyExpr) -> String {
    match key_expression {
        KeyExpr::Parameter {
            number,
            cast_to: None,
        } => format!("${number}"),
        KeyExpr::SharedParameter { number, .. } => format!("${number} (shared)"),
        KeyExpr::Parameter {
            number,
            cast_to: Some(oid),
        } => format!("${number}::{oid}"),
        KeyExpr::Literal { value, cast_to, .. } => {
            let cast = cast_to.map(|oid| format!("::{oid}")).unwrap_or_default();
            match value {
                Constant::Integer(value) => format!("{value}{cast}"),
                Constant::String(value) => format!("'{value}'{cast}"),
                other => format!("{other:?}{cast}"),
            }
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

fn template(fragments: &[Fragment]) -> String {
    let fragment = |fragment: &Fragment| match fragment {
        Fragment::Text(text) => text.clone(),
        Fragment::Rows(pull) => format!("<rows {pull}>"),
        other => format!("{other:?}"),
    };
    fragments.iter().map(fragment).collect()
}
