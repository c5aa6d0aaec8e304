//! Trees written as SQL, with literals in the text or as parameters.

use super::tree::{
    Body, By, CommonTable, Distinct, Expression, Grouping, Item, Limit, On, OrderKey, Part, Query,
    Select, Source, Statement, Write, WriteKind,
};
use super::types::Literal;

/// How literals are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literals {
    InText,
    /// `$1`, the type told to Parse.
    Declared,
    /// `$1::type`.
    Cast,
}

/// A statement's text and its parameters.
#[derive(Debug, Clone)]
pub struct Text {
    pub sql: String,
    pub parameters: Vec<Literal>,
    literals: Literals,
}

/// Writes a statement.
pub fn text(statement: &Statement, literals: Literals) -> Text {
    let mut text = Text {
        sql: String::new(),
        parameters: Vec::new(),
        literals,
    };
    match statement {
        Statement::Query(query) => text.query(query),
        Statement::Write(write) => text.write(write),
        Statement::Text(sql) => text.put(sql),
    }
    text
}

impl Text {
    /// Types for Parse: oids, 0 where the text says it.
    pub fn declared_types(&self) -> Vec<u32> {
        match self.literals {
            Literals::Declared => self
                .parameters
                .iter()
                .map(|value| value.type_.oid())
                .collect(),
            Literals::Cast | Literals::InText => Vec::new(),
        }
    }

    fn put(&mut self, text: &str) {
        self.sql += text;
    }

    fn list<T>(&mut self, items: &[T], between: &str, mut put: impl FnMut(&mut Text, &T)) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.put(between);
            }
            put(self, item);
        }
    }

    fn clause<T>(
        &mut self,
        word: &str,
        items: &[T],
        between: &str,
        put: impl FnMut(&mut Text, &T),
    ) {
        if !items.is_empty() {
            self.put(word);
            self.list(items, between, put);
        }
    }

    fn literal(&mut self, literal: &Literal) {
        if self.literals == Literals::InText {
            return self.put(&literal.sql());
        }
        let known = self.parameters.iter().position(|known| {
            (known.type_, known.value.as_ref()) == (literal.type_, literal.value.as_ref())
        });
        let number = known.unwrap_or_else(|| {
            self.parameters.push(literal.clone());
            self.parameters.len() - 1
        }) + 1;
        self.put(&format!("${number}"));
        if self.literals == Literals::Cast || literal.type_.oid() == 0 {
            self.put(&format!("::{}", literal.type_.name()));
        }
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Literal(literal) => self.literal(literal),
            Expression::Made { parts, .. } => parts.iter().for_each(|part| self.part(part)),
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) => self.put(text),
            Part::Expression(expression) | Part::Fixed(expression) => self.expression(expression),
            Part::Query(query) => self.query(query),
        }
    }

    fn query(&mut self, query: &Query) {
        self.with(&query.with, query.recursive);
        match &query.body {
            Body::Select(select) => self.select(select, &query.order),
            Body::Values(rows) => self.clause("values ", rows, ", ", |text, row| {
                text.put("(");
                text.list(row, ", ", Text::expression);
                text.put(")");
            }),
            Body::Text(text) => self.put(text),
            Body::Set {
                operator,
                left,
                right,
            } => {
                self.put("(");
                self.query(left);
                self.put(&format!(") {operator} ("));
                self.query(right);
                self.put(")");
            }
        }
        self.clause(" order by ", &query.order, ", ", Text::order_key);
        self.bounds(query);
    }

    fn bounds(&mut self, query: &Query) {
        if let Some(offset) = &query.offset {
            self.put(" offset ");
            self.literal(offset);
        }
        match &query.limit {
            None => {}
            Some(Limit::Count(count)) => {
                self.put(" limit ");
                self.literal(count);
            }
            Some(Limit::WithTies(count)) => {
                self.put(&format!(" fetch first {count} rows with ties"));
            }
        }
        if let Some(locking) = &query.locking {
            self.put(&format!(" {locking}"));
        }
    }

    fn with(&mut self, tables: &[CommonTable], recursive: bool) {
        if tables.is_empty() {
            return;
        }
        self.put(if recursive {
            "with recursive "
        } else {
            "with "
        });
        self.list(tables, ", ", |text, table| {
            text.put(&format!("{} ({})", table.name, table.columns.join(", ")));
            text.put(&format!(" as {} (", table.how));
            text.query(&table.query);
            text.put(")");
        });
        self.put(" ");
    }

    fn order_key(&mut self, key: &OrderKey) {
        match &key.by {
            By::Ordinal(number) => self.put(&number.to_string()),
            By::Expression(expression) => self.expression(expression),
        }
        self.put(&key.direction);
    }

    fn select(&mut self, select: &Select, order: &[OrderKey]) {
        self.put("select ");
        self.distinct(select, order);
        self.list(&select.items, ", ", Text::item);
        self.clause(" from ", &select.from, ", ", Text::source);
        self.clause(" where ", &select.filter, " and ", Text::expression);
        self.group(select);
        self.clause(" having ", &select.having, " and ", Text::expression);
        self.clause(" window ", &select.windows, ", ", |text, (name, window)| {
            text.put(&format!("{name} as "));
            text.expression(window);
        });
    }

    fn distinct(&mut self, select: &Select, order: &[OrderKey]) {
        match select.distinct {
            Distinct::No => {}
            Distinct::Yes => self.put("distinct "),
            Distinct::On(count) => {
                self.put("distinct on (");
                let keys = &order[..count.min(order.len())];
                self.list(keys, ", ", |text, key| match &key.by {
                    By::Ordinal(number) => text.put(&number.to_string()),
                    By::Expression(expression) => text.expression(expression),
                });
                self.put(") ");
            }
        }
    }

    fn group(&mut self, select: &Select) {
        let (before, after) = match select.grouping {
            _ if select.group.is_empty() => return,
            Grouping::Plain => ("", ""),
            Grouping::Rollup => ("rollup (", ")"),
            Grouping::Cube => ("cube (", ")"),
            Grouping::Sets => ("grouping sets ((), ", ")"),
        };
        self.put(" group by ");
        self.put(before);
        self.list(&select.group, ", ", Text::expression);
        self.put(after);
    }

    fn item(&mut self, item: &Item) {
        self.expression(&item.expression);
        if let Some(alias) = &item.alias {
            self.put(&format!(" as {alias}"));
        }
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Named { name, alias } => self.put(&format!("{name} {alias}")),
            Source::Function(expression) => self.expression(expression),
            Source::Derived {
                lateral,
                query,
                alias,
                columns,
            } => {
                self.put(if *lateral { "lateral (" } else { "(" });
                self.query(query);
                self.put(&format!(") {alias} ({})", columns.join(", ")));
            }
            Source::Join {
                kind,
                left,
                right,
                on,
            } => self.join(kind, left, right, on),
        }
    }

    fn join(&mut self, kind: &str, left: &Source, right: &Source, on: &On) {
        self.source(left);
        self.put(&format!(" {kind} "));
        let nested = matches!(right, Source::Join { .. });
        self.put(if nested { "(" } else { "" });
        self.source(right);
        self.put(if nested { ")" } else { "" });
        match on {
            On::Nothing => {}
            On::Conditions(conditions) if conditions.is_empty() => self.put(" on true"),
            On::Conditions(conditions) => {
                self.clause(" on ", conditions, " and ", Text::expression)
            }
            On::Using(columns) => self.put(&format!(" using ({})", columns.join(", "))),
        }
    }

    fn write(&mut self, write: &Write) {
        self.with(&write.with, false);
        match &write.kind {
            WriteKind::Insert {
                table,
                columns,
                source,
                conflict,
            } => {
                self.put(&format!("insert into {table} ({}) ", columns.join(", ")));
                self.query(source);
                if let Some(conflict) = conflict {
                    self.put(" on conflict ");
                    self.expression(conflict);
                }
            }
            WriteKind::Update {
                target,
                set,
                from,
                filter,
            } => {
                self.put(&format!("update {target} set "));
                self.list(set, ", ", |text, (column, value)| {
                    text.put(&format!("{column} = "));
                    text.expression(value);
                });
                self.clause(" from ", from, ", ", Text::source);
                self.clause(" where ", filter, " and ", Text::expression);
            }
            WriteKind::Delete {
                target,
                using,
                filter,
            } => {
                self.put(&format!("delete from {target}"));
                self.clause(" using ", using, ", ", Text::source);
                self.clause(" where ", filter, " and ", Text::expression);
            }
        }
        self.clause(" returning ", &write.returning, ", ", Text::item);
    }
}
