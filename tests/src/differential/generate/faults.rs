//! Statements with a mistake, one each: both sides must find the same one.

use super::Generator;
use crate::differential::tree::{Body, Expression, Item, OrderKey, Part, Query, Statement};
use crate::differential::tree::{By, Limit};
use crate::differential::types::{Literal, Type};

/// Values that no query can have: found when the statement is analysed, wherever they stand.
const MISTAKES: [&str; 12] = [
    "no_such_column",
    "t99.id",
    "(1 + true)",
    "no_such_function(1)",
    "length(1, 2)",
    "('x'::text + 1)",
    "'x'::no_such_type",
    "(array[1] || 'x'::jsonb)",
    "sum(count(*))",
    "'many'::int4",
    "'2024-13-45'::date",
    "'mad'::mood",
];

/// Whole statements. Those that fail while rows are read fail on the first.
const STATEMENTS: [&str; 20] = [
    "select 1 / (stars - stars) from posts where stars is not null",
    "select name::int4 from users where name = 'Ada'",
    "select 1 from posts p, comments c where id = 1",
    "select author_id from posts join comments on true",
    "select name, count(*) from users",
    "select name from users group by country",
    "select * from posts where count(*) > 1",
    "select sum(count(*)) from posts",
    "select (select id from posts)",
    "select id from posts where id = (select author_id from comments)",
    "select 1 from users order by 2",
    "select id from users limit -1",
    "select id, from users",
    "select id from users union select id, name from users",
    "select id from users union select name from users",
    "select * from no_such_table",
    "select u.nope from users u",
    "select id from users order by nope",
    "select rank() from users",
    "select distinct id from users order by name",
];

const WRITES: [&str; 14] = [
    "insert into posts (author_id, id) values (1, 77), (1, 77)",
    "insert into posts (author_id, id, title) values (1)",
    "insert into posts (author_id, id, stars) values (1, 500000, 1000)",
    "insert into posts (author_id, id, nope) values (1, 2, 3)",
    "insert into posts (author_id, id) values (null, 500001)",
    "insert into users (id, country) values (500002, 'zz')",
    "insert into users (id, nick) values (500003, 'much longer than twelve')",
    "insert into users (id, age) values (500004, 40000)",
    "insert into countries (code) values ('at')",
    "update posts set stars = 5000",
    "update posts set author_id = null where author_id = 3",
    "update users set nope = 1",
    "delete from users where nope",
    "delete from countries where code = 'at' returning nope",
];

impl Generator {
    /// A statement with a mistake.
    pub(super) fn faulty(&mut self) -> Statement {
        match self.dice.below(10) {
            0..3 => Statement::Text((*self.dice.pick(&STATEMENTS)).to_owned()),
            3 => Statement::Text((*self.dice.pick(&WRITES)).to_owned()),
            _ => {
                let mut query = self.whole_query();
                let mistake = *self.dice.pick(&MISTAKES);
                self.break_query(&mut query, mistake);
                Statement::Query(query)
            }
        }
    }

    fn break_query(&mut self, query: &mut Query, mistake: &str) {
        let wrong = Expression::text(Type::Int4, mistake);
        if self.dice.chance(10) {
            query.limit = Some(Limit::Count(Literal::integer(Type::Int8, -1)));
            query.order.clear();
        } else if self.dice.chance(10) {
            query.order = vec![OrderKey {
                by: By::Ordinal(99),
                direction: String::new(),
            }];
        } else {
            self.break_body(&mut query.body, wrong);
        }
    }

    fn break_body(&mut self, body: &mut Body, wrong: Expression) {
        match body {
            Body::Select(select) if self.dice.chance(40) => {
                let parts = vec![Part::Expression(wrong), Part::Text(" is null".to_owned())];
                select.filter.push(Expression::Made {
                    type_: Type::Bool,
                    parts,
                });
            }
            Body::Select(select) => select.items.push(Item {
                expression: wrong,
                alias: None,
            }),
            Body::Set { left, right, .. } => {
                let side = if self.dice.chance(50) { left } else { right };
                self.break_body(&mut side.body, wrong);
            }
            Body::Values(rows) => rows[0][0] = wrong,
            Body::Text(text) => text.push_str(" nonsense"),
        }
    }

    /// A row of its own id, which differs between servers: to be rolled back.
    pub fn insert_with_made_id(&mut self) -> String {
        let user = self.some_user();
        (*self.dice.pick(&[
            "insert into posts (author_id, title) values ({}, 'made') returning author_id, title, id >= 1000000",
            "insert into comments (author_id, body) values ({}, 'a'), (7, 'b'), ({}, 'c') returning body",
            "insert into users (name) values ('made'), ('too') returning name, id >= 1000000",
            "insert into settings (name) values ('made') returning name",
            "insert into messages (sender_id, body) select id, 'made' from users where id < {} returning body",
        ]))
        .replace("{}", &user.to_string())
    }
}
