//! Random statements on the tables of a [`Schema`].

use super::schema::{Schema, Table, Unique};
use crate::differential::dice::Dice;

/// A small world, so that rows meet.
pub const VALUES: i64 = 14;

const NAMES: [&str; 14] = [
    "ann", "Ann", "bob", "BOB", "cy", "dee", "Dee", "eve", "fox", "gus", "hal", "ida", "jo", "kim",
];

const INSERTED: &str = "id, owner, u, name, a, b, label, n";

#[derive(Debug, Clone)]
pub struct Statement {
    pub sql: String,
    /// The lines of a COPY.
    pub copied: Option<String>,
    /// Touches several rows, maybe: which of several violations is told of is open.
    pub many: bool,
}

impl Statement {
    pub fn of(sql: impl Into<String>) -> Statement {
        Statement {
            sql: sql.into(),
            copied: None,
            many: false,
        }
    }

    fn many(sql: String) -> Statement {
        Statement {
            many: true,
            ..Statement::of(sql)
        }
    }

    pub fn random(dice: &mut Dice, schema: &Schema) -> Statement {
        let table = dice.pick(&schema.tables);
        let kinds: &[(usize, Kind)] = &[
            (24, insert),
            (8, insert_select),
            (6, copy),
            (14, upsert),
            (26, update),
            (5, update_many),
            (14, delete),
            (8, merge),
            (1, truncate),
            (3, |dice, _, _| set_constraints(dice)),
            (4, read),
        ];
        dice.weighted(kinds)(dice, schema, table)
    }
}

/// Makes a statement of its kind.
type Kind = fn(&mut Dice, &Schema, &Table) -> Statement;

fn number(dice: &mut Dice) -> i64 {
    dice.between(1, VALUES)
}

fn value(dice: &mut Dice) -> String {
    match dice.below(7) {
        0 => "null".to_owned(),
        _ => number(dice).to_string(),
    }
}

/// A reference: most rows have none.
fn reference(dice: &mut Dice) -> String {
    match dice.below(9) {
        0..5 => "null".to_owned(),
        5 => "default".to_owned(),
        _ => number(dice).to_string(),
    }
}

fn name(dice: &mut Dice) -> String {
    format!("'{}'", dice.word(&NAMES))
}

fn label(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => name(dice),
        _ => "null".to_owned(),
    }
}

fn row(dice: &mut Dice) -> Vec<String> {
    vec![
        number(dice).to_string(),
        number(dice).to_string(),
        value(dice),
        name(dice),
        reference(dice),
        reference(dice),
        label(dice),
        value(dice),
    ]
}

fn tuple(dice: &mut Dice) -> String {
    format!("({})", row(dice).join(", "))
}

fn returning(dice: &mut Dice) -> &'static str {
    match dice.below(5) {
        0 => " returning id, u, name",
        _ => "",
    }
}

/// A column with a new value.
fn assignment(dice: &mut Dice) -> String {
    match dice.below(10) {
        0..2 => format!("u = {}", value(dice)),
        2 => format!("name = {}", name(dice)),
        3 => format!("a = {}", reference(dice)),
        4 => format!("b = {}", reference(dice)),
        5 => format!("label = {}", label(dice)),
        6 => format!("id = {}", number(dice)),
        7 => format!("owner = {}", number(dice)),
        8 => format!("u = {}, n = {}", value(dice), value(dice)),
        _ => format!("n = {}", value(dice)),
    }
}

/// Picks a row, or a few.
fn condition(dice: &mut Dice) -> String {
    match dice.below(10) {
        0..4 => format!("id = {}", number(dice)),
        4..6 => format!("u = {}", number(dice)),
        6 => format!("owner = {}", number(dice)),
        7 => format!("name = {}", name(dice)),
        8 => format!("lower(name) = lower({})", name(dice)),
        _ => format!("id in ({}, {})", number(dice), number(dice)),
    }
}

fn insert(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    let count = if dice.chance(65) {
        1
    } else {
        dice.between(2, 4)
    };
    let rows: Vec<_> = (0..count).map(|_| tuple(dice)).collect();
    let sql = format!(
        "insert into {} ({INSERTED}) values {}{}",
        table.name,
        rows.join(", "),
        returning(dice)
    );
    Statement {
        many: count > 1,
        ..Statement::of(sql)
    }
}

fn insert_select(dice: &mut Dice, schema: &Schema, table: &Table) -> Statement {
    let from = &dice.pick(&schema.tables).name;
    let shift = dice.between(0, 5);
    Statement::many(format!(
        "insert into {} ({INSERTED}) select id + {shift}, owner, u + {shift}, name || '{shift}', null, null, label, n \
         from {from} where {}",
        table.name,
        condition(dice)
    ))
}

fn copy(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    let count = dice.between(1, 3);
    let mut lines = String::new();
    for _ in 0..count {
        let values = row(dice).into_iter().map(|value| match value.as_str() {
            "null" | "default" => "\\N".to_owned(),
            _ => value.trim_matches('\'').to_owned(),
        });
        lines += &values.collect::<Vec<_>>().join("\t");
        lines.push('\n');
    }
    Statement {
        sql: format!("copy {} ({INSERTED}) from stdin", table.name),
        copied: Some(lines),
        many: count > 1,
    }
}

fn upsert(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    let count = if dice.chance(75) { 1 } else { 2 };
    let rows: Vec<_> = (0..count).map(|_| tuple(dice)).collect();
    let unique = dice.any(&table.uniques);
    let target = unique.map(|unique| target(dice, unique));
    let action = match (&target, dice.below(3)) {
        (None, _) | (_, 0) => "do nothing".to_owned(),
        (_, 1) => format!("do update set n = {}", value(dice)),
        _ => format!(
            "do update set {}, n = excluded.n",
            ["u = excluded.u", "name = excluded.name", "a = null"][dice.below(3)]
        ),
    };
    let target = match (target, action.as_str()) {
        (Some(_), "do nothing") if dice.chance(40) => String::new(),
        (target, _) => target.unwrap_or_default(),
    };
    let sql = format!(
        "insert into {} as i ({INSERTED}) values {} on conflict {target} {action}{}",
        table.name,
        rows.join(", "),
        returning(dice).replace("id, u, name", "i.id, i.u, i.name")
    );
    Statement {
        many: count > 1,
        ..Statement::of(sql)
    }
}

fn target(dice: &mut Dice, unique: &Unique) -> String {
    let is_constraint = unique.condition.is_none() && !unique.columns[0].contains('(');
    match unique.condition {
        _ if is_constraint && dice.chance(30) => format!("on constraint {}", unique.name),
        Some(condition) => format!("({}) where {condition}", unique.columns.join(", ")),
        None => format!("({})", unique.columns.join(", ")),
    }
}

fn update(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    Statement::many(format!(
        "update {} set {} where {}{}",
        table.name,
        assignment(dice),
        condition(dice),
        returning(dice)
    ))
}

/// Values that no row of before has: PostgreSQL checks each row by itself, and so in an order of its own.
fn update_many(dice: &mut Dice, schema: &Schema, table: &Table) -> Statement {
    let name = &table.name;
    let bound = number(dice);
    let sql = match dice.below(6) {
        0 => format!("update {name} set u = u + 100 where u between {bound} and 60"),
        1 => format!("update {name} set u = u - 100 where u > 100"),
        2 => format!("update {name} set id = id + 100 where id between {bound} and 60"),
        3 => format!("update {name} set a = null, label = null where n > {bound}"),
        4 => format!(
            "update {name} set name = name || 'x' where owner > {bound} and length(name) < 6"
        ),
        _ => {
            let from = &dice.pick(&schema.tables).name;
            format!(
                "update {name} set n = {bound} where u in (select u from {from} where id > {bound})"
            )
        }
    };
    Statement::many(sql)
}

fn delete(dice: &mut Dice, schema: &Schema, table: &Table) -> Statement {
    let condition = match dice.below(8) {
        0 => format!("u > {}", number(dice)),
        1 => {
            let from = &dice.pick(&schema.tables).name;
            format!("id in (select a from {from} where id = {})", number(dice))
        }
        2 if dice.chance(20) => "true".to_owned(),
        _ => condition(dice),
    };
    Statement::many(format!(
        "delete from {} where {condition}{}",
        table.name,
        returning(dice)
    ))
}

fn merge(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    let by = dice.word(&["id", "u", "owner"]);
    let matched = match dice.below(3) {
        0 => "delete".to_owned(),
        1 => "do nothing".to_owned(),
        _ => format!("update set {}", assignment(dice)),
    };
    Statement::many(format!(
        "merge into {} t using (values ({}, {}), ({}, {})) s (k, x) on t.{by} = s.k \
         when matched then {matched} \
         when not matched then insert ({INSERTED}) values (s.k, s.x, s.k, {}, null, null, null, {})",
        table.name,
        number(dice),
        number(dice),
        number(dice),
        number(dice),
        name(dice),
        value(dice)
    ))
}

fn truncate(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    let cascade = if dice.chance(60) { " cascade" } else { "" };
    Statement::of(format!("truncate {}{cascade}", table.name))
}

fn set_constraints(dice: &mut Dice) -> Statement {
    let mode = dice.word(&["deferred", "immediate"]);
    Statement::of(format!("set constraints all {mode}"))
}

fn read(dice: &mut Dice, _: &Schema, table: &Table) -> Statement {
    Statement::of(format!(
        "select * from {} where {}",
        table.name,
        condition(dice)
    ))
}
