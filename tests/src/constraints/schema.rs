//! Random tables with unique keys that do not contain the shard key and foreign keys that leave the shard.

use std::fmt::Write as _;

use crate::differential::dice::Dice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Local,
    Reference,
    ById,
    ByOwner,
    /// A text.
    ByName,
}

impl Place {
    /// The column that the rows are divided by.
    pub fn key(self) -> Option<&'static str> {
        match self {
            Place::Local | Place::Reference => None,
            Place::ById => Some("id"),
            Place::ByOwner => Some("owner"),
            Place::ByName => Some("name"),
        }
    }
}

/// A primary key, unique constraint or unique index.
#[derive(Debug, Clone)]
pub struct Unique {
    pub name: String,
    /// As they stand in the key: `lower(name)`.
    pub columns: &'static [&'static str],
    /// Of a partial index.
    pub condition: Option<&'static str>,
    pub nulls_alike: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Primary,
    Constraint,
    Index,
}

#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    pub columns: &'static [&'static str],
    pub parent: usize,
    pub parent_columns: &'static [&'static str],
    rest: String,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub place: Place,
    pub uniques: Vec<Unique>,
    pub keys: Vec<Key>,
}

#[derive(Debug, Clone)]
pub struct Schema {
    pub tables: Vec<Table>,
    /// Whether tables are placed after their foreign keys are there.
    pub placed_late: bool,
}

const ACTIONS: [&str; 5] = [
    "no action",
    "restrict",
    "cascade",
    "set null",
    "set default",
];

impl Schema {
    pub fn random(dice: &mut Dice) -> Schema {
        let count = dice.between(2, 4).unsigned_abs() as usize;
        let mut tables: Vec<Table> = (0..count)
            .map(|number| Table::random(dice, number))
            .collect();
        for number in 0..count {
            for columns in [&["a"][..], &["b"], &["label"], &["a", "b"]] {
                let percent = if columns.len() > 1 { 35 } else { 70 };
                if dice.chance(percent)
                    && let Some(key) = Key::random(dice, &tables, number, columns)
                {
                    tables[number].keys.push(key);
                }
            }
        }
        Schema {
            tables,
            placed_late: dice.chance(50),
        }
    }

    pub fn create(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for table in &self.tables {
            let name = &table.name;
            let mut sql = format!(
                "create table {name} (id int not null, owner int not null, u int, name text not null, \
                 a int default 3, b int default 4, label text, n int"
            );
            for unique in &table.uniques {
                let columns = unique.columns.join(", ");
                let nulls = if unique.nulls_alike {
                    "nulls not distinct "
                } else {
                    ""
                };
                let _ = match unique.kind {
                    Kind::Primary => {
                        write!(sql, ", constraint {} primary key ({columns})", unique.name)
                    }
                    Kind::Constraint => {
                        write!(
                            sql,
                            ", constraint {} unique {nulls}({columns})",
                            unique.name
                        )
                    }
                    Kind::Index => Ok(()),
                };
            }
            statements.push(format!("{sql})"));
            let indexes = table
                .uniques
                .iter()
                .filter(|unique| unique.kind == Kind::Index);
            statements.extend(indexes.map(|unique| {
                let condition = unique
                    .condition
                    .map_or_else(String::new, |it| format!(" where {it}"));
                format!(
                    "create unique index {} on {name} ({}){condition}",
                    unique.name,
                    unique.columns.join(", ")
                )
            }));
        }
        statements
    }

    pub fn place(&self) -> Vec<String> {
        let place = |table: &Table| {
            let name = &table.name;
            match table.place {
                Place::Local => None,
                Place::Reference => Some(format!("select oskol.reference_table('{name}')")),
                Place::ById => Some(format!("select oskol.shard_table('{name}', 'id')")),
                Place::ByOwner => Some(format!("select oskol.shard_table('{name}', 'owner')")),
                Place::ByName => Some(format!("select oskol.shard_table('{name}', 'name')")),
            }
        };
        self.tables.iter().filter_map(place).collect()
    }

    pub fn keys(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for table in &self.tables {
            statements.extend(table.keys.iter().map(|key| {
                format!(
                    "alter table {} add constraint {} foreign key ({}) references {} ({}) {}",
                    table.name,
                    key.name,
                    key.columns.join(", "),
                    self.tables[key.parent].name,
                    key.parent_columns.join(", "),
                    key.rest
                )
            }));
        }
        statements
    }

    /// All that the cluster needs, in order.
    pub fn for_cluster(&self) -> Vec<String> {
        let mut all = self.create();
        let (first, then) = match self.placed_late {
            true => (self.keys(), self.place()),
            false => (self.place(), self.keys()),
        };
        all.extend(first);
        all.extend(then);
        all
    }

    /// Counts rows that break a constraint: what it says and the query.
    pub fn violations(&self) -> Vec<(String, String)> {
        let mut queries = Vec::new();
        for table in &self.tables {
            for unique in &table.uniques {
                queries.push((
                    format!("duplicates of {}", unique.name),
                    table.duplicates(unique),
                ));
            }
            for key in &table.keys {
                let parent = &self.tables[key.parent].name;
                queries.push((
                    format!("orphans of {}", key.name),
                    table.orphans(key, parent),
                ));
            }
        }
        queries
    }
}

impl Table {
    fn random(dice: &mut Dice, number: usize) -> Table {
        let name = format!("t{number}");
        let place = *dice.weighted(&[
            (1, Place::Local),
            (1, Place::Reference),
            (3, Place::ById),
            (3, Place::ByOwner),
            (1, Place::ByName),
        ]);
        let mut uniques = Vec::new();
        let mut add = |what: &str, columns, kind| {
            uniques.push(Unique {
                name: format!("{name}_{what}"),
                columns,
                condition: None,
                nulls_alike: false,
                kind,
            });
        };
        match dice.below(10) {
            0..6 => add("pkey", &["id"], Kind::Primary),
            6 => add("pkey", &["id", "owner"], Kind::Primary),
            7 => add("pkey", &["owner", "id"], Kind::Primary),
            8 => add("id", &["id"], Kind::Constraint),
            _ => {}
        }
        let mut some = |percent, what, columns, kind| {
            if dice.chance(percent) {
                add(what, columns, kind);
            }
        };
        some(70, "u", &["u"], Kind::Constraint);
        some(20, "un", &["u", "n"], Kind::Constraint);
        some(25, "name", &["name"], Kind::Constraint);
        some(20, "lower", &["lower(name)"], Kind::Index);
        some(20, "part", &["a"], Kind::Index);
        some(15, "nulls", &["b", "n"], Kind::Constraint);
        for unique in &mut uniques {
            unique.condition = unique.name.ends_with("_part").then_some("n > 6");
            unique.nulls_alike = unique.name.ends_with("_nulls");
        }
        Table {
            name,
            place,
            uniques,
            keys: Vec::new(),
        }
    }

    fn duplicates(&self, unique: &Unique) -> String {
        let columns = unique.columns.join(", ");
        let mut conditions: Vec<String> =
            unique.condition.iter().map(ToString::to_string).collect();
        if !unique.nulls_alike {
            conditions.extend(unique.columns.iter().map(|it| format!("{it} is not null")));
        }
        conditions.push("true".to_owned());
        format!(
            "select count(*) from (select {columns} from {} where {} group by {columns} having count(*) > 1) twice",
            self.name,
            conditions.join(" and ")
        )
    }

    fn orphans(&self, key: &Key, parent: &str) -> String {
        let columns = key.columns.iter();
        let present: Vec<_> = columns
            .clone()
            .map(|it| format!("c.{it} is not null"))
            .collect();
        let pairs = columns.zip(key.parent_columns);
        let same: Vec<_> = pairs
            .map(|(child, parent)| format!("p.{parent} = c.{child}"))
            .collect();
        format!(
            "select count(*) from {} c where {} and not exists (select from {parent} p where {})",
            self.name,
            present.join(" and "),
            same.join(" and ")
        )
    }
}

impl Key {
    /// None where no table has a unique key that `columns` could refer to.
    fn random(
        dice: &mut Dice,
        tables: &[Table],
        number: usize,
        columns: &'static [&'static str],
    ) -> Option<Key> {
        let parent = dice.below(tables.len());
        let candidates: Vec<&Unique> = tables[parent]
            .uniques
            .iter()
            .filter(|unique| unique.kind != Kind::Index && !unique.nulls_alike)
            .filter(|unique| unique.columns.len() == columns.len())
            .filter(|unique| (unique.columns == ["name"]) == (columns == ["label"]))
            .collect();
        let parent_columns = dice.any(&candidates)?.columns;
        let mut rest = String::new();
        if columns.len() > 1 && dice.chance(30) {
            rest.push_str("match full ");
        }
        for event in ["delete", "update"] {
            if dice.chance(65) {
                let _ = write!(rest, "on {event} {} ", dice.word(&ACTIONS));
            }
        }
        if dice.chance(40) {
            rest.push_str(dice.word(&["deferrable", "deferrable initially deferred"]));
        }
        Some(Key {
            name: format!("t{number}_{}_fk", columns.join("_")),
            columns,
            parent,
            parent_columns,
            rest,
        })
    }
}
