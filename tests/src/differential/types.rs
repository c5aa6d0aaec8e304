//! The types of the tables' columns, and values of them.

use super::dice::Dice;

/// A type that expressions are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    /// numeric(12,2): all of one scale, so that equal values look alike.
    Money,
    /// Any other numeric.
    Numeric,
    /// Only values of few binary digits, so that sums do not depend on the order.
    Float,
    Text,
    /// text COLLATE "C".
    TextC,
    Varchar,
    Char,
    Date,
    Timestamp,
    Uuid,
    Jsonb,
    TextArray,
    Mood,
    Bytea,
}

/// All types of columns.
pub const ALL: [Type; 17] = [
    Type::Bool,
    Type::Int2,
    Type::Int4,
    Type::Int8,
    Type::Money,
    Type::Float,
    Type::Text,
    Type::TextC,
    Type::Varchar,
    Type::Char,
    Type::Date,
    Type::Timestamp,
    Type::Uuid,
    Type::Jsonb,
    Type::TextArray,
    Type::Mood,
    Type::Bytea,
];

impl Type {
    /// As SQL writes it.
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "boolean",
            Type::Int2 => "int2",
            Type::Int4 => "int4",
            Type::Int8 => "int8",
            Type::Money => "numeric(12,2)",
            Type::Numeric => "numeric",
            Type::Float => "float8",
            Type::Text | Type::TextC => "text",
            Type::Varchar => "varchar(12)",
            Type::Char => "char(6)",
            Type::Date => "date",
            Type::Timestamp => "timestamptz",
            Type::Uuid => "uuid",
            Type::Jsonb => "jsonb",
            Type::TextArray => "text[]",
            Type::Mood => "mood",
            Type::Bytea => "bytea",
        }
    }

    /// Of `pg_type`; 0 for a type that every server numbers itself.
    pub fn oid(self) -> u32 {
        match self {
            Type::Bool => 16,
            Type::Bytea => 17,
            Type::Int8 => 20,
            Type::Int2 => 21,
            Type::Int4 => 23,
            Type::Text | Type::TextC => 25,
            Type::Float => 701,
            Type::TextArray => 1009,
            Type::Char => 1042,
            Type::Varchar => 1043,
            Type::Date => 1082,
            Type::Timestamp => 1184,
            Type::Money | Type::Numeric => 1700,
            Type::Uuid => 2950,
            Type::Jsonb => 3802,
            Type::Mood => 0,
        }
    }

    /// Whether equal values look alike: only then does it not matter which of them GROUP BY shows.
    pub fn is_settled(self) -> bool {
        // 1.0 and 1.00 are equal, as are character(n) values that end in blanks.
        !matches!(self, Type::Numeric | Type::Char)
    }

    pub fn is_text(self) -> bool {
        matches!(self, Type::Text | Type::TextC | Type::Varchar)
    }
}

/// A value written into a statement: as text, or sent as a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    pub type_: Type,
    /// In PostgreSQL's text format; none is NULL.
    pub value: Option<String>,
    /// Without its type where SQL can do without.
    pub plain: bool,
}

impl Literal {
    pub fn null(type_: Type) -> Literal {
        Literal {
            type_,
            value: None,
            plain: false,
        }
    }

    pub fn integer(type_: Type, value: i64) -> Literal {
        Literal {
            type_,
            value: Some(value.to_string()),
            plain: true,
        }
    }

    /// As SQL writes it.
    pub fn sql(&self) -> String {
        let name = self.type_.name();
        let Some(value) = &self.value else {
            return format!("NULL::{name}");
        };
        match self.type_ {
            Type::Int4 | Type::Int8 | Type::Int2 if self.plain => negative_in_parentheses(value),
            Type::Bool => value.clone(),
            _ if self.plain && self.type_.is_text() => quoted(value),
            _ => format!("{}::{name}", quoted(value)),
        }
    }

    /// In PostgreSQL's binary format, for the types where that is simple.
    pub fn binary(&self) -> Option<Vec<u8>> {
        let value = self.value.as_deref()?;
        match self.type_ {
            Type::Bool => Some(vec![u8::from(value == "true")]),
            Type::Int2 => Some(value.parse::<i16>().ok()?.to_be_bytes().into()),
            Type::Int4 => Some(value.parse::<i32>().ok()?.to_be_bytes().into()),
            Type::Int8 => Some(value.parse::<i64>().ok()?.to_be_bytes().into()),
            Type::Float => Some(value.parse::<f64>().ok()?.to_be_bytes().into()),
            Type::Text | Type::TextC | Type::Varchar => Some(value.as_bytes().into()),
            Type::Uuid => Some(value.parse::<uuid::Uuid>().ok()?.as_bytes().to_vec()),
            _ => None,
        }
    }
}

fn negative_in_parentheses(value: &str) -> String {
    if value.starts_with('-') {
        format!("({value})")
    } else {
        value.to_owned()
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Many equal values, upper and lower case, blanks, accents, and what hurts careless quoting.
const WORDS: [&str; 28] = [
    "", "a", "A", "ab", "Ab", "aB", "abc", "b", "B", "Ada", "ada", "Bob", "bob", "eve", "Eve",
    "zoe", "Zoë", "éa", "ea", "o'b", "a b", "a-b", "a_b", "10%", "x\\y", "\"q\"", "Ünal", "😀",
];

/// Value lists of types that have few.
const MOODS: [&str; 4] = ["calm", "glad", "sad", "tense"];
const DOCUMENTS: [&str; 8] = [
    r#"{}"#,
    r#"{"a": 1}"#,
    r#"{"a": 2, "b": "x"}"#,
    r#"{"b": "y", "c": [1, 2]}"#,
    r#"{"a": null}"#,
    r#"{"a": {"b": 3}}"#,
    r#"{"k": true, "a": 1}"#,
    r#"{"c": []}"#,
];
const ARRAYS: [&str; 8] = [
    "{}",
    "{a}",
    "{b,a}",
    "{a,NULL}",
    "{rust,sql}",
    "{sql}",
    "{\"x y\",z}",
    "{a,a,b}",
];
const BYTES: [&str; 6] = ["\\x", "\\x00", "\\x6162", "\\xff", "\\xdeadbeef", "\\x61"];

/// A value that is not NULL.
pub fn value(dice: &mut Dice, type_: Type) -> String {
    let owned = |word: &str| word.to_owned();
    match type_ {
        Type::Bool => dice.chance(50).to_string(),
        Type::Int2 => dice.between(-5, 60).to_string(),
        Type::Int4 => dice.between(-20, 100).to_string(),
        Type::Int8 => dice.between(1, 64).to_string(),
        Type::Money | Type::Numeric => {
            format!("{}.{:02}", dice.between(0, 40), 25 * dice.below(4))
        }
        Type::Float => format!("{}", dice.between(-40, 40) as f64 / 4.0),
        Type::Text | Type::TextC | Type::Varchar => owned(dice.word(&WORDS)),
        Type::Char => owned(dice.word(&WORDS)).chars().take(6).collect(),
        Type::Date => format!("2024-{:02}-{:02}", 1 + dice.below(3), 1 + dice.below(28)),
        Type::Timestamp => format!(
            "2024-{:02}-{:02} {:02}:30:00+00",
            1 + dice.below(3),
            1 + dice.below(28),
            dice.below(24)
        ),
        Type::Uuid => format!("00000000-0000-4000-8000-{:012}", dice.below(30)),
        Type::Jsonb => owned(dice.word(&DOCUMENTS)),
        Type::TextArray => owned(dice.word(&ARRAYS)),
        Type::Mood => owned(dice.word(&MOODS)),
        Type::Bytea => owned(dice.word(&BYTES)),
    }
}

/// A literal, now and then NULL.
pub fn literal(dice: &mut Dice, type_: Type) -> Literal {
    let value = (!dice.chance(4)).then(|| value(dice, type_));
    Literal {
        type_,
        value,
        plain: dice.chance(60),
    }
}
