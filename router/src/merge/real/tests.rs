use super::*;

fn text_key(value: &str) -> Vec<u8> {
    let mut key = Vec::new();
    append_numeric(Format::Text, value.as_bytes(), &mut key).unwrap();
    key
}

/// `numeric_send`'s form.
fn binary(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
    let head = [groups.len() as u16, weight as u16, sign, 3];
    let words = head.iter().chain(groups);
    words.flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn numerics_sort_by_value() {
    let ascending = [
        "-Infinity",
        "-10000000000000000000000000000000000000001",
        "-100.5",
        "-100",
        "-99.99",
        "-1.01",
        "-1",
        "-0.5",
        "-0.05",
        "-0.00000000001",
        "0",
        "0.00000000001",
        "0.00000000002",
        "0.05",
        "0.5",
        "0.51",
        "1",
        "1.01",
        "9",
        "10",
        "99.99",
        "100",
        "123456789.123456789",
        "1234567890",
        "10000000000000000000000000000000000000001",
        "Infinity",
        "NaN",
    ];
    for pair in ascending.windows(2) {
        assert!(text_key(pair[0]) < text_key(pair[1]), "{pair:?}");
    }
}

#[test]
fn equal_numerics_of_another_scale_are_equal() {
    for (one, other) in [
        ("1", "1.000"),
        ("0", "0.00"),
        ("-20", "-20.0"),
        ("0.10", "0.1"),
    ] {
        assert_eq!(text_key(one), text_key(other));
    }
}

#[test]
fn binary_numerics_sort_as_text_ones() {
    for (text, weight, sign, groups) in [
        ("0", 0, 0, &[][..]),
        ("1", 0, 0, &[1]),
        ("-12345.678", 1, 0x4000, &[1, 2345, 6780]),
        ("0.0005", -1, 0, &[5]),
        ("0.00000001", -2, 0, &[1]),
        ("100000000", 2, 0, &[1]),
        ("NaN", 0, 0xc000, &[]),
        ("Infinity", 0, 0xd000, &[]),
        ("-Infinity", 0, 0xf000, &[]),
    ] {
        let mut key = Vec::new();
        append_numeric(Format::Binary, &binary(weight, sign, groups), &mut key).unwrap();
        assert_eq!(key, text_key(text), "{text}");
    }
}

#[test]
fn what_is_no_numeric_is_not_sorted() {
    for value in ["", "-", "1e5", "abc", "."] {
        assert_eq!(
            append_numeric(Format::Text, value.as_bytes(), &mut Vec::new()),
            None,
            "{value}"
        );
    }
    assert_eq!(
        append_numeric(Format::Binary, b"123", &mut Vec::new()),
        None
    );
}

#[test]
fn floats_sort_by_value_in_both_formats() {
    let ascending = [
        "-Infinity",
        "-1e+300",
        "-1.5",
        "-1e-300",
        "0",
        "5e-324",
        "0.1",
        "1",
        "1e+20",
        "Infinity",
        "NaN",
    ];
    let text = |value: &str| float(Format::Text, value.as_bytes()).unwrap();
    for pair in ascending.windows(2) {
        assert!(text(pair[0]) < text(pair[1]), "{pair:?}");
    }
    assert_eq!(text("-0"), text("0"));
    for value in ascending {
        let number: f64 = value.parse().unwrap();
        assert_eq!(
            float(Format::Binary, &number.to_be_bytes()),
            Some(text(value)),
            "{value}"
        );
    }
    let short: f32 = 0.1;
    assert!(float(Format::Binary, &short.to_be_bytes()).unwrap() > text("0.1"));
}
