//! How the columns of a query travel: in binary as elements of an array, or, where PostgreSQL has no array of
//! them (they are arrays), as text that is cast.

use std::collections::HashMap;

use wire::Format;
use wire::backend::DataRow;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::arrays::built_in;
use super::super::by_key::INT8;
use crate::error::RouterError;
use crate::plan::scope::TEXT;

const INT8_ARRAY: u32 = 1016;
const TEXT_ARRAY: u32 = 1009;

/// By column.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Types of the values, in the home shard's oids.
    pub elements: Vec<u32>,
    /// Types of arrays of them.
    pub arrays: Vec<u32>,
    /// What a value that comes as text is cast to.
    pub casts: Vec<Option<String>>,
}

/// A type that is not one of PostgreSQL's usual ones.
struct Asked {
    /// 0: none.
    array: u32,
    name: String,
}

impl Columns {
    pub fn formats(&self) -> Vec<Format> {
        let format = |cast: &Option<String>| match cast {
            Some(_) => Format::Text,
            None => Format::Binary,
        };
        self.casts.iter().map(format).collect()
    }

    pub fn add_ids(&mut self, count: usize) {
        for _ in 0..count {
            self.add(INT8, INT8_ARRAY, None);
        }
    }

    fn add(&mut self, element: u32, array: u32, cast: Option<String>) {
        self.elements.push(element);
        self.arrays.push(array);
        self.casts.push(cast);
    }
}

impl Session {
    /// For columns of these types, in the home shard's oids.
    pub(super) async fn columns(&mut self, types: &[u32]) -> Result<Columns, Fault> {
        let unknown = types.iter().filter(|oid| built_in(**oid).is_none());
        let unknown: Vec<u32> = unknown.copied().collect();
        let asked = match unknown.is_empty() {
            true => HashMap::new(),
            false => self.ask_types(&unknown).await?,
        };
        let mut columns = Columns::default();
        for oid in types {
            match (built_in(*oid), asked.get(oid)) {
                (Some(array), _) => columns.add(*oid, array, None),
                (None, Some(asked)) if asked.array != 0 => columns.add(*oid, asked.array, None),
                (None, Some(asked)) => columns.add(TEXT, TEXT_ARRAY, Some(asked.name.clone())),
                (None, None) => return Err(no_such_type().into()),
            }
        }
        Ok(columns)
    }

    async fn ask_types(&mut self, types: &[u32]) -> Result<HashMap<u32, Asked>, Fault> {
        let list: Vec<String> = types.iter().map(u32::to_string).collect();
        let text = format!(
            "SELECT oid::text, typarray::text, pg_catalog.format_type(oid, -1) FROM pg_catalog.pg_type WHERE oid IN ({})",
            list.join(", ")
        );
        let mut asked = HashMap::new();
        for row in self.rows_of_home(&text).await? {
            let row = DataRow::parse(&row[5..])?;
            let word = |index| std::str::from_utf8(row.nth(index)??).ok();
            let number = |index| word(index)?.parse::<u32>().ok();
            if let (Some(oid), Some(array), Some(name)) = (number(0), number(1), word(2)) {
                let name = name.to_owned();
                asked.insert(oid, Asked { array, name });
            }
        }
        Ok(asked)
    }
}

fn no_such_type() -> RouterError {
    RouterError::new(
        wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a type has changed while the statement was run",
    )
    .hint("Run it again.")
}
