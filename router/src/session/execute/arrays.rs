//! Rows as one array for each column, in PostgreSQL's binary form: how rows of one shard are handed to another
//! as parameters. Takes bodies of DataRow messages in binary; gives values and their types.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use wire::backend::{DataRow, tag};

use super::super::fault::Fault;
use super::super::state::Session;
use super::asking::Request;
use super::shares::unshared;
use crate::error::RouterError;

/// Built-in types and the arrays over them, from PostgreSQL's `pg_type.dat`.
const ARRAYS: [(u32, u32); 29] = [
    (16, 1000),
    (17, 1001),
    (18, 1002),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (23, 1007),
    (25, 1009),
    (26, 1028),
    (114, 199),
    (142, 143),
    (700, 1021),
    (701, 1022),
    (790, 791),
    (869, 1041),
    (1042, 1014),
    (1043, 1015),
    (1082, 1182),
    (1083, 1183),
    (1114, 1115),
    (1184, 1185),
    (1186, 1187),
    (1266, 1270),
    (1560, 1561),
    (1562, 1563),
    (1700, 1231),
    (2950, 2951),
    (3802, 3807),
    (650, 651),
];

/// Some columns of rows that are to be handed over.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    columns: Vec<Column>,
    rows: u32,
    bytes: usize,
}

#[derive(Debug)]
struct Column {
    /// In the home shard's oids.
    element: u32,
    has_null: bool,
    /// Each behind its 32-bit length, as in a message.
    elements: BytesMut,
}

impl Arrays {
    /// For columns of these types.
    pub fn of(types: impl IntoIterator<Item = u32>) -> Self {
        let column = |element| Column {
            element,
            has_null: false,
            elements: BytesMut::new(),
        };
        Self {
            columns: types.into_iter().map(column).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn types(&self) -> impl Iterator<Item = u32> + '_ {
        self.columns.iter().map(|column| column.element)
    }

    /// Adds a row: the columns of `row` from number `first` on.
    pub fn push(&mut self, row: &DataRow<'_>, first: usize) {
        for (column, value) in self.columns.iter_mut().zip(row.iter().skip(first)) {
            column.push(value);
            self.bytes += 4 + value.map_or(0, <[u8]>::len);
        }
        self.rows += 1;
    }

    /// Adds a row: all columns of `row`, and `more` behind them.
    pub fn push_with(&mut self, row: &DataRow<'_>, more: &[[u8; 8]]) {
        let more = more.iter().map(|value| Some(value.as_slice()));
        for (column, value) in self.columns.iter_mut().zip(row.iter().chain(more)) {
            column.push(value);
            self.bytes += 4 + value.map_or(0, <[u8]>::len);
        }
        self.rows += 1;
    }

    /// The values, one array for each column.
    pub fn values(&self) -> Vec<Bytes> {
        let columns = self.columns.iter();
        columns.map(|column| column.array(self.rows)).collect()
    }
}

impl Column {
    fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                // A message is shorter than 2^31 bytes, and so is a value in it.
                self.elements
                    .put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                self.elements.extend_from_slice(value);
            }
            None => {
                self.has_null = true;
                self.elements.put_i32(-1);
            }
        }
    }

    /// `array_recv` of PostgreSQL's `arrayfuncs.c`.
    fn array(&self, rows: u32) -> Bytes {
        let mut out = BytesMut::with_capacity(20 + self.elements.len());
        out.put_i32(i32::from(rows > 0));
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element);
        if rows > 0 {
            out.put_u32(rows);
            out.put_i32(1);
            out.extend_from_slice(&self.elements);
        }
        out.freeze()
    }
}

/// The type of arrays over one of PostgreSQL's usual types.
pub(super) fn built_in(element: u32) -> Option<u32> {
    let found = ARRAYS.iter().find(|(known, _)| *known == element);
    found.map(|(_, array)| *array)
}

impl Session {
    /// The types of arrays over these types, in the home shard's oids.
    pub(super) async fn array_types(&mut self, elements: &[u32]) -> Result<Vec<u32>, Fault> {
        let built_in = |element: &u32| ARRAYS.iter().find(|(known, _)| known == element);
        let unknown: Vec<u32> = elements
            .iter()
            .copied()
            .filter(|element| built_in(element).is_none())
            .collect();
        let found = match unknown.is_empty() {
            true => HashMap::new(),
            false => self.read_array_types(&unknown).await?,
        };
        let array = |element: &u32| {
            let known = built_in(element).map(|(_, array)| *array);
            known.or_else(|| found.get(element).copied())
        };
        let arrays: Option<Vec<u32>> = elements.iter().map(array).collect();
        arrays.ok_or_else(|| no_array().into())
    }

    async fn read_array_types(&mut self, elements: &[u32]) -> Result<HashMap<u32, u32>, Fault> {
        let list: Vec<String> = elements.iter().map(u32::to_string).collect();
        let text = format!(
            "SELECT oid::text, typarray::text FROM pg_catalog.pg_type WHERE typarray <> 0 AND oid IN ({})",
            list.join(", ")
        );
        let mut found = HashMap::new();
        for row in self.rows_of_home(&text).await? {
            let row = DataRow::parse(&row[5..])?;
            let number = |index| {
                let text = std::str::from_utf8(row.nth(index)??).ok()?;
                text.parse::<u32>().ok()
            };
            if let (Some(element), Some(array)) = (number(0), number(1)) {
                found.insert(element, array);
            }
        }
        Ok(found)
    }

    /// The DataRow messages of a query of the router's own on the home shard.
    pub(super) async fn rows_of_home(&mut self, text: &str) -> Result<Vec<Bytes>, Fault> {
        let home = self.home();
        let branches = self.join_all(&[home]).await?;
        let request = Request {
            identity: &unshared(text, &[]),
            named: false,
            parameters: &[],
            types: &[],
            result_formats: &[],
        };
        let mut asked = [self.ask(branches[0], &request)?];
        let mut rows = Vec::new();
        let heard = loop {
            match self.next_message(&mut asked, 0).await {
                Ok(None) => break Ok(()),
                Ok(Some(message)) if message.tag == tag::DATA_ROW => rows.push(message.bytes),
                Ok(Some(_)) => {}
                Err(fault) => break Err(fault),
            }
        };
        self.unless_called_off(&mut asked, heard).await?;
        Ok(rows)
    }
}

fn no_array() -> RouterError {
    RouterError::unsupported(
        "type-not-handed-over",
        "values of this type cannot be handed from one shard to another",
    )
    .detail("PostgreSQL has no array over the type of one of the columns.")
    .hint("Pass the values as parameters.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_arrays_as_postgresql_sends_them() {
        let mut arrays = Arrays::of([23, 25]);
        let mut row = BytesMut::new();
        wire::backend::write::data_row(&mut row, [Some(&[0, 0, 0, 7][..]), None]);
        arrays.push(&DataRow::parse(&row[5..]).unwrap(), 0);
        let values = arrays.values();
        let numbers = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7,
        ];
        assert_eq!(values[0][..], numbers);
        let texts = [
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 255, 255, 255, 255,
        ];
        assert_eq!(values[1][..], texts);
    }

    #[test]
    fn no_rows_are_an_array_without_dimensions() {
        let values = Arrays::of([20]).values();
        assert_eq!(values[0][..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20]);
    }
}
