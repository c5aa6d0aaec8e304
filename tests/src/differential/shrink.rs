//! Smaller versions of a statement, each by one step. Whether one is still valid, the servers say.

use super::tree::{
    Body, By, CommonTable, Distinct, Expression, Item, Limit, On, OrderKey, Part, Query, Select,
    Source, Statement, Write, WriteKind,
};
use super::types::Literal;

/// What can be made smaller.
pub trait Shrink: Sized {
    /// Every version that is one step smaller, the smallest first.
    fn smaller(&self) -> Vec<Self>;
}

/// Versions of `whole` with one field replaced.
fn with<T: Clone, F>(whole: &T, fields: Vec<F>, set: impl Fn(&mut T, F)) -> Vec<T> {
    let replace = |field| {
        let mut copy = whole.clone();
        set(&mut copy, field);
        copy
    };
    fields.into_iter().map(replace).collect()
}

/// One element less, then one element smaller.
fn elements<T: Clone + Shrink>(list: &[T], may_go: impl Fn(&T) -> bool) -> Vec<Vec<T>> {
    let without = (0..list.len()).filter(|index| may_go(&list[*index]));
    let mut made: Vec<Vec<T>> = without
        .map(|index| {
            let mut copy = list.to_vec();
            copy.remove(index);
            copy
        })
        .collect();
    for (index, element) in list.iter().enumerate() {
        made.extend(element.smaller().into_iter().map(|smaller| {
            let mut copy = list.to_vec();
            copy[index] = smaller;
            copy
        }));
    }
    made
}

fn conditions(list: &[Expression]) -> Vec<Vec<Expression>> {
    elements(list, |condition| !condition.is_fixed())
}

impl Shrink for Statement {
    fn smaller(&self) -> Vec<Statement> {
        match self {
            Statement::Query(query) => map(query.smaller(), Statement::Query),
            Statement::Write(write) => map(write.smaller(), Statement::Write),
            Statement::Text(_) => Vec::new(),
        }
    }
}

fn map<T, U>(list: Vec<T>, make: impl Fn(T) -> U) -> Vec<U> {
    list.into_iter().map(make).collect()
}

fn boxed<T: Shrink>(whole: &T) -> Vec<Box<T>> {
    map(whole.smaller(), Box::new)
}

impl Shrink for Query {
    fn smaller(&self) -> Vec<Query> {
        let mut made = Vec::new();
        if let Body::Set { left, right, .. } = &self.body {
            made.extend([(**left).clone(), (**right).clone()]);
        }
        made.extend(self.with.iter().map(|table| table.query.clone()));
        made.extend(with(self, elements(&self.with, |_| true), |query, with| {
            query.with = with
        }));
        made.extend(self.unbounded());
        if self.limit.is_none() {
            let orders = elements(&self.order, |_| true);
            made.extend(with(self, orders, |query, order| query.order = order));
        }
        made.extend(with(self, self.body.smaller(), |query, body| {
            query.body = body
        }));
        made
    }
}

impl Query {
    /// Without LIMIT, OFFSET, FOR UPDATE.
    fn unbounded(&self) -> Vec<Query> {
        let mut made = Vec::new();
        if self.limit.is_some() {
            made.push(Query {
                limit: None,
                ..self.clone()
            });
        }
        if self.offset.is_some() && self.limit.is_none() {
            made.push(Query {
                offset: None,
                ..self.clone()
            });
        }
        if self.locking.is_some() {
            made.push(Query {
                locking: None,
                ..self.clone()
            });
        }
        if let Some(Limit::WithTies(_)) = self.limit {
            made.push(Query {
                limit: None,
                order: Vec::new(),
                ..self.clone()
            });
        }
        made
    }
}

impl Shrink for CommonTable {
    fn smaller(&self) -> Vec<CommonTable> {
        let mut made = with(self, self.query.smaller(), |table, query| {
            table.query = query
        });
        if !self.how.is_empty() {
            made.push(CommonTable {
                how: "",
                ..self.clone()
            });
        }
        made
    }
}

impl Shrink for OrderKey {
    fn smaller(&self) -> Vec<OrderKey> {
        let mut made = Vec::new();
        if !self.direction.is_empty() {
            made.push(OrderKey {
                direction: String::new(),
                ..self.clone()
            });
        }
        if let By::Expression(expression) = &self.by {
            let smaller = map(expression.smaller(), By::Expression);
            made.extend(with(self, smaller, |key, by| key.by = by));
        }
        made
    }
}

impl Shrink for Body {
    fn smaller(&self) -> Vec<Body> {
        match self {
            Body::Select(select) => map(boxed(&**select), Body::Select),
            Body::Values(rows) => map(elements(rows, |_| rows.len() > 1), Body::Values),
            Body::Text(_) => Vec::new(),
            Body::Set {
                operator,
                left,
                right,
            } => {
                let set = |left: Box<Query>, right: Box<Query>| Body::Set {
                    operator: operator.clone(),
                    left,
                    right,
                };
                let mut made = map(boxed(&**left), |left| set(left, right.clone()));
                made.extend(map(boxed(&**right), |right| set(left.clone(), right)));
                made
            }
        }
    }
}

impl Shrink for Vec<Expression> {
    fn smaller(&self) -> Vec<Vec<Expression>> {
        elements(self, |_| false)
    }
}

impl Shrink for Select {
    fn smaller(&self) -> Vec<Select> {
        let mut made = Vec::new();
        made.extend(with(
            self,
            elements(&self.from, |_| true),
            |select, from| select.from = from,
        ));
        made.extend(with(self, conditions(&self.filter), |select, filter| {
            select.filter = filter
        }));
        let items = elements(&self.items, |_| self.items.len() > 1);
        made.extend(with(self, items, |select, items| select.items = items));
        if self.distinct != Distinct::No {
            made.push(Select {
                distinct: Distinct::No,
                ..self.clone()
            });
        }
        if self.grouping != Default::default() {
            made.push(Select {
                grouping: Default::default(),
                ..self.clone()
            });
        }
        made.extend(with(self, conditions(&self.group), |select, group| {
            select.group = group
        }));
        made.extend(with(self, conditions(&self.having), |select, having| {
            select.having = having
        }));
        made
    }
}

impl Shrink for Item {
    fn smaller(&self) -> Vec<Item> {
        let mut made = with(self, self.expression.smaller(), |item, new| {
            item.expression = new
        });
        if self.alias.is_some() {
            made.push(Item {
                alias: None,
                ..self.clone()
            });
        }
        made
    }
}

impl Shrink for Source {
    fn smaller(&self) -> Vec<Source> {
        match self {
            Source::Named { .. } => Vec::new(),
            Source::Function(call) => map(call.smaller(), Source::Function),
            Source::Derived {
                lateral,
                query,
                alias,
                columns,
            } => map(boxed(&**query), |query| {
                let (lateral, alias, columns) = (*lateral, alias.clone(), columns.clone());
                Source::Derived {
                    lateral,
                    query,
                    alias,
                    columns,
                }
            }),
            Source::Join {
                kind,
                left,
                right,
                on,
            } => {
                let join = |left: &Source, right: &Source, on: &On| Source::Join {
                    kind: kind.clone(),
                    left: Box::new(left.clone()),
                    right: Box::new(right.clone()),
                    on: on.clone(),
                };
                let mut made = vec![(**left).clone(), (**right).clone()];
                made.extend(map(left.smaller(), |left| join(&left, right, on)));
                made.extend(map(right.smaller(), |right| join(left, &right, on)));
                if let On::Conditions(list) = on {
                    let lists = map(conditions(list), On::Conditions);
                    made.extend(map(lists, |on| join(left, right, &on)));
                }
                made
            }
        }
    }
}

impl Shrink for Expression {
    fn smaller(&self) -> Vec<Expression> {
        let Expression::Made { type_, parts } = self else {
            return Vec::new();
        };
        if self.is_fixed() {
            return Vec::new();
        }
        let mut made = Vec::new();
        let inside = parts.iter().filter_map(|part| match part {
            Part::Expression(inner) if inner.type_() == *type_ => Some(inner.clone()),
            _ => None,
        });
        made.extend(inside);
        if parts.len() > 1 {
            made.push(Expression::Literal(Literal::null(*type_)));
        }
        for (index, part) in parts.iter().enumerate() {
            made.extend(part.smaller().into_iter().map(|part| {
                let mut parts = parts.clone();
                parts[index] = part;
                Expression::Made {
                    type_: *type_,
                    parts,
                }
            }));
        }
        made
    }
}

impl Shrink for Part {
    fn smaller(&self) -> Vec<Part> {
        match self {
            Part::Text(_) | Part::Fixed(_) => Vec::new(),
            Part::Expression(expression) => map(expression.smaller(), Part::Expression),
            Part::Query(query) => map(boxed(&**query), Part::Query),
        }
    }
}

impl Shrink for Write {
    fn smaller(&self) -> Vec<Write> {
        let mut made = with(self, elements(&self.with, |_| true), |write, with| {
            write.with = with
        });
        let returning = elements(&self.returning, |_| true);
        made.extend(with(self, returning, |write, items| {
            write.returning = items
        }));
        made.extend(with(self, self.kind.smaller(), |write, kind| {
            write.kind = kind
        }));
        made
    }
}

/// A column and its new value.
type Assignment = (String, Expression);

impl Shrink for Assignment {
    fn smaller(&self) -> Vec<Assignment> {
        map(self.1.smaller(), |value| (self.0.clone(), value))
    }
}

impl Shrink for WriteKind {
    fn smaller(&self) -> Vec<WriteKind> {
        match self {
            WriteKind::Insert {
                table,
                columns,
                source,
                conflict,
            } => {
                let insert = |source: &Query, conflict: Option<Expression>| WriteKind::Insert {
                    table: table.clone(),
                    columns: columns.clone(),
                    source: source.clone(),
                    conflict,
                };
                let mut made = map(source.smaller(), |source| insert(&source, conflict.clone()));
                made.extend(fewer_columns(table, columns, source, conflict.as_ref()));
                made.extend(conflict.is_some().then(|| insert(source, None)));
                made
            }
            WriteKind::Update {
                target,
                set,
                from,
                filter,
            } => {
                let update = |set: &[Assignment], from: &[Source], filter: &[Expression]| {
                    WriteKind::Update {
                        target: target.clone(),
                        set: set.to_vec(),
                        from: from.to_vec(),
                        filter: filter.to_vec(),
                    }
                };
                let mut made = map(elements(set, |_| set.len() > 1), |set| {
                    update(&set, from, filter)
                });
                made.extend(map(elements(from, |_| true), |from| {
                    update(set, &from, filter)
                }));
                made.extend(map(conditions(filter), |filter| update(set, from, &filter)));
                made
            }
            WriteKind::Delete {
                target,
                using,
                filter,
            } => {
                let delete = |using: &[Source], filter: &[Expression]| WriteKind::Delete {
                    target: target.clone(),
                    using: using.to_vec(),
                    filter: filter.to_vec(),
                };
                let mut made = map(elements(using, |_| true), |using| delete(&using, filter));
                made.extend(map(conditions(filter), |filter| delete(using, &filter)));
                made
            }
        }
    }
}

/// One column less, in the list and in every row.
fn fewer_columns(
    table: &str,
    columns: &[String],
    source: &Query,
    conflict: Option<&Expression>,
) -> Vec<WriteKind> {
    let without = |index: usize| {
        let mut source = source.clone();
        match &mut source.body {
            Body::Values(rows) => rows.iter_mut().for_each(|row| drop(row.remove(index))),
            Body::Select(select) => drop(select.items.remove(index)),
            Body::Set { .. } | Body::Text(_) => return None,
        }
        let mut columns = columns.to_vec();
        columns.remove(index);
        Some(WriteKind::Insert {
            table: table.to_owned(),
            columns,
            source,
            conflict: conflict.cloned(),
        })
    };
    (1..columns.len()).filter_map(without).collect()
}
