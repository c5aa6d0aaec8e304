//! What finding the shape and the shard of a simple statement costs. Run by hand:
//! `cargo test --release -p router --test shape_speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use router::parse::shape::Shape;
use router::plan::KeyExpr;
use router::plan::key::Constant;
use router::route::{Arguments, Encoding, target};
use schema::KeyType;
use topology::{BUCKETS, ShardId, ShardMap};

const TEXTS: [(&str, u32); 3] = [
    (
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        0,
    ),
    (
        "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 12345;",
        1,
    ),
    (
        "SELECT \"users\".\"id\", \"users\".\"name\" FROM \"users\" WHERE \"users\".\"id\" = 12345 LIMIT 21",
        0,
    ),
];

#[test]
#[ignore = "a measurement"]
fn nanoseconds_per_shape_and_route() {
    let buckets = (0..BUCKETS).map(|bucket| ShardId(bucket % 4)).collect();
    let map = ShardMap::new(1, ShardId(0), (0..4).map(ShardId).collect(), buckets)
        .expect("every bucket is on one of the shards");
    let mut shape = Shape::default();
    for (text, ordinal) in TEXTS {
        let value = Constant::Null;
        let key = KeyExpr::Literal {
            location: ordinal,
            negative: false,
            cast_to: None,
            value,
        };
        let rounds = 2_000_000_u32;
        let start = Instant::now();
        for _ in 0..rounds {
            shape.read(black_box(text)).expect("a plain statement");
            let arguments = Arguments::Shape {
                text,
                literals: &shape.literals,
            };
            black_box(target(
                &key,
                KeyType::Int8,
                arguments,
                &[],
                Encoding::Utf8,
                &map,
            ));
        }
        let each = start.elapsed().as_nanos() / u128::from(rounds);
        println!("{each} ns for {} bytes: {text}", text.len());
    }
}
