//! The social tables: what they look like, and the rows they start with.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::dice::Dice;
use super::types::{self, Literal, Type};

/// Where a table's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// By the first column.
    Sharded,
    Reference,
    Local,
}

/// What a column's values are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Ids of users, 1 to as many as there are.
    User,
    /// The number of the row: 1, 2, 3, ...
    Row,
    /// A country's code.
    Country,
    /// Any value of the type.
    Any,
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub type_: Type,
    pub pool: Pool,
    pub required: bool,
}

#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub placement: Placement,
    pub columns: &'static [Column],
    /// How many of the columns, from the first, are the primary key.
    pub key: usize,
    /// Rows for every hundred asked for.
    pub share: usize,
}

const fn key(name: &'static str, pool: Pool) -> Column {
    Column {
        name,
        type_: Type::Int8,
        pool,
        required: true,
    }
}

const fn of(name: &'static str, type_: Type) -> Column {
    Column {
        name,
        type_,
        pool: Pool::Any,
        required: false,
    }
}

const COUNTRY: Column = Column {
    name: "country",
    type_: Type::Text,
    pool: Pool::Country,
    required: false,
};

pub const COUNTRIES: [&str; 8] = ["at", "be", "ch", "de", "ee", "fr", "ge", "hu"];

/// All of them, parents first.
pub static TABLES: [Table; 8] = [
    Table {
        name: "countries",
        placement: Placement::Reference,
        columns: &[
            Column {
                name: "code",
                type_: Type::Text,
                pool: Pool::Country,
                required: true,
            },
            of("name", Type::Text),
            of("continent", Type::TextC),
            of("people", Type::Int8),
            of("area", Type::Money),
            of("mood", Type::Mood),
        ],
        key: 1,
        share: 0,
    },
    Table {
        name: "settings",
        placement: Placement::Local,
        columns: &[
            key("id", Pool::Row),
            of("name", Type::Text),
            of("value", Type::TextC),
            of("number", Type::Int4),
            of("flag", Type::Bool),
            Column {
                name: "user_id",
                type_: Type::Int8,
                pool: Pool::User,
                required: false,
            },
            of("changed", Type::Timestamp),
        ],
        key: 1,
        share: 20,
    },
    Table {
        name: "users",
        placement: Placement::Sharded,
        columns: &[
            key("id", Pool::Row),
            of("name", Type::Text),
            of("handle", Type::TextC),
            COUNTRY,
            of("age", Type::Int2),
            of("score", Type::Int4),
            of("balance", Type::Money),
            of("active", Type::Bool),
            of("born", Type::Date),
            of("seen", Type::Timestamp),
            of("token", Type::Uuid),
            of("profile", Type::Jsonb),
            of("tags", Type::TextArray),
            of("feeling", Type::Mood),
            of("avatar", Type::Bytea),
            of("ratio", Type::Float),
            of("label", Type::Char),
            of("nick", Type::Varchar),
        ],
        key: 1,
        share: 60,
    },
    Table {
        name: "posts",
        placement: Placement::Sharded,
        columns: &[
            key("author_id", Pool::User),
            key("id", Pool::Row),
            of("title", Type::Text),
            of("body", Type::TextC),
            of("stars", Type::Int4),
            of("price", Type::Money),
            of("published", Type::Timestamp),
            of("open", Type::Bool),
            of("topics", Type::TextArray),
            of("meta", Type::Jsonb),
            of("feeling", Type::Mood),
        ],
        key: 2,
        share: 110,
    },
    Table {
        name: "follows",
        placement: Placement::Sharded,
        columns: &[
            key("follower_id", Pool::User),
            key("followee_id", Pool::User),
            of("since", Type::Date),
            of("close", Type::Bool),
            of("weight", Type::Int2),
        ],
        key: 2,
        share: 120,
    },
    Table {
        name: "likes",
        placement: Placement::Sharded,
        columns: &[
            key("user_id", Pool::User),
            key("post_id", Pool::Row),
            of("at", Type::Timestamp),
            of("kind", Type::Text),
        ],
        key: 2,
        share: 130,
    },
    Table {
        name: "comments",
        placement: Placement::Sharded,
        columns: &[
            key("author_id", Pool::User),
            key("id", Pool::Row),
            Column {
                name: "post_id",
                type_: Type::Int8,
                pool: Pool::User,
                required: false,
            },
            of("body", Type::Text),
            of("stars", Type::Int4),
            of("ratio", Type::Float),
            of("at", Type::Timestamp),
            of("token", Type::Uuid),
        ],
        key: 2,
        share: 110,
    },
    Table {
        name: "messages",
        placement: Placement::Sharded,
        columns: &[
            key("sender_id", Pool::User),
            key("id", Pool::Row),
            Column {
                name: "receiver_id",
                type_: Type::Int8,
                pool: Pool::User,
                required: false,
            },
            of("body", Type::Varchar),
            of("unread", Type::Bool),
            of("sent", Type::Timestamp),
            of("size", Type::Int4),
            of("raw", Type::Bytea),
        ],
        key: 2,
        share: 90,
    },
];

/// An aggregate of the user's own, the same for any order of the rows.
const AGGREGATE: [&str; 2] = [
    "create function longer(a text, b text) returns text language sql immutable strict as $$ \
     select case when length(b) > length(a) or length(b) = length(a) and b collate \"C\" < a collate \"C\" then b else a end $$",
    "create aggregate longest(text) (sfunc = longer, stype = text)",
];

/// A view: its name, its query, its columns.
pub type View = (&'static str, &'static str, &'static [(&'static str, Type)]);

/// Over one table, over joins on the key and off it, over an aggregate, over a set operation.
pub const VIEWS: [View; 6] = [
    (
        "people",
        "select id, name, country, age, balance, seen from users where active",
        &[
            ("id", Type::Int8),
            ("name", Type::Text),
            ("country", Type::Text),
            ("age", Type::Int2),
            ("balance", Type::Money),
            ("seen", Type::Timestamp),
        ],
    ),
    (
        "busy",
        "select author_id, count(*) as posts, max(stars) as best, sum(price) as worth from posts group by author_id",
        &[
            ("author_id", Type::Int8),
            ("posts", Type::Int8),
            ("best", Type::Int4),
            ("worth", Type::Money),
        ],
    ),
    (
        "feed",
        "select p.author_id, p.id, p.title, c.body as comment, c.stars from posts p \
         left join comments c on c.author_id = p.author_id and c.stars > p.stars",
        &[
            ("author_id", Type::Int8),
            ("id", Type::Int8),
            ("title", Type::Text),
            ("comment", Type::Text),
            ("stars", Type::Int4),
        ],
    ),
    (
        "fans",
        "select f.followee_id as user_id, u.name, c.name as country, f.since from follows f \
         join users u on u.id = f.follower_id left join countries c on c.code = u.country",
        &[
            ("user_id", Type::Int8),
            ("name", Type::Text),
            ("country", Type::Text),
            ("since", Type::Date),
        ],
    ),
    (
        "written",
        "select author_id, id, title as text from posts union all select author_id, id, body from comments",
        &[
            ("author_id", Type::Int8),
            ("id", Type::Int8),
            ("text", Type::Text),
        ],
    ),
    (
        "newest",
        "select id, sender_id, sent from messages order by sent desc nulls last, id limit 15",
        &[
            ("id", Type::Int8),
            ("sender_id", Type::Int8),
            ("sent", Type::Timestamp),
        ],
    ),
];

/// Ids that a server makes itself start here; they differ between the cluster and one PostgreSQL.
pub const FIRST_MADE_ID: i64 = 1_000_000;

impl Table {
    fn create(&self) -> String {
        let mut sql = format!("create table {} (", self.name);
        for column in self.columns {
            let _ = write!(sql, "{} {}", column.name, column.type_.name());
            if column.type_ == Type::TextC {
                sql += " collate \"C\"";
            }
            if column.name == "id" {
                let _ = write!(
                    sql,
                    " generated by default as identity (start with {FIRST_MADE_ID})"
                );
            }
            if column.name == "country" {
                sql += " references countries (code)";
            }
            if column.name == "stars" {
                sql += " check (stars < 1000)";
            }
            sql += ", ";
        }
        sql + &format!("primary key ({}))", self.key_names().join(", "))
    }

    pub fn key_names(&self) -> Vec<&'static str> {
        let key = &self.columns[..self.key];
        key.iter().map(|column| column.name).collect()
    }

    /// The rule in the router's configuration.
    fn rule(&self) -> String {
        let placement = match self.placement {
            Placement::Sharded => format!("sharded\"\nkey = \"{}", self.columns[0].name),
            Placement::Reference => "reference".to_owned(),
            Placement::Local => "local".to_owned(),
        };
        format!(
            "[[tables]]\nname = \"{}\"\nplacement = \"{placement}\"\n\n",
            self.name
        )
    }

    /// How many rows it starts with.
    pub fn rows(&self, scale: usize) -> usize {
        match self.placement {
            Placement::Reference => COUNTRIES.len(),
            _ => (self.share * scale / 100).max(4),
        }
    }

    fn insert(&self, dice: &mut Dice, scale: usize) -> Vec<String> {
        let mut keys = BTreeSet::new();
        let mut rows = Vec::new();
        for number in 1..=self.rows(scale) {
            let row = self.row(dice, number, scale);
            if keys.insert(row[..self.key].join(",")) {
                rows.push(format!("({})", row.join(", ")));
            }
        }
        let statement =
            |rows: &[String]| format!("insert into {} values {}", self.name, rows.join(", "));
        rows.chunks(100).map(statement).collect()
    }

    fn row(&self, dice: &mut Dice, number: usize, scale: usize) -> Vec<String> {
        let value = |column: &Column| {
            let value = match column.pool {
                Pool::Row => number.to_string(),
                Pool::Country if column.required => COUNTRIES[number - 1].to_owned(),
                Pool::Country => (*dice.pick(&COUNTRIES)).to_owned(),
                Pool::User => (1 + dice.below(users(scale))).to_string(),
                Pool::Any => types::value(dice, column.type_),
            };
            let null = !column.required && dice.chance(12);
            Literal {
                type_: column.type_,
                value: (!null).then_some(value),
                plain: false,
            }
            .sql()
        };
        self.columns.iter().map(value).collect()
    }
}

/// How many users there are.
pub fn users(scale: usize) -> usize {
    (60 * scale / 100).max(4)
}

/// What makes the types and tables.
pub fn definitions() -> Vec<String> {
    let mut sql = vec!["create type mood as enum ('calm', 'glad', 'sad', 'tense')".to_owned()];
    sql.extend(AGGREGATE.map(str::to_owned));
    sql.extend(TABLES.iter().map(Table::create));
    sql.extend(
        VIEWS
            .iter()
            .map(|(name, query, _)| format!("create view {name} as {query}")),
    );
    sql
}

/// The router's rules for them.
pub fn rules() -> String {
    TABLES.iter().map(Table::rule).collect()
}

/// What empties the tables and fills them with the rows of a seed. `scale` 100 is a few hundred rows in all.
pub fn rows(seed: u64, scale: usize) -> Vec<String> {
    let mut dice = Dice::new(seed);
    let deletes = TABLES.iter().rev();
    let mut sql: Vec<_> = deletes
        .map(|table| format!("delete from {}", table.name))
        .collect();
    for table in &TABLES {
        sql.extend(table.insert(&mut dice, scale));
    }
    sql
}
