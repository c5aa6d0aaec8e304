//! Whole queries: SELECT, set operations, VALUES, and what surrounds them.

use super::Generator;
use super::expression::fill;
use super::scope::Scope;
use crate::differential::tree::{
    Body, By, CommonTable, Distinct, Expression, Grouping, Item, Limit, OrderKey, Query, Select,
};
use crate::differential::types::{self, Literal, Type};

impl Query {
    pub(super) fn of(body: Body) -> Query {
        Query {
            with: Vec::new(),
            recursive: false,
            body,
            order: Vec::new(),
            limit: None,
            offset: None,
            locking: None,
        }
    }

    /// Types of the result, where they are known from the tree.
    pub fn types(&self) -> Vec<Type> {
        match &self.body {
            Body::Select(select) => {
                let types = select.items.iter().map(|item| item.expression.type_());
                types.collect()
            }
            Body::Set { left, .. } => left.types(),
            Body::Values(rows) => rows[0].iter().map(Expression::type_).collect(),
            Body::Text(_) => Vec::new(),
        }
    }
}

impl Generator {
    pub(super) fn query_with_common_tables(
        &mut self,
        outside: &Scope,
        wanted: Option<&[Type]>,
    ) -> Query {
        let mut with = Vec::new();
        if self.dice.chance(13) {
            for _ in 0..=self.dice.below(2) {
                with.push(self.common_table());
            }
        }
        let mut query = self.query(outside, wanted);
        query.with = with;
        query
    }

    fn common_table(&mut self) -> CommonTable {
        let mut query = self.query(&Scope::inside(&[]), None);
        if self.dice.chance(15) {
            self.limit_inside(&mut query);
        }
        let name = self.name('w');
        let types = query.types();
        let columns: Vec<_> = (1..=types.len())
            .map(|number| format!("k{number}"))
            .collect();
        self.common.push((name.clone(), columns.clone(), types));
        let how = *self
            .dice
            .pick(&["", "", "", "materialized", "not materialized"]);
        CommonTable {
            name,
            columns,
            how,
            query,
        }
    }

    /// A query without WITH and ORDER BY. `wanted`: the types of its columns.
    pub(super) fn query(&mut self, outside: &Scope, wanted: Option<&[Type]>) -> Query {
        let form = self.dice.below(100);
        if form >= 11 {
            return Query::of(Body::Select(Box::new(self.select(outside, wanted))));
        }
        let types = wanted.map_or_else(|| self.some_types(), <[Type]>::to_vec);
        // Of equal values any may be shown.
        if form < 9 && types.iter().all(|type_| type_.is_settled()) {
            self.set_operation(outside, &types)
        } else {
            self.values(&types)
        }
    }

    fn some_types(&mut self) -> Vec<Type> {
        let count = *self.dice.pick(&[1, 1, 2, 2, 2, 3, 3, 4]);
        (0..count).map(|_| *self.dice.pick(&types::ALL)).collect()
    }

    fn set_operation(&mut self, outside: &Scope, types: &[Type]) -> Query {
        let operator = *self.dice.pick(&[
            "union",
            "union",
            "union all",
            "union all",
            "intersect",
            "except",
            "intersect all",
            "except all",
        ]);
        let left = Box::new(self.query(outside, Some(types)));
        let mut right = Box::new(self.query(outside, Some(types)));
        if self.dice.chance(12) {
            self.limit_inside(&mut right);
        }
        Query::of(Body::Set {
            operator: operator.to_owned(),
            left,
            right,
        })
    }

    fn values(&mut self, types: &[Type]) -> Query {
        let count = 1 + self.dice.below(4);
        let row = |generator: &mut Generator| {
            let value = |type_: &Type| {
                let literal = types::literal(&mut generator.dice, *type_);
                Expression::Literal(Literal {
                    plain: false,
                    ..literal
                })
            };
            types.iter().map(value).collect()
        };
        let rows = (0..count).map(|_| row(self)).collect();
        Query::of(Body::Values(rows))
    }

    /// Types of columns in sight, mostly.
    fn types_in(&mut self, scope: &Scope) -> Vec<Type> {
        let mut types = self.some_types();
        for type_ in &mut types {
            if let Some(column) = self.dice.any(&scope.columns)
                && self.dice.chance(80)
            {
                *type_ = column.type_;
            }
        }
        types
    }

    /// A SELECT whose columns have the wanted types, or any.
    pub(super) fn select(&mut self, outside: &Scope, wanted: Option<&[Type]>) -> Select {
        let (from, mut scope) = self.from(outside);
        let types = wanted.map_or_else(|| self.types_in(&scope), <[Type]>::to_vec);
        let mut select = Select {
            filter: self.filter(&scope),
            from,
            ..Select::default()
        };
        match self.dice.below(100) {
            0..24 => self.grouped(&mut select, &mut scope),
            24..34 => scope.grouped = Some(Vec::new()),
            34..42 if types.iter().all(|type_| type_.is_settled()) => {
                select.distinct = Distinct::Yes;
            }
            _ => {}
        }
        if scope.grouped.is_none() {
            let columns = scope
                .columns
                .iter()
                .filter(|column| column.type_.is_settled());
            select.hidden_order_columns = columns.map(super::scope::Visible::expression).collect();
        }
        for type_ in types {
            let expression = self.item(&scope, type_);
            let alias = self.dice.chance(35).then(|| self.name('a'));
            select.items.push(Item { expression, alias });
        }
        select
    }

    fn item(&mut self, scope: &Scope, type_: Type) -> Expression {
        if self.dice.chance(6)
            && let Some(window) = self.window(scope, type_)
        {
            return window;
        }
        if scope.grouped.is_none() && self.dice.chance(2) {
            return self.set_returning(scope, type_);
        }
        if self.dice.chance(50) {
            let leaf = self.leaf(scope, type_);
            return typed(leaf);
        }
        let depth = 1 + self.dice.below(2);
        typed(self.expression(scope, type_, depth))
    }

    /// More rows from one, where there is such a function of the type.
    fn set_returning(&mut self, scope: &Scope, type_: Type) -> Expression {
        match type_ {
            Type::Text => {
                let array = self.leaf(scope, Type::TextArray);
                fill(type_, "unnest({0})", &[array])
            }
            Type::Int4 => {
                let last = Literal::integer(Type::Int4, self.dice.between(0, 3));
                fill(
                    type_,
                    "generate_series(1, {0})",
                    &[Expression::Literal(last)],
                )
            }
            _ => typed(self.leaf(scope, type_)),
        }
    }

    fn grouped(&mut self, select: &mut Select, scope: &mut Scope) {
        select.grouping = match self.dice.below(100) {
            0..6 => Grouping::Rollup,
            6..10 => Grouping::Cube,
            10..14 => Grouping::Sets,
            _ => Grouping::Plain,
        };
        for _ in 0..=self.dice.below(3) {
            if let Some(column) = self.dice.any(&scope.columns)
                && column.type_.is_settled()
            {
                // PostgreSQL 15 takes constants in grouping sets for what they are not.
                let plain = select.grouping != Grouping::Plain || !self.dice.chance(20);
                let key = match plain {
                    true => column.expression(),
                    false => self.group_expression(scope, column.type_),
                };
                select.group.push(super::expression::not_constant(key));
            }
        }
        scope.grouped = Some(select.group.clone());
        if self.dice.chance(30) {
            let depth = self.dice.below(2);
            select.having.push(self.predicate(scope, depth));
        }
    }

    fn group_expression(&mut self, scope: &Scope, type_: Type) -> Expression {
        let before = std::mem::replace(&mut self.subqueries_left, 0);
        let inner = Scope {
            outer: Vec::new(),
            ..scope.clone()
        };
        let made = self.expression(&inner, type_, 1);
        self.subqueries_left = before;
        made
    }

    fn filter(&mut self, scope: &Scope) -> Vec<Expression> {
        let count = *self.dice.pick(&[0, 0, 1, 1, 1, 2, 2, 3]);
        let mut filter: Vec<_> = (0..count)
            .map(|_| {
                let depth = 1 + self.dice.below(2);
                self.predicate(scope, depth)
            })
            .collect();
        if self.dice.chance(22) {
            filter.extend(self.key_condition(scope));
        }
        filter
    }

    /// ORDER BY, LIMIT and the like of the outermost query.
    pub(super) fn finish_order(&mut self, query: &mut Query) {
        let columns = query.types().len();
        match self.dice.below(100) {
            0..35 => {}
            35..55 => query.order = self.some_ordinals(columns),
            _ => query.order = self.all_ordinals(columns),
        }
        self.hidden_order(query);
        self.distinct_on(query);
        if self
            .dice
            .chance(if query.order.is_empty() { 6 } else { 30 })
        {
            self.bounds(query);
        } else if self.dice.chance(3) {
            self.lock(query);
        }
    }

    fn bounds(&mut self, query: &mut Query) {
        let count = self.dice.between(0, 12);
        if !query.order.is_empty() && self.dice.chance(15) && !has_extreme(query) {
            query.limit = Some(Limit::WithTies(count));
            return;
        }
        query.limit =
            (!self.dice.chance(12)).then(|| Limit::Count(Literal::integer(Type::Int8, count)));
        if self.dice.chance(35) {
            query.offset = Some(Literal::integer(Type::Int8, self.dice.between(0, 9)));
        }
    }

    /// A LIMIT whose rows are certain.
    pub(super) fn limit_inside(&mut self, query: &mut Query) {
        let types = query.types();
        if types.iter().any(|type_| !type_.is_settled()) {
            return;
        }
        query.order = self.all_ordinals(types.len());
        let count = self.dice.between(1, 9);
        query.limit = Some(Limit::Count(Literal::integer(Type::Int8, count)));
        if self.dice.chance(30) {
            query.offset = Some(Literal::integer(Type::Int8, self.dice.between(0, 3)));
        }
    }

    fn some_ordinals(&mut self, columns: usize) -> Vec<OrderKey> {
        let number = 1 + self.dice.below(columns);
        vec![self.ordinal(number)]
    }

    /// All columns, from a random one on.
    pub(super) fn all_ordinals(&mut self, columns: usize) -> Vec<OrderKey> {
        let first = self.dice.below(columns);
        let numbers = (0..columns).map(|index| 1 + (index + first) % columns);
        numbers.map(|number| self.ordinal(number)).collect()
    }

    fn ordinal(&mut self, number: usize) -> OrderKey {
        OrderKey {
            by: By::Ordinal(number),
            direction: self.direction(),
        }
    }

    /// Something that is not selected, before what is.
    fn hidden_order(&mut self, query: &mut Query) {
        let Body::Select(select) = &query.body else {
            return;
        };
        let plain = select.distinct == Distinct::No && select.group.is_empty();
        let columns = &select.hidden_order_columns;
        if query.order.is_empty() || !plain || columns.is_empty() || !self.dice.chance(25) {
            return;
        }
        let by = By::Expression(self.dice.pick(columns).clone());
        let key = OrderKey {
            by,
            direction: self.direction(),
        };
        query.order.insert(0, key);
    }

    fn distinct_on(&mut self, query: &mut Query) {
        let keys = query.order.len();
        let total = keys >= query.types().len();
        let ordinals = query
            .order
            .iter()
            .all(|key| matches!(key.by, By::Ordinal(_)));
        let settled = query.types().iter().all(|type_| type_.is_settled());
        if let Body::Select(select) = &mut query.body
            && select.distinct == Distinct::No
            && total
            && ordinals
            && settled
            && self.dice.chance(8)
        {
            select.distinct = Distinct::On(1 + self.dice.below(keys));
        }
    }

    fn lock(&mut self, query: &mut Query) {
        let plain = matches!(&query.body, Body::Select(select) if select.hidden_order_columns.len() > 1
            && select.group.is_empty() && select.distinct == Distinct::No);
        if plain && query.with.is_empty() {
            let forms = [
                "for update",
                "for share",
                "for no key update",
                "for key share",
                "for update skip locked",
                "for share nowait",
            ];
            query.locking = Some((*self.dice.pick(&forms)).to_owned());
        }
    }
}

/// A literal with its type, so that a column of it has that type.
fn typed(expression: Expression) -> Expression {
    match expression {
        Expression::Literal(literal) => Expression::Literal(Literal {
            plain: false,
            ..literal
        }),
        made @ Expression::Made { .. } => made,
    }
}

/// PostgreSQL 15 looks an extreme of a constant up by a subquery that inherits WITH TIES, and then fails with 21000.
fn has_extreme(query: &Query) -> bool {
    let body = format!("{:?}", query.body);
    body.contains("max(") || body.contains("min(")
}
