//! Merging against a naive model: all rows in one list, sorted and folded the plain way.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::Format;
use wire::backend::{DataRow, write};
use wire::header;

use super::*;

type Row = Vec<Option<Vec<u8>>>;

const INT8: u32 = 20;
const TEXT: u32 = 25;
const OID: u32 = 26;
const NUMERIC: u32 = 1700;

fn column(type_oid: u32, format: Format) -> Column {
    Column { type_oid, format }
}

fn text(type_oid: u32) -> Column {
    column(type_oid, Format::Text)
}

/// A DataRow's body.
fn body(row: &Row) -> Bytes {
    let mut out = BytesMut::new();
    write::data_row(&mut out, row.iter().map(|value| value.as_deref()));
    out.freeze().slice(header::LENGTH..)
}

fn rows(mut messages: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while messages.len() >= 5 {
        assert_eq!(messages[0], b'D');
        let length = u32::from_be_bytes(messages[1..5].try_into().unwrap()) as usize;
        let (message, rest) = messages.split_at(length + 1);
        let row = DataRow::parse(&message[5..]).unwrap();
        rows.push(row.iter().map(|value| value.map(<[u8]>::to_vec)).collect());
        messages = rest;
    }
    rows
}

/// Drives a merger over the shards' rows; where any shard may be next, `random` chooses.
fn run(
    mut merger: Merger,
    shards: &[Vec<Row>],
    random: &mut StdRng,
) -> Result<Vec<Row>, MergeError> {
    let mut out = BytesMut::new();
    let mut next = vec![0; shards.len()];
    loop {
        let shard = match merger.step(&mut out)? {
            Step::Row => continue,
            Step::Done => break,
            Step::Need(shard) => shard,
            Step::NeedAny => {
                let open: Vec<usize> = (0..shards.len())
                    .filter(|s| next[*s] <= shards[*s].len())
                    .collect();
                open[random.random_range(0..open.len())]
            }
        };
        match shards[shard].get(next[shard]) {
            Some(row) => merger.push(shard, body(row))?,
            None => merger.end(shard),
        }
        next[shard] += 1;
    }
    let rows = rows(&out);
    assert_eq!(merger.rows(), rows.len() as u64);
    Ok(rows)
}

fn some(text: impl ToString) -> Option<Vec<u8>> {
    Some(text.to_string().into_bytes())
}

fn key(column: usize, order: SortOrder, descending: bool, nulls_first: bool) -> SortKey {
    SortKey {
        column,
        order,
        descending,
        nulls_first,
    }
}

fn merge_sort(keys: Vec<SortKey>, hidden: usize) -> Merge {
    Merge::Sort {
        keys,
        limit: None,
        offset: None,
        hidden,
    }
}

/// The plain comparison: numbers as numbers, texts as bytes.
fn compare(keys: &[SortKey], one: &Row, other: &Row) -> Ordering {
    let number = |value: &[u8]| std::str::from_utf8(value).unwrap().parse::<i64>().unwrap();
    for key in keys {
        let order = match (&one[key.column], &other[key.column]) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if key.nulls_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if key.nulls_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => {
                let order = match key.order {
                    SortOrder::Integer => number(one).cmp(&number(other)),
                    _ => one.cmp(other),
                };
                if key.descending {
                    order.reverse()
                } else {
                    order
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn random_row(random: &mut StdRng) -> Row {
    let number = random.random_bool(0.8).then(|| {
        let value = if random.random_bool(0.9) {
            random.random_range(-3..4)
        } else {
            random.random::<i64>()
        };
        value.to_string().into_bytes()
    });
    let text = random.random_bool(0.8).then(|| {
        let length = random.random_range(0..4);
        (0..length)
            .map(|_| [1, b'a', b'b', 0xff][random.random_range(0..4)])
            .collect()
    });
    vec![number, text, some(random.random::<u32>())]
}

fn random_shards(random: &mut StdRng) -> Vec<Vec<Row>> {
    let shards = random.random_range(1..6);
    let mut shard = || {
        (0..random.random_range(0..30))
            .map(|_| random_row(random))
            .collect()
    };
    (0..shards).map(|_| shard()).collect()
}

fn random_count(random: &mut StdRng) -> Option<u64> {
    random.random_bool(0.5).then(|| random.random_range(0..40))
}

fn cut(rows: Vec<Row>, limit: Option<u64>, offset: Option<u64>) -> Vec<Row> {
    let rows = rows.into_iter().skip(offset.unwrap_or(0) as usize);
    rows.take(limit.unwrap_or(u64::MAX) as usize).collect()
}

#[test]
fn sorted_shards_merge_as_if_sorted_together() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..2_000 {
        let mut flag = || random.random_bool(0.5);
        let mut keys = vec![
            key(0, SortOrder::Integer, flag(), flag()),
            key(1, SortOrder::Bytes, flag(), flag()),
        ];
        if flag() {
            keys.swap(0, 1);
        }
        let mut shards = random_shards(&mut random);
        shards
            .iter_mut()
            .for_each(|rows| rows.sort_by(|one, other| compare(&keys, one, other)));
        let (limit, offset) = (random_count(&mut random), random_count(&mut random));
        let mut expected: Vec<Row> = shards.concat();
        expected.sort_by(|one, other| compare(&keys, one, other));
        let columns = vec![text(INT8), text(TEXT), text(TEXT)];
        let merge = merge_sort(keys, 0);
        let merger = Merger::new(&merge, shards.len(), columns, Limit::new(limit, offset), 0);
        let merged = run(merger, &shards, &mut random).unwrap();
        assert_eq!(merged, cut(expected, limit, offset));
    }
}

#[test]
fn binary_values_merge_as_their_texts_do() {
    let mut random = StdRng::seed_from_u64(2);
    for type_oid in [INT8, OID] {
        let mut numbers: Vec<u32> = (0..200).map(|_| random.random()).collect();
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let binary = |number: &u32| match type_oid {
            OID => vec![Some(number.to_be_bytes().to_vec())],
            _ => vec![Some(i64::from(*number).to_be_bytes().to_vec())],
        };
        let shards: Vec<Vec<Row>> = (0..3)
            .map(|shard| numbers.iter().skip(shard).step_by(3).map(binary).collect())
            .collect();
        let merge = merge_sort(vec![key(0, SortOrder::Integer, true, false)], 0);
        let columns = vec![column(type_oid, Format::Binary)];
        let merger = Merger::new(&merge, 3, columns, Limit::default(), 0);
        let expected: Vec<Row> = numbers.iter().map(binary).collect();
        assert_eq!(run(merger, &shards, &mut random).unwrap(), expected);
    }
}

#[test]
fn concatenation_keeps_each_shards_order_and_cuts() {
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..500 {
        let shards = random_shards(&mut random);
        let (limit, offset) = (random_count(&mut random), random_count(&mut random));
        let merge = Merge::Concatenate {
            limit: None,
            offset: None,
        };
        let merger = Merger::new(
            &merge,
            shards.len(),
            Vec::new(),
            Limit::new(limit, offset),
            0,
        );
        let merged = run(merger, &shards, &mut random).unwrap();
        let all = shards.iter().map(Vec::len).sum::<usize>() as u64;
        let expected = all
            .saturating_sub(offset.unwrap_or(0))
            .min(limit.unwrap_or(u64::MAX));
        assert_eq!(merged.len() as u64, expected);
        for shard in &shards {
            let own: Vec<&Row> = merged.iter().filter(|row| shard.contains(row)).collect();
            let places: Vec<usize> = own
                .iter()
                .map(|row| shard.iter().position(|r| &r == row).unwrap())
                .collect();
            assert!(places.is_sorted());
        }
    }
}

#[test]
fn hidden_columns_are_cut_off_rows_and_description() {
    let merge = merge_sort(vec![key(1, SortOrder::Integer, false, false)], 1);
    let merger = Merger::new(&merge, 1, vec![text(TEXT), text(INT8)], Limit::default(), 0);
    let shards = [vec![vec![some("a"), some(1)], vec![None, some(2)]]];
    let merged = run(merger, &shards, &mut StdRng::seed_from_u64(0)).unwrap();
    assert_eq!(merged, [vec![some("a")], vec![None]]);

    let field = |name| wire::backend::Field {
        name,
        table_oid: 0,
        column: 0,
        type_oid: TEXT,
        type_size: -1,
        type_modifier: -1,
        format: Format::Text,
    };
    let mut out = BytesMut::new();
    write::row_description(&mut out, [field(b"shown"), field(b"hidden")]);
    let description = out.split().freeze();
    describe(
        &RowDescription::parse(&description[header::LENGTH..]).unwrap(),
        merge.hidden(),
        &mut out,
    );
    let shown: Vec<Vec<u8>> = RowDescription::parse(&out[header::LENGTH..])
        .unwrap()
        .fields()
        .map(|field| field.name.to_vec())
        .collect();
    assert_eq!(shown, [b"shown"]);
}

const FOLDS: [Fold; 8] = [
    Fold::Group,
    Fold::Count,
    Fold::SumInt8,
    Fold::SumNumericInteger,
    Fold::Min(SortOrder::Integer),
    Fold::Max(SortOrder::Bytes),
    Fold::BoolAnd,
    Fold::BoolOr,
];

/// (group, number, text, flag)
type Input = (Option<u8>, Option<i64>, Option<String>, Option<bool>);

fn random_input(random: &mut StdRng) -> Input {
    let number = random
        .random_bool(0.7)
        .then(|| random.random_range(-1_000_000..1_000_000));
    let text = random
        .random_bool(0.7)
        .then(|| format!("{:x}", random.random_range(0..300)));
    let group = random.random_bool(0.9).then(|| random.random_range(0..5));
    (
        group,
        number,
        text,
        random.random_bool(0.7).then(|| random.random_bool(0.5)),
    )
}

fn number_value(number: Option<i128>, binary: bool, is_numeric: bool) -> Option<Vec<u8>> {
    let number = number?;
    Some(match (binary, is_numeric) {
        (false, _) => number.to_string().into_bytes(),
        (true, false) => i64::try_from(number).unwrap().to_be_bytes().to_vec(),
        (true, true) => {
            let mut bytes = Vec::new();
            numeric::encode(number, &mut bytes);
            bytes
        }
    })
}

fn boolean_value(value: Option<bool>, binary: bool) -> Option<Vec<u8>> {
    Some(match (value?, binary) {
        (value, true) => vec![value.into()],
        (true, false) => b"t".to_vec(),
        (false, false) => b"f".to_vec(),
    })
}

/// What one PostgreSQL answers for these rows: one row a group, ascending, NULL last.
fn naive(inputs: &[Input], binary: bool) -> Vec<Row> {
    let mut groups: BTreeMap<(bool, Option<u8>), Vec<&Input>> = BTreeMap::new();
    for input in inputs {
        groups
            .entry((input.0.is_none(), input.0))
            .or_default()
            .push(input);
    }
    let row = |((_, group), inputs): ((bool, Option<u8>), Vec<&Input>)| {
        let numbers: Vec<i128> = inputs.iter().filter_map(|i| i.1.map(i128::from)).collect();
        let sum = (!numbers.is_empty()).then(|| numbers.iter().sum::<i128>());
        let flags: Vec<bool> = inputs.iter().filter_map(|i| i.3).collect();
        let all = (!flags.is_empty()).then(|| flags.iter().all(|f| *f));
        let any = (!flags.is_empty()).then(|| flags.iter().any(|f| *f));
        vec![
            number_value(group.map(i128::from), binary, false),
            number_value(Some(inputs.len() as i128), binary, false),
            number_value(sum, binary, false),
            number_value(sum, binary, true),
            number_value(numbers.iter().min().copied(), binary, false),
            inputs
                .iter()
                .filter_map(|i| i.2.clone())
                .max()
                .map(String::into_bytes),
            boolean_value(all, binary),
            boolean_value(any, binary),
        ]
    };
    groups.into_iter().map(row).collect()
}

fn fold_columns(format: Format) -> Vec<Column> {
    let types = [INT8, INT8, INT8, NUMERIC, INT8, TEXT, 16, 16];
    types
        .into_iter()
        .map(|type_oid| column(type_oid, format))
        .collect()
}

fn aggregate(folds: &[Fold]) -> Merge {
    let sort = match folds.first() {
        Some(Fold::Group) => vec![key(0, SortOrder::Integer, false, false)],
        _ => Vec::new(),
    };
    Merge::Aggregate {
        columns: folds.to_vec(),
        sort,
        limit: None,
        offset: None,
    }
}

#[test]
fn groups_fold_as_if_grouped_together() {
    let mut random = StdRng::seed_from_u64(4);
    for round in 0..1_000 {
        let binary = round % 2 == 1;
        let shards: Vec<Vec<Input>> = (0..random.random_range(1..5))
            .map(|_| {
                (0..random.random_range(0..40))
                    .map(|_| random_input(&mut random))
                    .collect()
            })
            .collect();
        let partial: Vec<Vec<Row>> = shards.iter().map(|rows| naive(rows, binary)).collect();
        let (limit, offset) = (random_count(&mut random), random_count(&mut random));
        let columns = fold_columns(if binary { Format::Binary } else { Format::Text });
        let cuts = Limit::new(limit, offset);
        let merger = Merger::new(&aggregate(&FOLDS), shards.len(), columns, cuts, 1 << 20);
        let merged = run(merger, &partial, &mut random).unwrap();
        assert_eq!(merged, cut(naive(&shards.concat(), binary), limit, offset));
    }
}

#[test]
fn without_groups_one_row_comes_of_no_rows() {
    let folds = &FOLDS[1..];
    let columns = fold_columns(Format::Text)[1..].to_vec();
    let empty: Row = vec![some(0), None, None, None, None, None, None];
    let merger = Merger::new(&aggregate(folds), 2, columns, Limit::default(), 1 << 20);
    let shards = [vec![empty.clone()], vec![empty.clone()]];
    assert_eq!(
        run(merger, &shards, &mut StdRng::seed_from_u64(0)).unwrap(),
        [empty]
    );
}

fn fold_two(fold: Fold, type_oid: u32, one: i64, other: i64) -> Result<Vec<Row>, MergeError> {
    let merger = Merger::new(
        &aggregate(&[fold]),
        2,
        vec![text(type_oid)],
        Limit::default(),
        1 << 20,
    );
    let shards = [vec![vec![some(one)]], vec![vec![some(other)]]];
    run(merger, &shards, &mut StdRng::seed_from_u64(0))
}

#[test]
fn a_bigint_sum_overflows_and_a_numeric_sum_does_not() {
    let overflow = fold_two(Fold::SumInt8, INT8, i64::MAX, 1).unwrap_err();
    assert_eq!(crate::error::RouterError::from(overflow).sqlstate, "22003");
    let sum = fold_two(Fold::SumNumericInteger, NUMERIC, i64::MAX, 1).unwrap();
    assert_eq!(sum, [vec![some("9223372036854775808")]]);
}

#[test]
fn groups_beyond_the_limit_are_refused_with_the_setting_to_raise() {
    let merge = aggregate(&[Fold::Group, Fold::Count]);
    let merger = Merger::new(
        &merge,
        1,
        vec![text(INT8), text(INT8)],
        Limit::default(),
        64 << 10,
    );
    let shard: Vec<Row> = (0..10_000).map(|n| vec![some(n), some(1)]).collect();
    let error = run(merger, &[shard], &mut StdRng::seed_from_u64(0)).unwrap_err();
    let error = crate::error::RouterError::from(error);
    assert_eq!(error.sqlstate, "53200");
    assert!(error.hint.unwrap().contains("limits.merge"));
}

#[test]
fn dates_in_another_style_are_refused() {
    let merge = merge_sort(vec![key(0, SortOrder::Date, false, false)], 0);
    let merger = Merger::new(&merge, 1, vec![text(1082)], Limit::default(), 0);
    let error = run(
        merger,
        &[vec![vec![some("31/12/2024")]]],
        &mut StdRng::seed_from_u64(0),
    );
    let error = crate::error::RouterError::from(error.unwrap_err());
    assert_eq!((error.sqlstate, error.id), ("0A000", "merge-datestyle"));
    assert!(error.hint.unwrap().contains("SET DateStyle TO ISO"));
}

#[test]
fn a_limit_may_end_the_merge_before_the_shards_do() {
    let merge = Merge::Concatenate {
        limit: None,
        offset: None,
    };
    let mut merger = Merger::new(&merge, 2, Vec::new(), Limit::new(Some(1), None), 0);
    let mut out = BytesMut::new();
    assert_eq!(merger.step(&mut out), Ok(Step::NeedAny));
    merger.push(0, body(&vec![None])).unwrap();
    assert_eq!(merger.step(&mut out), Ok(Step::Row));
    assert_eq!(merger.step(&mut out), Ok(Step::Done));
}

#[test]
fn row_counts_come_from_parameters() {
    let bind = |value: Option<&[u8]>, format: Format| {
        let mut out = BytesMut::new();
        wire::frontend::write::bind(&mut out, b"", b"", &[(format, value)], &[]).unwrap();
        out.freeze().slice(header::LENGTH..)
    };
    let resolve = |body: Bytes| {
        let bind = wire::frontend::Bind::parse(&body).unwrap();
        Limit::resolve(Some(&RowCount::Parameter(1)), None, Some(&bind))
    };
    assert_eq!(
        resolve(bind(Some(b"5"), Format::Text)),
        Ok(Limit::new(Some(5), None))
    );
    let binary = 5_i64.to_be_bytes();
    assert_eq!(
        resolve(bind(Some(&binary), Format::Binary)),
        Ok(Limit::new(Some(5), None))
    );
    assert_eq!(resolve(bind(None, Format::Text)), Ok(Limit::default()));
    assert_eq!(
        resolve(bind(Some(b"-1"), Format::Text)),
        Err(MergeError::Negative("LIMIT"))
    );
    assert_eq!(
        resolve(bind(Some(b"x"), Format::Text)),
        Err(MergeError::NotANumber("x".into()))
    );
}

#[test]
fn tags_add_up() {
    let mut tags = Tags::default();
    for tag in ["UPDATE 3", "UPDATE 0", "UPDATE 4"] {
        let mut out = BytesMut::new();
        write::command_complete(&mut out, tag.as_bytes());
        tags.add(&out.freeze().slice(header::LENGTH..)).unwrap();
    }
    let mut out = BytesMut::new();
    tags.write(&mut out).unwrap();
    assert_eq!(&out[header::LENGTH..], b"UPDATE 7\0");
}
