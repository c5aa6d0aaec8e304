//! FROM clauses: tables, derived tables, functions, and joins of all kinds between them.

use super::Generator;
use super::expression::fill;
use super::scope::{Scope, Visible};
use crate::differential::tables::{Pool, TABLES, Table, VIEWS};
use crate::differential::tree::{Expression, On, Source};
use crate::differential::types::{Literal, Type};

impl Generator {
    /// A FROM clause, and what is in sight behind it.
    pub(super) fn from(&mut self, outside: &Scope) -> (Vec<Source>, Scope) {
        let outer = outside.seen_inside();
        if self.dice.chance(3) {
            return (Vec::new(), Scope::inside(&outer));
        }
        let count = *self.dice.pick(&[1, 1, 1, 1, 2, 2, 2, 2, 3]);
        if count == 2 && self.dice.chance(8) {
            return self.merged_columns(&outer);
        }
        let (mut source, mut scope) = self.source(&Scope::inside(&outer));
        for _ in 1..count {
            let (right, theirs) = self.source(&scope.with_outer(&outer));
            source = self.joined(source, &scope, right, &theirs);
            scope.join(&theirs);
        }
        scope.outer = outer;
        (vec![source], scope)
    }

    /// One FROM item. `before`: what a lateral one may name.
    fn source(&mut self, before: &Scope) -> (Source, Scope) {
        if let Some((name, columns, types)) = self.dice.any(&self.common.clone())
            && self.dice.chance(45)
        {
            let alias = self.name('c');
            let scope = Scope::derived(columns, types, &alias);
            return (
                Source::Named {
                    name: name.clone(),
                    alias,
                },
                scope,
            );
        }
        match self.dice.below(100) {
            0..10 if self.subqueries_left > 0 => self.derived(before, false),
            10..15 if self.subqueries_left > 0 => self.derived(before, true),
            15..19 => self.function(before),
            19..25 => self.view(),
            _ => self.table(),
        }
    }

    fn table(&mut self) -> (Source, Scope) {
        let table = self.some_table();
        let alias = self.name('t');
        let scope = Scope::table(table, &alias);
        (
            Source::Named {
                name: table.name.to_owned(),
                alias,
            },
            scope,
        )
    }

    fn view(&mut self) -> (Source, Scope) {
        let (name, _, columns) = *self.dice.pick(&VIEWS);
        let alias = self.name('v');
        let names: Vec<_> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let types: Vec<_> = columns.iter().map(|(_, type_)| *type_).collect();
        let scope = Scope::derived(&names, &types, &alias);
        let name = name.to_owned();
        (Source::Named { name, alias }, scope)
    }

    /// Sharded ones mostly.
    pub(super) fn some_table(&mut self) -> &'static Table {
        let numbers = [0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7];
        &TABLES[*self.dice.pick(&numbers)]
    }

    fn derived(&mut self, before: &Scope, lateral: bool) -> (Source, Scope) {
        self.subqueries_left -= 1;
        let outside = Scope {
            outer: if lateral {
                before.seen_inside()
            } else {
                Vec::new()
            },
            ..Scope::default()
        };
        let mut query = self.query(&outside, None);
        if self.dice.chance(20) {
            self.limit_inside(&mut query);
        }
        let types = query.types();
        let alias = self.name('d');
        let columns: Vec<_> = (1..=types.len())
            .map(|number| format!("e{number}"))
            .collect();
        let scope = Scope::derived(&columns, &types, &alias);
        let query = Box::new(query);
        (
            Source::Derived {
                lateral,
                query,
                alias,
                columns,
            },
            scope,
        )
    }

    fn function(&mut self, before: &Scope) -> (Source, Scope) {
        let alias = self.name('g');
        let (call, type_) = match self.dice.below(3) {
            0 => ("generate_series(1, {0})", Type::Int4),
            1 => ("unnest({0})", Type::Text),
            _ => (
                "jsonb_object_keys(case when jsonb_typeof({0}) = 'object' then {0} end)",
                Type::Text,
            ),
        };
        let argument = match self.dice.below(2) {
            _ if type_ == Type::Int4 => {
                Expression::Literal(Literal::integer(Type::Int4, self.dice.between(0, 6)))
            }
            _ if call.starts_with('u') => self.leaf(before, Type::TextArray),
            _ => self.leaf(before, Type::Jsonb),
        };
        let text = format!("{call} as {alias} (f1)");
        let scope = Scope::derived(&["f1".to_owned()], &[type_], &alias);
        (Source::Function(fill(type_, &text, &[argument])), scope)
    }

    fn joined(&mut self, left: Source, mine: &Scope, right: Source, theirs: &Scope) -> Source {
        let kinds = [
            (40, "join"),
            (22, "left join"),
            (7, "right join"),
            (7, "full join"),
            (4, "cross join"),
        ];
        let mut kind = *self.dice.weighted(&kinds);
        // A lateral item may not name what is on the side that is filled up with NULL.
        if is_lateral(&right) && !matches!(kind, "join" | "cross join") {
            kind = "left join";
        }
        let on = match kind {
            "cross join" => On::Nothing,
            _ => On::Conditions(self.conditions(mine, theirs, kind)),
        };
        let (left, right) = (Box::new(left), Box::new(right));
        Source::Join {
            kind: kind.to_owned(),
            left,
            right,
            on,
        }
    }

    fn conditions(&mut self, mine: &Scope, theirs: &Scope, kind: &str) -> Vec<Expression> {
        let mut conditions: Vec<_> = self.equality(mine, theirs).into_iter().collect();
        if kind == "full join" {
            return conditions;
        }
        if conditions.is_empty() || self.dice.chance(18) {
            let mut both = mine.clone();
            both.join(theirs);
            both.outer.clear();
            conditions.push(self.predicate(&both, 1));
        }
        conditions
    }

    /// An equality of a column of each side: ids of the same kind if there are any.
    fn equality(&mut self, mine: &Scope, theirs: &Scope) -> Option<Expression> {
        let mut good = Vec::new();
        let mut any = Vec::new();
        for left in &mine.columns {
            for right in theirs
                .columns
                .iter()
                .filter(|right| right.type_ == left.type_)
            {
                any.push((left, right));
                if is_id(left) && is_id(right) {
                    good.push((left, right));
                }
            }
        }
        let pairs = if good.is_empty() || self.dice.chance(20) {
            any
        } else {
            good
        };
        // The shard keys, which are first.
        let pair = if self.dice.chance(35) {
            pairs.first()
        } else {
            self.dice.any(&pairs)
        };
        let (left, right) = pair?;
        let sides = [left.expression(), right.expression()];
        Some(fill(Type::Bool, "{0} = {1}", &sides))
    }

    /// USING and NATURAL, where columns of two tables become one.
    fn merged_columns(&mut self, outer: &[Visible]) -> (Vec<Source>, Scope) {
        let pairs = [
            (3, 6, "author_id", Type::Int8),
            (3, 6, "id", Type::Int8),
            (2, 3, "id", Type::Int8),
            (6, 7, "id", Type::Int8),
            (1, 5, "user_id", Type::Int8),
            (3, 6, "stars", Type::Int4),
            (2, 3, "feeling", Type::Mood),
        ];
        let (left, right, column, type_) = *self.dice.pick(&pairs);
        let (left, right) = (&TABLES[left], &TABLES[right]);
        let (one, other) = (self.name('t'), self.name('t'));
        let mut scope = Scope::table(left, &one);
        scope.join(&Scope::table(right, &other));
        let merged = Visible {
            text: column.to_owned(),
            type_,
            pool: Pool::Any,
        };
        scope.columns.push(merged);
        scope.outer = outer.to_vec();
        let kind = *self
            .dice
            .pick(&["join", "left join", "right join", "full join"]);
        let natural = self.dice.chance(25);
        let source = Source::Join {
            kind: if natural {
                format!("natural {kind}")
            } else {
                kind.to_owned()
            },
            left: Box::new(Source::Named {
                name: left.name.to_owned(),
                alias: one,
            }),
            right: Box::new(Source::Named {
                name: right.name.to_owned(),
                alias: other,
            }),
            on: if natural {
                On::Nothing
            } else {
                On::Using(vec![column.to_owned()])
            },
        };
        (vec![source], scope)
    }

    /// A condition on a column of ids: one shard is enough where it is the shard key.
    pub(super) fn key_condition(&mut self, scope: &Scope) -> Option<Expression> {
        let ids: Vec<_> = scope
            .columns
            .iter()
            .filter(|column| is_id(column) && column.type_ == Type::Int8)
            .collect();
        let column = if self.dice.chance(70) {
            ids.first()
        } else {
            self.dice.any(&ids)
        };
        let column = (*column?).expression();
        let mut ids: Vec<_> = (0..3)
            .map(|_| Expression::Literal(Literal::integer(Type::Int8, self.some_user())))
            .collect();
        ids.insert(0, column);
        let texts = [
            "{0} = {1}",
            "{0} = {1}",
            "{0} in ({1}, {2})",
            "{0} = any (array[{1}, {2}, {3}])",
        ];
        Some(fill(Type::Bool, self.dice.word(&texts), &ids))
    }
}

impl Scope {
    fn with_outer(&self, outer: &[Visible]) -> Scope {
        Scope {
            outer: outer.to_vec(),
            ..self.clone()
        }
    }
}

fn is_id(column: &Visible) -> bool {
    column.pool != Pool::Any
}

fn is_lateral(source: &Source) -> bool {
    matches!(
        source,
        Source::Derived { lateral: true, .. } | Source::Function(_)
    )
}
