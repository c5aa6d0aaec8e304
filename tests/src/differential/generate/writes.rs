//! INSERT, UPDATE and DELETE, which leave the same rows in whatever order they are carried out.

use super::Generator;
use super::expression::{fill, not_constant};
use super::scope::Scope;
use crate::differential::tables::{COUNTRIES, Column, Placement, Pool, TABLES, Table};
use crate::differential::tree::{
    Body, Expression, Item, Query, Select, Source, Statement, Write, WriteKind,
};
use crate::differential::types::{self, Literal, Type};

impl Generator {
    /// A statement that writes.
    pub fn write(&mut self) -> Statement {
        self.begin();
        let table = self.written_table();
        let kind = match self.dice.below(100) {
            0..32 => self.insert(table),
            32..40 => self.insert_select(table),
            40..74 => self.update(table),
            74..80 => self.key_update(),
            _ => self.delete(table),
        };
        let returning = self.returning(&kind, table);
        Statement::Write(Write {
            with: Vec::new(),
            kind,
            returning,
        })
    }

    fn written_table(&mut self) -> &'static Table {
        let numbers = [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7];
        &TABLES[*self.dice.pick(&numbers)]
    }

    fn returning(&mut self, kind: &WriteKind, table: &Table) -> Vec<Item> {
        if !self.dice.chance(45) {
            return Vec::new();
        }
        // A key update names its own table.
        let target = match kind {
            WriteKind::Insert { table, .. } => table,
            WriteKind::Update { target, .. } | WriteKind::Delete { target, .. } => target,
        };
        let table = TABLES
            .iter()
            .find(|table| table.name == target)
            .unwrap_or(table);
        let scope = Scope::table(table, table.name);
        let item = |generator: &mut Generator| {
            let type_ = generator.dice.pick(table.columns).type_;
            let depth = generator.dice.below(2);
            let before = std::mem::replace(&mut generator.subqueries_left, 0);
            let expression = not_constant(generator.expression(&scope, type_, depth));
            generator.subqueries_left = before;
            Item {
                expression,
                alias: None,
            }
        };
        (0..=self.dice.below(3)).map(|_| item(self)).collect()
    }

    /// The key and some more.
    fn some_columns(&mut self, table: &'static Table) -> Vec<&'static Column> {
        let (key, others) = table.columns.split_at(table.key);
        let mut columns: Vec<_> = key.iter().collect();
        columns.extend(others.iter().filter(|_| self.dice.chance(50)));
        columns
    }

    fn insert(&mut self, table: &'static Table) -> WriteKind {
        let columns = self.some_columns(table);
        let count = *self.dice.pick(&[1, 1, 1, 2, 3, 5]);
        let rows: Vec<Vec<_>> = (0..count)
            .map(|_| {
                columns
                    .iter()
                    .map(|column| self.inserted_value(column))
                    .collect()
            })
            .collect();
        WriteKind::Insert {
            table: table.name.to_owned(),
            columns: columns
                .iter()
                .map(|column| column.name.to_owned())
                .collect(),
            conflict: self.conflict(table),
            source: Query::of(Body::Values(rows)),
        }
    }

    fn inserted_value(&mut self, column: &Column) -> Expression {
        let literal = match column.pool {
            Pool::Row if self.dice.chance(12) => Literal::integer(Type::Int8, self.some_user()),
            Pool::Row => {
                self.next_id += 1;
                Literal::integer(Type::Int8, self.next_id)
            }
            Pool::User => Literal::integer(Type::Int8, self.some_user()),
            Pool::Country => self.country(column.required),
            Pool::Any => types::literal(&mut self.dice, column.type_),
        };
        Expression::Literal(Literal {
            plain: true,
            ..literal
        })
    }

    fn country(&mut self, new: bool) -> Literal {
        let mut value = (*self.dice.pick(&COUNTRIES)).to_owned();
        if new && self.dice.chance(80) {
            self.next_id += 1;
            value = format!("x{}", self.next_id);
        }
        Literal {
            type_: Type::Text,
            value: Some(value),
            plain: true,
        }
    }

    fn conflict(&mut self, table: &Table) -> Option<Expression> {
        let keys = table.key_names().join(", ");
        let column = self.dice.pick(&table.columns[table.key..]);
        let name = column.name;
        let text = match self.dice.below(100) {
            0..15 => format!("({keys}) do nothing"),
            15..20 => "do nothing".to_owned(),
            20..35 => format!("({keys}) do update set {name} = excluded.{name}"),
            35..42 => format!(
                "({keys}) do update set {name} = excluded.{name} where {}.{name} is distinct from {{0}}",
                table.name
            ),
            _ => return None,
        };
        let literal = Expression::Literal(types::literal(&mut self.dice, column.type_));
        Some(fill(Type::Bool, &text, &[literal]))
    }

    fn insert_select(&mut self, table: &'static Table) -> WriteKind {
        let columns = self.some_columns(table);
        let (from, mut scope) = self.from(&Scope::inside(&[]));
        let mut select = Select {
            filter: vec![self.predicate(&scope, 1)],
            from,
            ..Select::default()
        };
        select.filter.extend(self.key_condition(&scope));
        scope.outer.clear();
        for column in &columns {
            let expression = self.selected_value(&scope, column);
            select.items.push(Item {
                expression,
                alias: None,
            });
        }
        WriteKind::Insert {
            table: table.name.to_owned(),
            columns: columns
                .iter()
                .map(|column| column.name.to_owned())
                .collect(),
            source: Query::of(Body::Select(Box::new(select))),
            conflict: None,
        }
    }

    fn selected_value(&mut self, scope: &Scope, column: &Column) -> Expression {
        match column.pool {
            Pool::Country if column.required => self.numbered(scope, "'n' || {0}"),
            Pool::Country => Expression::Literal(self.country(false)),
            _ if column.required => self.numbered(scope, "{0}"),
            _ => {
                let leaf = self.leaf(scope, column.type_);
                if leaf.type_() == column.type_ {
                    leaf
                } else {
                    not_constant(leaf)
                }
            }
        }
    }

    /// Numbers that no row has, by a total order of the rows; the same for the same rows.
    fn numbered(&mut self, scope: &Scope, text: &str) -> Expression {
        self.next_id += 10_000;
        let Some(total) = &scope.total else {
            return Expression::Literal(Literal::integer(Type::Int8, self.next_id));
        };
        let order: Vec<_> = total.iter().map(|column| column.text.as_str()).collect();
        let order = if order.is_empty() {
            "1::int4".to_owned()
        } else {
            order.join(", ")
        };
        let number = format!("({} + row_number() over (order by {order}))", self.next_id);
        let number = Expression::text(Type::Int8, number).fixed();
        fill(Type::Int8, text, &[number])
    }

    fn update(&mut self, table: &'static Table) -> WriteKind {
        let mut scope = Scope::table(table, table.name);
        let mut filter = Vec::new();
        let from = if self.dice.chance(22) {
            self.matched_once(table, &mut scope, &mut filter)
        } else {
            Vec::new()
        };
        let mut set = Vec::new();
        for column in &table.columns[table.key..] {
            if set.len() < 3 && self.dice.chance(25) && column.name != "country" {
                let value = self.expression(&scope, column.type_, 1);
                set.push((column.name.to_owned(), value));
            }
        }
        if set.is_empty() {
            let column = &table.columns[table.key];
            let literal = Expression::Literal(types::literal(&mut self.dice, column.type_));
            set.push((column.name.to_owned(), literal));
        }
        filter.extend(self.written_filter(table, &scope));
        WriteKind::Update {
            target: table.name.to_owned(),
            set,
            from,
            filter,
        }
    }

    /// The shard key set anew, for one row or for many. Ids of rows are unique in their tables.
    fn key_update(&mut self) -> WriteKind {
        let table = &TABLES[*self.dice.pick(&[3, 6, 7])];
        let scope = Scope::table(table, table.name);
        let key = table.columns[0].name;
        let value = match self.dice.below(3) {
            0 => fill(Type::Int8, "{0} + 1", &[scope.columns[0].expression()]),
            _ => Expression::Literal(Literal::integer(Type::Int8, self.some_user())),
        };
        let mut filter: Vec<_> = self.key_condition(&scope).into_iter().collect();
        if self.dice.chance(60) {
            filter.push(self.predicate(&scope, 0));
        }
        WriteKind::Update {
            target: table.name.to_owned(),
            set: vec![(key.to_owned(), value)],
            from: Vec::new(),
            filter,
        }
    }

    fn delete(&mut self, table: &'static Table) -> WriteKind {
        let mut scope = Scope::table(table, table.name);
        let mut filter = Vec::new();
        let using = if self.dice.chance(22) {
            self.matched_once(table, &mut scope, &mut filter)
        } else {
            Vec::new()
        };
        filter.extend(self.written_filter(table, &scope));
        // Not too many.
        if table.placement == Placement::Sharded && self.dice.chance(70) {
            let second = Expression::text(
                Type::Int8,
                format!("{}.{}", table.name, table.columns[0].name),
            );
            filter.push(fill(Type::Bool, "{0} % 7 = 3", &[second]));
        }
        WriteKind::Delete {
            target: table.name.to_owned(),
            using,
            filter,
        }
    }

    fn written_filter(&mut self, table: &Table, scope: &Scope) -> Vec<Expression> {
        let own = Scope {
            columns: scope.columns[..table.columns.len()].to_vec(),
            ..scope.clone()
        };
        let mut filter = Vec::new();
        if self.dice.chance(60) {
            filter.extend(self.key_condition(&own));
        }
        if self.dice.chance(55) {
            let depth = self.dice.below(2);
            filter.push(self.predicate(scope, depth));
        }
        filter
    }

    /// FROM or USING, of which each row of the target meets one row at most.
    fn matched_once(
        &mut self,
        table: &Table,
        scope: &mut Scope,
        filter: &mut Vec<Expression>,
    ) -> Vec<Source> {
        let ids: Vec<_> = scope
            .columns
            .iter()
            .filter(|column| column.type_ == Type::Int8)
            .cloned()
            .collect();
        let Some(id) = self.dice.any(&ids).map(super::scope::Visible::expression) else {
            return Vec::new();
        };
        let alias = self.name('t');
        let users = TABLES.iter().find(|other| other.name == "users");
        if let Some(users) = users
            && table.name != "users"
            && self.dice.chance(60)
        {
            let theirs = Scope::table(users, &alias);
            filter.push(
                fill(
                    Type::Bool,
                    "{0} = {1}",
                    &[theirs.columns[0].expression(), id],
                )
                .fixed(),
            );
            scope.join(&theirs);
            return vec![Source::Named {
                name: users.name.to_owned(),
                alias,
            }];
        }
        self.grouped_source(alias, id, scope, filter)
    }

    fn grouped_source(
        &mut self,
        alias: String,
        id: Expression,
        scope: &mut Scope,
        filter: &mut Vec<Expression>,
    ) -> Vec<Source> {
        let (from, inner) = self.from(&Scope::inside(&[]));
        let Some(key) = inner
            .columns
            .iter()
            .find(|column| column.type_ == Type::Int8)
        else {
            return Vec::new();
        };
        let key = key.expression();
        let items = [
            key.clone().fixed(),
            Expression::text(Type::Int8, "count(*)"),
        ];
        let select = Select {
            from,
            items: items
                .map(|expression| Item {
                    expression,
                    alias: None,
                })
                .into(),
            group: vec![key.fixed()],
            ..Select::default()
        };
        let columns = ["e1".to_owned(), "e2".to_owned()];
        let theirs = Scope::derived(&columns, &[Type::Int8, Type::Int8], &alias);
        filter.push(
            fill(
                Type::Bool,
                "{0} = {1}",
                &[theirs.columns[0].expression(), id],
            )
            .fixed(),
        );
        scope.join(&theirs);
        vec![Source::Derived {
            lateral: false,
            query: Box::new(Query::of(Body::Select(Box::new(select)))),
            alias,
            columns: columns.into(),
        }]
    }
}
