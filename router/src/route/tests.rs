use bytes::BytesMut;
use schema::KeyType;
use topology::{BUCKETS, Key, ShardId, ShardMap};

use super::number::{Integer, integer, numeric, uuid};
use super::{Arguments, Encoding, Target, array_targets, target};
use crate::parse::shape::Shape;
use crate::plan::KeyExpr;
use crate::plan::key::{Arithmetic, Constant};
use crate::plan::scope::{INT2, INT4, INT8, TEXT, UUID};

/// A shard for each bucket, so that a shard tells the key's bucket.
fn map() -> ShardMap {
    let shards: Vec<ShardId> = (0..BUCKETS).map(ShardId).collect();
    ShardMap::new(1, ShardId(0), shards.clone(), shards).unwrap()
}

fn of(key: Key<'_>) -> Target {
    Target::Shard(ShardId(ShardMap::bucket(key).0))
}

fn literal(value: Constant, negative: bool, cast_to: Option<u32>) -> KeyExpr {
    KeyExpr::Literal {
        location: 0,
        negative,
        cast_to,
        value,
    }
}

fn string(text: &str) -> KeyExpr {
    literal(Constant::String(text.to_owned()), false, None)
}

fn number(value: i64) -> KeyExpr {
    literal(Constant::Integer(value.abs()), value < 0, None)
}

fn whole(key: &KeyExpr, key_type: KeyType) -> Target {
    target(
        key,
        key_type,
        Arguments::Whole,
        &[42],
        Encoding::Utf8,
        &map(),
    )
}

/// One parameter as a Bind message carries it.
fn bound(key: &KeyExpr, key_type: KeyType, oid: u32, binary: bool, value: Option<&[u8]>) -> Target {
    let mut body = BytesMut::from(&b"\0\0"[..]);
    body.extend_from_slice(&[0, 1, 0, u8::from(binary), 0, 1]);
    match value {
        Some(value) => {
            body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend_from_slice(value);
        }
        None => body.extend_from_slice(&[0xff; 4]),
    }
    body.extend_from_slice(&[0, 0]);
    let bind = wire::frontend::Bind::parse(&body).unwrap();
    let arguments = Arguments::Bound {
        bind: &bind,
        types: &[oid],
    };
    target(key, key_type, arguments, &[], Encoding::Utf8, &map())
}

const PARAMETER: KeyExpr = KeyExpr::Parameter {
    number: 1,
    cast_to: None,
};

#[test]
fn literals_are_read_as_postgresql_reads_them() {
    let five = of(Key::Int(5));
    assert_eq!(whole(&number(5), KeyType::Int4), five);
    assert_eq!(whole(&number(-5), KeyType::Int8), of(Key::Int(-5)));
    assert_eq!(whole(&string(" +5\t"), KeyType::Int8), five);
    assert_eq!(
        whole(
            &literal(Constant::Numeric("5.0".into()), false, None),
            KeyType::Int8
        ),
        five
    );
    assert_eq!(
        whole(
            &literal(Constant::Numeric("5.5".into()), false, None),
            KeyType::Int8
        ),
        Target::Unknown
    );
    assert_eq!(whole(&string("abc"), KeyType::Int8), Target::Nowhere);
    assert_eq!(whole(&string("0x5"), KeyType::Int8), Target::Unknown);
    assert_eq!(
        whole(&literal(Constant::Null, false, None), KeyType::Int8),
        Target::Nowhere
    );
    assert_eq!(
        whole(
            &literal(Constant::Boolean(true), false, None),
            KeyType::Int8
        ),
        Target::Unknown
    );
    assert_eq!(whole(&string(" x "), KeyType::Text), of(Key::Text(b" x ")));
    assert_eq!(whole(&number(5), KeyType::Text), Target::Unknown);
    assert_eq!(
        whole(
            &string("{A0EEBC99-9c0b4ef8-bb6d6bb9bd380a11}"),
            KeyType::Uuid
        ),
        whole(&string("a0eebc999c0b4ef8bb6d6bb9bd380a11"), KeyType::Uuid)
    );
    assert_eq!(
        whole(&KeyExpr::GeneratedId(0), KeyType::Int8),
        of(Key::Int(42))
    );
}

#[test]
fn casts_keep_the_value_or_are_not_read() {
    assert_eq!(
        whole(
            &literal(Constant::String("5".into()), false, Some(INT4)),
            KeyType::Int8
        ),
        of(Key::Int(5))
    );
    assert_eq!(
        whole(
            &literal(Constant::Integer(70_000), false, Some(INT2)),
            KeyType::Int8
        ),
        Target::Nowhere
    );
    assert_eq!(
        whole(
            &literal(Constant::Numeric("5.5".into()), false, Some(INT4)),
            KeyType::Int8
        ),
        Target::Unknown
    );
    assert_eq!(
        whole(
            &literal(Constant::Integer(5), false, Some(TEXT)),
            KeyType::Text
        ),
        Target::Unknown
    );
    assert_eq!(
        whole(
            &literal(Constant::String("5".into()), false, Some(TEXT)),
            KeyType::Int8
        ),
        Target::Unknown
    );
}

#[test]
fn arithmetic_has_postgresqls_types() {
    let sum = |operator, left: i64, right: i64| {
        let key = KeyExpr::Arithmetic {
            operator,
            left: Box::new(number(left)),
            right: Box::new(number(right)),
        };
        whole(&key, KeyType::Int8)
    };
    assert_eq!(sum(Arithmetic::Add, 40, 2), of(Key::Int(42)));
    assert_eq!(sum(Arithmetic::Subtract, 40, 50), of(Key::Int(-10)));
    assert_eq!(
        sum(Arithmetic::Multiply, 3_000_000_000, 2),
        of(Key::Int(6_000_000_000))
    );
    assert_eq!(sum(Arithmetic::Add, 2_147_483_647, 1), Target::Unknown);
    assert_eq!(sum(Arithmetic::Multiply, i64::MAX, 2), Target::Unknown);
    let plus = KeyExpr::Arithmetic {
        operator: Arithmetic::Add,
        left: Box::new(PARAMETER),
        right: Box::new(number(1)),
    };
    assert_eq!(
        bound(&plus, KeyType::Int8, 0, false, Some(b"41")),
        of(Key::Int(42))
    );
    assert_eq!(
        bound(
            &plus,
            KeyType::Int8,
            INT8,
            true,
            Some(&41_i64.to_be_bytes())
        ),
        of(Key::Int(42))
    );
    assert_eq!(bound(&plus, KeyType::Int8, 0, false, None), Target::Nowhere);
}

#[test]
fn parameters_are_read_by_type_and_format() {
    let five = of(Key::Int(5));
    assert_eq!(
        bound(&PARAMETER, KeyType::Int8, 0, false, Some(b" 5")),
        five
    );
    assert_eq!(
        bound(
            &PARAMETER,
            KeyType::Int8,
            0,
            true,
            Some(&5_i32.to_be_bytes())
        ),
        five
    );
    assert_eq!(
        bound(
            &PARAMETER,
            KeyType::Int8,
            INT2,
            true,
            Some(&5_i16.to_be_bytes())
        ),
        five
    );
    assert_eq!(
        bound(
            &PARAMETER,
            KeyType::Int8,
            INT8,
            true,
            Some(&5_i16.to_be_bytes())
        ),
        Target::Nowhere
    );
    assert_eq!(
        bound(
            &PARAMETER,
            KeyType::Int8,
            701,
            true,
            Some(&5_f64.to_be_bytes())
        ),
        Target::Unknown
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Int8, 1700, false, Some(b"5.00")),
        five
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Int8, TEXT, false, Some(b"5")),
        Target::Unknown
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Int8, 0, false, None),
        Target::Nowhere
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Text, 0, true, Some("é".as_bytes())),
        of(Key::Text("é".as_bytes()))
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Text, 1042, false, Some(b"a")),
        Target::Unknown
    );
    assert_eq!(
        bound(&PARAMETER, KeyType::Uuid, UUID, true, Some(&[7; 16])),
        of(Key::Uuid([7; 16]))
    );
    let cast = KeyExpr::Parameter {
        number: 1,
        cast_to: Some(INT8),
    };
    assert_eq!(bound(&cast, KeyType::Int8, TEXT, false, Some(b"5")), five);
    assert_eq!(
        bound(&cast, KeyType::Int8, 0, true, Some(&5_i64.to_be_bytes())),
        five
    );
    let shared = KeyExpr::SharedParameter {
        number: 1,
        cast_to: None,
    };
    assert_eq!(
        bound(&shared, KeyType::Int8, 0, true, Some(&5_i64.to_be_bytes())),
        Target::Unknown
    );
    assert_eq!(bound(&shared, KeyType::Int8, 0, false, Some(b"5")), five);
    assert_eq!(
        bound(&shared, KeyType::Int8, 0, false, Some(b"5.0")),
        Target::Unknown
    );
    assert_eq!(
        bound(
            &shared,
            KeyType::Int8,
            INT8,
            true,
            Some(&5_i64.to_be_bytes())
        ),
        five
    );
}

#[test]
fn a_text_in_another_encoding_is_not_guessed() {
    let by = |text: &str| {
        target(
            &string(text),
            KeyType::Text,
            Arguments::Whole,
            &[],
            Encoding::Other,
            &map(),
        )
    };
    assert_eq!(by("e"), of(Key::Text(b"e")));
    assert_eq!(by("é"), Target::Unknown);
}

#[test]
fn a_shape_gives_the_literals_of_its_own_text() {
    let by = |text: &str, ordinal, negative, key_type| {
        let mut shape = Shape::default();
        shape.read(text).unwrap();
        let arguments = Arguments::Shape {
            text,
            literals: &shape.literals,
        };
        let key = KeyExpr::Literal {
            location: ordinal,
            negative,
            cast_to: None,
            value: Constant::Null,
        };
        target(&key, key_type, arguments, &[], Encoding::Utf8, &map())
    };
    assert_eq!(
        by("select 1 where a = 77", 1, false, KeyType::Int4),
        of(Key::Int(77))
    );
    assert_eq!(
        by("select 1 where a = -77", 1, true, KeyType::Int4),
        of(Key::Int(-77))
    );
    assert_eq!(
        by("select 1 where a = '77'", 1, false, KeyType::Int4),
        of(Key::Int(77))
    );
    assert_eq!(
        by("select 1 where a = 77.0", 1, false, KeyType::Int4),
        of(Key::Int(77))
    );
    assert_eq!(
        by(
            "select 1 where a = 99999999999999999999",
            1,
            false,
            KeyType::Int4
        ),
        Target::Nowhere
    );
    assert_eq!(
        by("select 1 where a = 'it''s ''''x'", 1, false, KeyType::Text),
        of(Key::Text(b"it's ''x"))
    );
    assert_eq!(
        by("select 1 where a = E'x'", 1, false, KeyType::Text),
        Target::Unknown
    );
}

#[test]
fn integers_and_numbers_follow_the_input_functions() {
    for (text, value) in [
        ("5", 5),
        (" -5\n", -5),
        ("+05", 5),
        ("-9223372036854775808", i64::MIN),
        ("9223372036854775807", i64::MAX),
    ] {
        assert_eq!(integer(text.as_bytes()), Integer::Value(value), "{text}");
    }
    for text in [
        "",
        " ",
        "- 5",
        "5 5",
        "--5",
        "5.0",
        "9223372036854775808",
        "-9223372036854775809",
        "\u{a0}5",
    ] {
        assert_eq!(integer(text.as_bytes()), Integer::Invalid, "{text}");
    }
    for (text, value) in [
        ("1e3", 1000),
        ("12.00", 12),
        ("0.0", 0),
        ("-1500e-2", -15),
        (".5e1", 5),
        ("5.", 5),
        ("0e99", 0),
    ] {
        assert_eq!(numeric(text.as_bytes()), Integer::Value(value), "{text}");
    }
    for text in ["1e30", "-1e19", "123456789012345678901"] {
        assert_eq!(numeric(text.as_bytes()), Integer::Invalid, "{text}");
    }
    for text in ["0.5", "1e-1", "NaN", "Infinity", "", ".", "1e", "e5"] {
        assert_eq!(numeric(text.as_bytes()), Integer::Unclear, "{text}");
    }
}

#[test]
fn uuids_have_all_of_postgresqls_forms() {
    let bytes = uuid(b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
    for text in [
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    ] {
        assert_eq!(uuid(text.as_bytes()), Some(bytes), "{text}");
    }
    for text in [
        " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0e-ebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
    ] {
        assert_eq!(uuid(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn arrays_give_the_shards_of_their_elements() {
    let by = |text: &str, key_type| {
        array_targets(
            &string(text),
            key_type,
            Arguments::Whole,
            Encoding::Utf8,
            &map(),
        )
    };
    let shards = |keys: &[Key<'_>]| {
        let mut shards: Vec<ShardId> = keys
            .iter()
            .map(|key| ShardId(ShardMap::bucket(*key).0))
            .collect();
        shards.sort_unstable();
        shards.dedup();
        Some(shards)
    };
    assert_eq!(
        by("{5, 7 ,NULL,5}", KeyType::Int4),
        shards(&[Key::Int(5), Key::Int(7)])
    );
    assert_eq!(by("{}", KeyType::Int4), Some(vec![]));
    assert_eq!(
        by(r#"{a,"b \"c",null,"null"}"#, KeyType::Text),
        shards(&[Key::Text(b"a"), Key::Text(b"b \"c"), Key::Text(b"null")])
    );
    for text in ["{1,{2}}", "{1,}", "{1", "[1:2]={1,2}", "{a}", ""] {
        assert_eq!(by(text, KeyType::Int4), None, "{text}");
    }
    let mut binary = Vec::new();
    for word in [1, 1, INT4, 2, 1, 4, 5, u32::MAX] {
        binary.extend_from_slice(&word.to_be_bytes());
    }
    let mut body = vec![0, 0, 0, 1, 0, 1, 0, 1];
    body.extend_from_slice(&u32::try_from(binary.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&binary);
    body.extend_from_slice(&[0, 0]);
    let bind = wire::frontend::Bind::parse(&body).unwrap();
    let arguments = Arguments::Bound {
        bind: &bind,
        types: &[0],
    };
    assert_eq!(
        array_targets(&PARAMETER, KeyType::Int4, arguments, Encoding::Utf8, &map()),
        shards(&[Key::Int(5)])
    );
    assert_eq!(
        array_targets(&PARAMETER, KeyType::Int8, arguments, Encoding::Utf8, &map()),
        None
    );
}
