//! The hashes agree with vectors that a live PostgreSQL produced (`live_hash.rs` writes the file).

use topology::Key;

const VECTORS: &str = include_str!("hash_vectors.tsv");

/// A line is: kind, key (texts and uuids in hexadecimal), hash as PostgreSQL prints it.
fn check(line: &str) {
    let [kind, key, hash] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("not three fields: {line}");
    };
    let bytes = || decode_hex(key);
    let ours = match kind {
        "int2" | "int4" | "int8" => Key::Int(key.parse().expect("an integer")).hash(),
        "text" | "varchar" => Key::Text(&bytes()).hash(),
        "uuid" => Key::Uuid(bytes().try_into().expect("16 bytes")).hash(),
        _ => panic!("unknown kind: {line}"),
    };
    assert_eq!(ours as i64, hash.parse::<i64>().expect("a hash"), "{line}");
}

fn decode_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_vector_agrees() {
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
    assert!(lines.inspect(|line| check(line)).count() >= 200);
}
