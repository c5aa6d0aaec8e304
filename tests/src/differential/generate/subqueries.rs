//! Subqueries in expressions, and recursive queries.

use super::Generator;
use super::expression::fill;
use super::scope::Scope;
use crate::differential::tree::{Body, CommonTable, Expression, Item, Limit, Part, Query, Select};
use crate::differential::types::{self, Literal, Type};

impl Generator {
    /// (SELECT ...) of one value; correlated or not.
    pub(super) fn scalar_subquery(&mut self, scope: &Scope, type_: Type) -> Expression {
        if self.subqueries_left == 0 {
            return self.leaf(scope, type_);
        }
        self.subqueries_left -= 1;
        let mut query = self.one_row(scope, type_);
        if query.limit.is_none() && !is_one_row(&query) {
            query.limit = Some(Limit::Count(Literal::integer(Type::Int8, 1)));
        }
        let query = Part::Query(Box::new(query));
        let parts = vec![
            Part::Text("(".to_owned()),
            query,
            Part::Text(")".to_owned()),
        ];
        Expression::Made { type_, parts }
    }

    /// An aggregate over all rows, or the first row of a total order.
    fn one_row(&mut self, scope: &Scope, type_: Type) -> Query {
        let aggregate = self.dice.chance(65);
        let (from, mut inner) = self.from(scope);
        let mut select = Select {
            from,
            filter: vec![self.predicate(&inner, 1)],
            ..Select::default()
        };
        if self.dice.chance(25) {
            select.filter.extend(self.key_condition(&inner));
        }
        if aggregate {
            inner.grouped = Some(Vec::new());
            if let Some(expression) = self.aggregate(&inner, type_) {
                select.items.push(Item {
                    expression,
                    alias: None,
                });
                return Query::of(Body::Select(Box::new(select)));
            }
            inner.grouped = None;
        }
        let expression = super::expression::not_constant(self.leaf(&inner, type_));
        select.items.push(Item {
            expression,
            alias: None,
        });
        let mut query = Query::of(Body::Select(Box::new(select)));
        query.order = self.all_ordinals(1);
        query
    }

    /// EXISTS, IN, ANY, ALL.
    pub(super) fn subquery_predicate(&mut self, scope: &Scope) -> Expression {
        if self.subqueries_left == 0 {
            return self.leaf(scope, Type::Bool);
        }
        self.subqueries_left -= 1;
        let (text, types) = self.subquery_form(scope);
        let values: Vec<_> = types.iter().map(|type_| self.leaf(scope, *type_)).collect();
        let types = if types.is_empty() {
            vec![Type::Int4]
        } else {
            types
        };
        let mut query = self.query(scope, Some(&types));
        if self.dice.chance(8) {
            self.limit_inside(&mut query);
        }
        let mut parts = match fill(Type::Bool, text, &values) {
            Expression::Made { parts, .. } => parts,
            Expression::Literal(_) => Vec::new(),
        };
        parts.push(Part::Query(Box::new(query)));
        parts.push(Part::Text("))".to_owned()));
        Expression::Made {
            type_: Type::Bool,
            parts,
        }
    }

    fn subquery_form(&mut self, scope: &Scope) -> (&'static str, Vec<Type>) {
        let one = match self.dice.any(&scope.columns) {
            Some(column) if scope.grouped.is_none() => column.type_,
            _ => *self.dice.pick(&types::ALL),
        };
        match self.dice.below(100) {
            0..20 => ("(exists (", vec![]),
            20..32 => ("(not exists (", vec![]),
            32..60 => ("({0} in (", vec![one]),
            60..72 => ("({0} not in (", vec![one]),
            72..80 => ("({0} = any (", vec![one]),
            80..86 => ("({0} > all (", vec![one]),
            86..92 => ("({0} <= any (", vec![one]),
            _ => ("(({0}, {1}) in (", vec![one, Type::Int8]),
        }
    }

    /// WITH RECURSIVE over the graph of followers, or over numbers.
    pub(super) fn recursive(&mut self) -> Query {
        self.begin();
        let start = self.some_user();
        let bound = self.dice.between(2, 3);
        let how = *self.dice.pick(&["union", "union", "union all"]);
        let (name, user) = (self.name('r'), start);
        let body = match self.dice.below(4) {
            0 => format!(
                "select 1::int8, 0 {how} select {name}.k1 + 2, {name}.k2 + 1 from {name} where {name}.k2 < {bound}"
            ),
            1 => format!(
                "select u.id, 0 from users u where u.id = {user} {how} select f.followee_id, {name}.k2 + 1 \
                 from {name} join follows f on f.follower_id = {name}.k1 where {name}.k2 < {bound}"
            ),
            2 => format!(
                "select f.follower_id, 0 from follows f where f.weight > 30 union \
                 select f.followee_id, {name}.k2 + 1 from follows f, {name} where f.follower_id = {name}.k1 and {name}.k2 < 2"
            ),
            _ => format!(
                "select c.author_id, 0 from comments c where c.stars > 60 {how} \
                 select {name}.k1 + 1, {name}.k2 + 1 from {name} where {name}.k2 < {bound} \
                 and exists (select 1 from posts p where p.author_id = {name}.k1)"
            ),
        };
        let columns = vec!["k1".to_owned(), "k2".to_owned()];
        self.common
            .push((name.clone(), columns.clone(), vec![Type::Int8, Type::Int4]));
        let mut query = self.query(&Scope::inside(&[]), None);
        let recursive = Query::of(Body::Text(body));
        query.with.push(CommonTable {
            name,
            columns,
            how: "",
            query: recursive,
        });
        query.recursive = true;
        self.finish_order(&mut query);
        query
    }
}

/// Aggregates without GROUP BY.
fn is_one_row(query: &Query) -> bool {
    query.order.is_empty()
}
