use super::*;
use crate::plan::{AppendedId, CopyOptions, SequenceName};

fn options(format: CopyFormat) -> CopyOptions {
    let csv = format == CopyFormat::Csv;
    CopyOptions {
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { String::new() } else { "\\N".into() },
        header: false,
        header_match: false,
        quote: b'"',
        escape: b'"',
        encoding: None,
    }
}

fn copy(options: CopyOptions, key_field: usize) -> CopyFrom {
    let sequence = SequenceName {
        schema: "public".into(),
        name: "s".into(),
    };
    CopyFrom {
        home: false,
        options,
        columns: vec![0, 1],
        key_field,
        key_type: KeyType::Int8,
        append_ids: vec![AppendedId {
            sequence,
            column: "id".into(),
            width: 4,
        }],
        text: String::new(),
    }
}

fn copy_of_text(key_field: usize) -> CopyFrom {
    copy(options(CopyFormat::Text), key_field)
}

/// Records as text, with their keys; the data comes in pieces of `piece` bytes.
fn records(copy: &CopyFrom, data: &[u8], piece: usize) -> Result<Vec<String>, CopyError> {
    let mut splitter = CopySplitter::new(copy, 1000);
    let mut found = Vec::new();
    let mut take = |record: Record<'_>| {
        found.push(match record {
            Record::Everywhere(bytes) => format!("all {}", bytes.escape_ascii()),
            Record::Row { bytes, key } => {
                let key = match key {
                    CopyKey::Text(text) => format!("'{}'", text.escape_ascii()),
                    CopyKey::Binary(bytes) => format!("x{}", bytes.escape_ascii()),
                    other => format!("{other:?}"),
                };
                format!("{key} {}", bytes.escape_ascii())
            }
        });
        Ok::<(), CopyError>(())
    };
    for chunk in data.chunks(piece) {
        splitter.push(chunk, &mut take)?;
    }
    splitter.finish(&mut take)?;
    Ok(found)
}

/// The records, which must not depend on how the data is cut.
fn in_any_pieces(copy: &CopyFrom, data: &[u8]) -> Vec<String> {
    let whole = records(copy, data, data.len()).expect("readable");
    for piece in 1..data.len() {
        assert_eq!(
            records(copy, data, piece).expect("readable"),
            whole,
            "pieces of {piece} bytes"
        );
    }
    whole
}

fn error(copy: &CopyFrom, data: &[u8]) -> CopyError {
    let whole = records(copy, data, data.len()).expect_err("refused");
    assert_eq!(records(copy, data, 1).expect_err("refused"), whole);
    whole
}

#[test]
fn text_lines_are_cut_where_postgresql_cuts_them() {
    let copy = copy(options(CopyFormat::Text), 1);
    let found = in_any_pieces(
        &copy,
        b"a\t1\nb\\\nc\t\\N\nd\\\te\t\\x31\\062\\n\nonly\nlast\t5\n\\.\nnot data\n",
    );
    assert_eq!(
        found,
        [
            "'1' a\\t1\\n",
            "Null b\\\\\\nc\\t\\\\N\\n",
            "'12\\n' d\\\\\\te\\t\\\\x31\\\\062\\\\n\\n",
            "Missing only\\n",
            "'5' last\\t5\\n"
        ]
    );
}

#[test]
fn a_last_line_needs_no_line_end() {
    let copy = copy(options(CopyFormat::Text), 0);
    let second = copy_of_text(1);
    assert_eq!(in_any_pieces(&second, b"1\tx\\\n"), ["'x\\n' 1\\tx\\\\\\n"]);
    assert_eq!(
        in_any_pieces(&copy, b"1\tx\n2\ty"),
        ["'1' 1\\tx\\n", "'2' 2\\ty"]
    );
}

#[test]
fn the_first_line_decides_how_lines_end() {
    let copy = copy(options(CopyFormat::Text), 1);
    assert_eq!(
        in_any_pieces(&copy, b"a\t1\r\nb\t2\r\n"),
        ["'1' a\\t1\\r\\n", "'2' b\\t2\\r\\n"]
    );
    assert_eq!(
        in_any_pieces(&copy, b"a\t1\rb\t2\r"),
        ["'1' a\\t1\\r", "'2' b\\t2\\r"]
    );
    assert_eq!(
        error(&copy, b"a\t1\nb\r\t2\n"),
        CopyError::LiteralCarriageReturn
    );
    assert_eq!(error(&copy, b"a\t1\r\nb\t2\n"), CopyError::LiteralNewline);
    assert_eq!(error(&copy, b"a\t1\nb\\.\n"), CopyError::EndMarkerCorrupt);
}

#[test]
fn csv_quotes_hide_line_ends_and_delimiters() {
    let copy = copy(options(CopyFormat::Csv), 1);
    let found = in_any_pieces(
        &copy,
        b"\"a\n,\",\"1\"\"2\"\nb,\nc,\"\"\nd,x\"y,\"z\n\\.\nrest",
    );
    assert_eq!(
        found,
        [
            "'1\\\"2' \\\"a\\n,\\\",\\\"1\\\"\\\"2\\\"\\n",
            "Null b,\\n",
            "'' c,\\\"\\\"\\n",
            "'xy,z' d,x\\\"y,\\\"z\\n"
        ]
    );
    assert_eq!(
        error(&copy, b"a,1\nb\r,2\n"),
        CopyError::UnquotedCarriageReturn
    );
}

#[test]
fn csv_with_its_own_escape_and_header() {
    let with_escape = CopyOptions {
        escape: b'\\',
        header: true,
        null: "NULL".into(),
        ..options(CopyFormat::Csv)
    };
    let copy = copy(with_escape, 1);
    let found = in_any_pieces(
        &copy,
        b"h,\"k\n\"\n\"a\\\"\n\",\"b\\\\\"\nc,NULL\nd,\"NULL\"\n",
    );
    assert_eq!(
        found,
        [
            "all h,\\\"k\\n\\\"\\n",
            "'b\\\\' \\\"a\\\\\\\"\\n\\\",\\\"b\\\\\\\\\\\"\\n",
            "Null c,NULL\\n",
            "'NULL' d,\\\"NULL\\\"\\n"
        ]
    );
}

fn binary(tuples: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xy".to_vec();
    for tuple in tuples {
        data.extend((tuple.len() as i16).to_be_bytes());
        for field in *tuple {
            data.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
            data.extend(field.unwrap_or_default());
        }
    }
    data.extend([0xff, 0xff]);
    data
}

#[test]
fn binary_tuples_are_cut_by_their_lengths() {
    let copy = copy(options(CopyFormat::Binary), 1);
    let data = binary(&[
        &[Some(b"a"), Some(&[0, 0, 0, 7])],
        &[None, None],
        &[Some(b"")],
    ]);
    let found = in_any_pieces(&copy, &data);
    assert_eq!(found.len(), 5);
    assert!(found[0].starts_with("all PGCOPY") && found[0].ends_with("xy"));
    assert!(found[1].starts_with("x\\x00\\x00\\x00\\x07 "));
    assert!(found[2].starts_with("Null ") && found[3].starts_with("Missing "));
    assert_eq!(found[4], "all \\xff\\xff");
}

#[test]
fn damaged_binary_data_is_refused() {
    let copy = copy(options(CopyFormat::Binary), 0);
    assert_eq!(error(&copy, b"PGCOPX\n\xff\r\n\0"), CopyError::Signature);
    let mut cut = binary(&[&[Some(b"abc")]]);
    cut.truncate(cut.len() - 3);
    assert_eq!(error(&copy, &cut), CopyError::UnexpectedEnd);
    let mut more = binary(&[]);
    more.extend([0, 1]);
    assert_eq!(error(&copy, &more), CopyError::AfterEnd);
    let mut negative = binary(&[]);
    negative.truncate(negative.len() - 2);
    negative.extend([0xff, 0xfe]);
    assert_eq!(error(&copy, &negative), CopyError::BinaryFormat);
}

#[test]
fn a_record_has_a_greatest_length() {
    let copy = copy(options(CopyFormat::Text), 0);
    let long = vec![b'x'; 2000];
    assert_eq!(error(&copy, &long), CopyError::TooLong { limit: 1000 });
}

#[test]
fn ids_are_appended_to_rows_and_headers() {
    let mut out = Vec::new();
    let text = copy(options(CopyFormat::Text), 2);
    Appender::new(&text)
        .row(b"a\tb\r\n", &[42], &mut out)
        .expect("a row");
    assert_eq!(out, b"a\tb\t42\r\n");
    out.clear();
    let csv = copy(
        CopyOptions {
            header: true,
            ..options(CopyFormat::Csv)
        },
        2,
    );
    Appender::new(&csv).everywhere(&Record::Everywhere(b"a,b\n"), &mut out);
    assert_eq!(out, b"a,b,\"id\"\n");
    out.clear();
    let binary_copy = copy(options(CopyFormat::Binary), 2);
    Appender::new(&binary_copy)
        .row(&[0, 1, 0, 0, 0, 1, 9], &[42], &mut out)
        .expect("a row");
    assert_eq!(out, [0, 2, 0, 0, 0, 1, 9, 0, 0, 0, 4, 0, 0, 0, 42]);
    assert_eq!(in_any_pieces(&text, b"a\tb\n"), ["Generated(0) a\\tb\\n"]);
}

#[test]
fn keys_are_read_as_the_column_reads_them() {
    let read = |key: CopyKey<'static>, key_type| key.value(key_type, Encoding::Utf8, &[9]);
    assert_eq!(
        read(CopyKey::Text(b" 7 "), KeyType::Int8),
        Ok(Some(Key::Int(7)))
    );
    assert_eq!(read(CopyKey::Text(b"x"), KeyType::Int4), Ok(None));
    assert_eq!(
        read(CopyKey::Binary(&[0, 7]), KeyType::Int2),
        Ok(Some(Key::Int(7)))
    );
    assert_eq!(
        read(CopyKey::Generated(0), KeyType::Int8),
        Ok(Some(Key::Int(9)))
    );
    assert_eq!(read(CopyKey::Null, KeyType::Text), Ok(None));
    assert_eq!(
        read(CopyKey::Text(b"a "), KeyType::Text),
        Ok(Some(Key::Text(b"a ")))
    );
    assert!(read(CopyKey::Text(b"a "), KeyType::Varchar).is_err());
    assert!(
        CopyKey::Text(b"\xe9")
            .value(KeyType::Text, Encoding::Other, &[])
            .is_err()
    );
}

#[test]
fn output_of_several_shards_has_one_header_and_one_end() {
    let header = CopyOptions {
        header: true,
        ..options(CopyFormat::Csv)
    };
    let mut csv = Concatenation::new(&header, 2);
    let given: Vec<_> = [(0, "h\n"), (0, "1\n"), (1, "h\n"), (1, "h\n")]
        .into_iter()
        .map(|(shard, message)| csv.message(shard, message.as_bytes()).to_vec())
        .collect();
    assert_eq!(
        given,
        [b"h\n".to_vec(), b"1\n".to_vec(), vec![], b"h\n".to_vec()]
    );
    assert!(csv.end().is_empty());

    let mut binary_output = Concatenation::new(&options(CopyFormat::Binary), 3);
    let empty = binary(&[]);
    let first = [&empty[..empty.len() - 2], &[0, 1, 0, 0, 0, 1, 9]].concat();
    let mut all = Vec::new();
    for (shard, message) in [
        (0, &empty[..]),
        (1, &first),
        (1, &[0xff, 0xff]),
        (2, &first),
        (2, &[0xff, 0xff]),
    ] {
        all.extend_from_slice(binary_output.message(shard, message));
    }
    all.extend_from_slice(binary_output.end());
    assert_eq!(all, binary(&[&[Some(&[9])], &[Some(&[9])]]));
}

/// `cargo test --release -p router --lib a_million_rows -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn a_million_rows_are_cut_in_a_fraction_of_a_second() {
    let copy = copy(options(CopyFormat::Text), 1);
    let mut data = Vec::new();
    for row in 0..1_000_000 {
        data.extend_from_slice(
            format!("{row}\t{}\tsome text that is not short\n", row * 7).as_bytes(),
        );
    }
    let started = std::time::Instant::now();
    let mut splitter = CopySplitter::new(&copy, 1 << 20);
    let mut sum = 0_i64;
    for chunk in data.chunks(8192) {
        let each = |record: Record<'_>| {
            let Record::Row { key, .. } = record else {
                return Ok(());
            };
            if let Some(Key::Int(key)) = key.value(KeyType::Int8, Encoding::Utf8, &[])? {
                sum += key;
            }
            Ok::<(), CopyError>(())
        };
        splitter.push(chunk, each).expect("readable");
    }
    println!("{} bytes in {:?}, sum {sum}", data.len(), started.elapsed());
    assert_eq!(sum, 7 * 999_999 * 500_000);
}
