//! Rows to one array a column, in the binary form of `array_recv`. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use wire::ProtocolError;
use wire::backend::DataRow;

/// Bytes before the elements: dimensions, flags, type of the elements, length, lower bound.
const HEADER: usize = 20;

/// One array for each of `elements` (types), of as many elements as there are `rows` (bodies of DataRow).
///
/// # Errors
/// A row is malformed.
pub(super) fn of_rows(rows: &[Bytes], elements: &[u32]) -> Result<Vec<Bytes>, ProtocolError> {
    let mut columns: Vec<Column> = elements.iter().map(|_| Column::default()).collect();
    for row in rows {
        let row = DataRow::parse(row)?;
        for (column, value) in columns.iter_mut().zip(row.iter()) {
            column.push(value);
        }
    }
    let both = columns.into_iter().zip(elements);
    Ok(both
        .map(|(column, element)| column.array(*element, rows.len()))
        .collect())
}

#[derive(Default)]
struct Column {
    /// With room for the header ahead.
    bytes: BytesMut,
    has_null: bool,
}

impl Column {
    fn push(&mut self, value: Option<&[u8]>) {
        if self.bytes.is_empty() {
            self.bytes.put_bytes(0, HEADER);
        }
        match value {
            None => {
                self.has_null = true;
                self.bytes.put_i32(-1);
            }
            Some(value) => {
                // A value of a DataRow has a length of 31 bits.
                self.bytes.put_u32(value.len() as u32);
                self.bytes.put_slice(value);
            }
        }
    }

    fn array(mut self, element: u32, count: usize) -> Bytes {
        let mut header = BytesMut::with_capacity(HEADER);
        header.put_i32(i32::from(count > 0));
        header.put_i32(i32::from(self.has_null));
        header.put_u32(element);
        if count == 0 {
            return header.freeze();
        }
        // Rows are bounded by their bytes, far below this.
        header.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        header.put_i32(1);
        self.bytes[..HEADER].copy_from_slice(&header);
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&[u8]>]) -> Bytes {
        let mut message = BytesMut::new();
        wire::backend::write::data_row(&mut message, values.iter().copied());
        message.freeze().slice(5..)
    }

    #[test]
    fn each_column_becomes_an_array() {
        let rows = [
            row(&[Some(&[0, 7]), None]),
            row(&[Some(&[0, 8]), Some(b"x")]),
        ];
        let arrays = of_rows(&rows, &[21, 25]).unwrap();
        let first = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 0, 0,
            2, 0, 8,
        ];
        assert_eq!(arrays[0][..], first);
        let second = [
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0,
            0, 1, b'x',
        ];
        assert_eq!(arrays[1][..], second);
    }

    #[test]
    fn no_rows_are_empty_arrays() {
        let arrays = of_rows(&[], &[23]).unwrap();
        assert_eq!(arrays[0][..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
    }
}
