use super::*;

fn row(number: u64, length: usize) -> BytesMut {
    let mut message = BytesMut::new();
    let mut value = number.to_string().into_bytes();
    value.resize(length, b'.');
    wire::backend::write::data_row(&mut message, [Some(value.as_slice())]);
    message
}

async fn kept(count: u64, length: usize, limits: KeptLimits) -> Result<KeptRows, RouterError> {
    let mut rows = KeptRows::new(limits);
    for number in 0..count {
        rows.tail().extend_from_slice(&row(number, length));
        rows.added().await?;
    }
    Ok(rows)
}

async fn expect(rows: &mut KeptRows, number: u64, length: usize) {
    let found = rows.row(number).await.unwrap().unwrap();
    assert_eq!(found, row(number, length), "row {number}");
}

const ROOM: usize = 1 << 40;

#[tokio::test]
async fn rows_are_read_in_any_order_from_memory_and_from_the_file() {
    let limits = KeptLimits {
        memory: 2 * CHUNK_BYTES,
        files: ROOM,
    };
    for length in [8, 700, 3 * CHUNK_BYTES] {
        let count = 1_000_000 / length as u64 + 2;
        let mut rows = kept(count, length, limits).await.unwrap();
        assert_eq!(rows.len(), count);
        for number in (0..count).step_by(7).chain((0..count).rev().step_by(3)) {
            expect(&mut rows, number, length).await;
        }
        assert!(rows.file.is_some());
        assert_eq!(rows.row(count).await.unwrap(), None);
    }
}

#[tokio::test]
async fn few_rows_need_no_file() {
    let limits = KeptLimits {
        memory: CHUNK_BYTES,
        files: 0,
    };
    let mut rows = kept(10, 100, limits).await.unwrap();
    expect(&mut rows, 9, 100).await;
    assert!(rows.file.is_none());
}

#[tokio::test]
async fn what_was_read_frees_its_memory() {
    let limits = KeptLimits {
        memory: ROOM,
        files: ROOM,
    };
    let mut rows = kept(10_000, 100, limits).await.unwrap();
    let before = rows.memory;
    rows.forget_before(9_000);
    assert!(rows.memory < before / 5);
    expect(&mut rows, 9_000, 100).await;
}

#[tokio::test]
async fn beyond_the_limit_the_setting_is_named() {
    let limits = KeptLimits {
        memory: 0,
        files: CHUNK_BYTES,
    };
    let error = kept(10_000, 100, limits).await.unwrap_err();
    assert_eq!(error.sqlstate, "53400");
    assert!(error.hint.unwrap().contains("limits.cursor"));
}
