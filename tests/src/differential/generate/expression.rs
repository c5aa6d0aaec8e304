//! Typed expressions.

use super::Generator;
use super::scope::{Scope, Visible};
use super::templates::{AGGREGATES, COMPARISONS, PEER_WINDOWS, ROW, TOTAL_WINDOWS, Template};
use crate::differential::tree::{Expression, Part};
use crate::differential::types::{self, Literal, Type};

impl Generator {
    /// An expression of a type; `depth` bounds its size.
    pub(super) fn expression(&mut self, scope: &Scope, type_: Type, depth: usize) -> Expression {
        if depth == 0 || self.dice.chance(45) {
            return self.leaf(scope, type_);
        }
        match self.dice.below(100) {
            0..6 => self.case(scope, type_, depth - 1),
            6..11 => self.wrapped(type_, "coalesce({0}, {1})", scope, &[type_, type_], depth),
            11..14 => self.wrapped(type_, "nullif({0}, {1})", scope, &[type_, type_], depth),
            14..19 => self.scalar_subquery(scope, type_),
            _ if type_ == Type::Bool => self.predicate(scope, depth),
            _ => self.one_of_templates(ROW, scope, type_, depth),
        }
    }

    /// A condition.
    pub(super) fn predicate(&mut self, scope: &Scope, depth: usize) -> Expression {
        match self.dice.below(100) {
            0..45 => self.comparison(scope, depth.saturating_sub(1)),
            45..57 if depth > 0 => self.subquery_predicate(scope),
            57..62 => self.expression(scope, Type::Bool, 0),
            _ => self.one_of_templates(ROW, scope, Type::Bool, depth.max(1)),
        }
    }

    fn comparison(&mut self, scope: &Scope, depth: usize) -> Expression {
        let type_ = match self.dice.any(&scope.columns) {
            Some(column) => column.type_,
            None => *self.dice.pick(&types::ALL),
        };
        let template = *self.dice.pick(COMPARISONS);
        let left = match scope.grouped {
            None if self.dice.chance(60) => self.leaf(scope, type_),
            _ => self.expression(scope, type_, depth),
        };
        let right = self.any_or_literal(scope, type_, depth);
        let last = Expression::Literal(types::literal(&mut self.dice, type_));
        fill(Type::Bool, template, &[left, right, last])
    }

    /// Mostly a literal, so that rows are found.
    fn any_or_literal(&mut self, scope: &Scope, type_: Type, depth: usize) -> Expression {
        if self.dice.chance(65) {
            return Expression::Literal(types::literal(&mut self.dice, type_));
        }
        self.expression(scope, type_, depth)
    }

    /// A column or a literal.
    pub(super) fn leaf(&mut self, scope: &Scope, type_: Type) -> Expression {
        if let Some(grouped) = &scope.grouped {
            return self.grouped_leaf(scope, &grouped.clone(), type_);
        }
        let from_outside = self.dice.chance(12);
        let columns = if from_outside {
            &scope.outer
        } else {
            &scope.columns
        };
        let mixed = self.dice.chance(30);
        let fits = |other: Type| other == type_ || (mixed && type_.is_text() && other.is_text());
        let fitting: Vec<_> = columns.iter().filter(|column| fits(column.type_)).collect();
        match self.dice.any(&fitting) {
            Some(column) if !self.dice.chance(12) => column.expression(),
            _ => self.typed_literal(type_),
        }
    }

    /// A literal that says its type: functions of any type would not know a plain one's.
    fn typed_literal(&mut self, type_: Type) -> Expression {
        let literal = types::literal(&mut self.dice, type_);
        let plain = literal.plain && !type_.is_text();
        Expression::Literal(Literal { plain, ..literal })
    }

    fn grouped_leaf(&mut self, scope: &Scope, grouped: &[Expression], type_: Type) -> Expression {
        let keys: Vec<_> = grouped.iter().filter(|key| key.type_() == type_).collect();
        if let Some(key) = self.dice.any(&keys)
            && self.dice.chance(60)
        {
            return (*key).clone();
        }
        self.aggregate(scope, type_)
            .unwrap_or_else(|| self.typed_literal(type_))
    }

    /// An aggregate over the rows before grouping.
    pub(super) fn aggregate(&mut self, scope: &Scope, type_: Type) -> Option<Expression> {
        let rows = Scope {
            grouped: None,
            outer: Vec::new(),
            ..scope.clone()
        };
        let fitting: Vec<_> = AGGREGATES
            .iter()
            .filter(|template| template.0 == type_)
            .collect();
        let (_, text, arguments) = **self.dice.any(&fitting)?;
        let depth = usize::from(self.dice.chance(30));
        let aggregate = self.row_wrapped(type_, text, &rows, arguments, depth);
        // Some templates are more than the aggregate's call.
        let plain =
            text.ends_with(')') && !text.starts_with(['(', 'r']) && !text.starts_with("coalesce");
        if !plain || !self.dice.chance(15) {
            return Some(aggregate);
        }
        let condition = self.row_wrapped(Type::Bool, "{0}", &rows, &[Type::Bool], 1);
        Some(fill(
            type_,
            "{0} filter (where {1})",
            &[aggregate, condition],
        ))
    }

    /// As [`Generator::wrapped`], without queries inside.
    fn row_wrapped(
        &mut self,
        type_: Type,
        text: &str,
        scope: &Scope,
        arguments: &[Type],
        depth: usize,
    ) -> Expression {
        let before = std::mem::replace(&mut self.subqueries_left, 0);
        let made = self.wrapped(type_, text, scope, arguments, depth + 1);
        self.subqueries_left = before;
        made
    }

    fn case(&mut self, scope: &Scope, type_: Type, depth: usize) -> Expression {
        let text = *self.dice.pick(&[
            "case when {0} then {1} else {2} end",
            "case when {0} then {1} when {3} then {2} end",
        ]);
        self.wrapped(
            type_,
            text,
            scope,
            &[Type::Bool, type_, type_, Type::Bool],
            depth + 1,
        )
    }

    fn one_of_templates(
        &mut self,
        templates: &[Template],
        scope: &Scope,
        type_: Type,
        depth: usize,
    ) -> Expression {
        let fitting: Vec<_> = templates
            .iter()
            .filter(|template| template.0 == type_)
            .collect();
        // One whose arguments are in sight, if a few tries find it.
        let mut chosen = self.dice.any(&fitting).copied();
        for _ in 0..3 {
            if chosen.is_some_and(|(_, _, arguments)| !scope.has_all(arguments)) {
                chosen = self.dice.any(&fitting).copied();
            }
        }
        match chosen {
            Some((_, text, arguments)) => self.wrapped(type_, text, scope, arguments, depth),
            None => self.leaf(scope, type_),
        }
    }

    /// A template with arguments of these types, one level less deep.
    pub(super) fn wrapped(
        &mut self,
        type_: Type,
        text: &str,
        scope: &Scope,
        arguments: &[Type],
        depth: usize,
    ) -> Expression {
        let depth = depth.saturating_sub(1);
        let arguments: Vec<_> = arguments
            .iter()
            .map(|type_| self.expression(scope, *type_, depth))
            .collect();
        fill(type_, text, &arguments)
    }

    /// A window function over the rows, or over the groups.
    pub(super) fn window(&mut self, scope: &Scope, type_: Type) -> Option<Expression> {
        let fits = |templates: &'static [Template]| {
            let fitting = templates.iter().filter(move |template| template.0 == type_);
            fitting.collect::<Vec<_>>()
        };
        let (peers, total) = (fits(PEER_WINDOWS), fits(TOTAL_WINDOWS));
        let keys = scope.total.clone().filter(|_| scope.grouped.is_none());
        match (self.dice.any(&total), keys) {
            (Some(template), Some(keys)) if peers.is_empty() || self.dice.chance(50) => {
                Some(self.total_window(scope, template, &keys))
            }
            _ => {
                let template = self.dice.any(&peers)?;
                Some(self.peers_window(scope, template))
            }
        }
    }

    fn total_window(&mut self, scope: &Scope, template: &Template, keys: &[Visible]) -> Expression {
        let mut order: Vec<_> = keys
            .iter()
            .map(|column| column.expression().fixed())
            .collect();
        if self.dice.chance(50) {
            order.insert(0, self.order_expression(scope));
        }
        let frame = self.rows_frame();
        self.window_call(scope, template, order, frame)
    }

    fn peers_window(&mut self, scope: &Scope, template: &Template) -> Expression {
        let count = self.dice.below(3);
        let order: Vec<_> = (0..count).map(|_| self.order_expression(scope)).collect();
        let frame = self.peers_frame(order.is_empty());
        self.window_call(scope, template, order, frame)
    }

    fn window_call(
        &mut self,
        scope: &Scope,
        (type_, text, arguments): &Template,
        order: Vec<Expression>,
        frame: &str,
    ) -> Expression {
        let call = self.row_wrapped(*type_, text, scope, arguments, 1);
        let over = self.over(scope, order, frame);
        fill(*type_, "{0} over ({1})", &[call, over])
    }

    fn over(&mut self, scope: &Scope, order: Vec<Expression>, frame: &str) -> Expression {
        let mut parts = Vec::new();
        for index in 0..self.dice.below(3) {
            let key = self.order_expression(scope);
            parts.push(Part::Text(
                if index == 0 { "partition by " } else { ", " }.to_owned(),
            ));
            parts.push(Part::Expression(key));
        }
        let ordered = !order.is_empty();
        for (index, key) in order.into_iter().enumerate() {
            parts.push(Part::Text(
                if index == 0 { " order by " } else { ", " }.to_owned(),
            ));
            parts.push(Part::Expression(key));
            parts.push(Part::Text(self.direction()));
        }
        if ordered || frame.is_empty() {
            parts.push(Part::Text(frame.to_owned()));
        }
        Expression::Made {
            type_: Type::Bool,
            parts,
        }
    }

    /// What to partition or order by: a column mostly, or a group.
    pub(super) fn order_expression(&mut self, scope: &Scope) -> Expression {
        let grouped = scope.grouped.clone().unwrap_or_default();
        if let Some(key) = self.dice.any(&grouped)
            && self.dice.chance(80)
        {
            return not_constant(key.clone());
        }
        let type_ = match self.dice.any(&scope.columns) {
            Some(column) if scope.grouped.is_none() => column.type_,
            _ => Type::Int8,
        };
        let before = std::mem::replace(&mut self.subqueries_left, 0);
        let made = self.expression(scope, type_, 1);
        self.subqueries_left = before;
        not_constant(made)
    }

    fn rows_frame(&mut self) -> &'static str {
        self.dice.word(&[
            "",
            "",
            " rows between 2 preceding and current row",
            " rows between unbounded preceding and unbounded following",
            " rows between 1 preceding and 1 following exclude current row",
            " groups between 1 preceding and current row",
        ])
    }

    fn peers_frame(&mut self, unordered: bool) -> &'static str {
        if unordered {
            return "";
        }
        self.dice.word(&[
            "",
            "",
            " range between unbounded preceding and current row",
            " range between unbounded preceding and unbounded following",
            " groups between 1 preceding and 1 following",
            " range between current row and unbounded following exclude group",
        ])
    }

    pub(super) fn direction(&mut self) -> String {
        let directions = [
            " ",
            " ",
            " desc",
            " asc nulls first",
            " desc nulls last",
            " nulls first",
        ];
        (*self.dice.pick(&directions)).trim_end().to_owned()
    }
}

/// A number alone would be an ordinal, and a text alone an error.
pub(super) fn not_constant(expression: Expression) -> Expression {
    match expression {
        Expression::Literal(literal) => {
            let parts = vec![
                Part::Text("(".to_owned()),
                Part::Expression(Expression::Literal(Literal {
                    plain: false,
                    ..literal.clone()
                })),
                Part::Text(")::".to_owned() + literal.type_.name()),
            ];
            let type_ = literal.type_;
            Expression::Made { type_, parts }
        }
        made @ Expression::Made { .. } => made,
    }
}

/// A template with its arguments in place.
pub(super) fn fill(type_: Type, text: &str, arguments: &[Expression]) -> Expression {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, fixed, index, after)) = next_hole(rest) {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let argument = arguments[index].clone();
        parts.push(if fixed {
            Part::Fixed(argument)
        } else {
            Part::Expression(argument)
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Expression::Made { type_, parts }
}

/// The text before the first hole, whether the hole is fixed, its number, and the text behind.
fn next_hole(text: &str) -> Option<(&str, bool, usize, &str)> {
    for (start, _) in text.match_indices('{') {
        let inside = &text[start + 1..];
        let (fixed, digits) = match inside.strip_prefix('!') {
            Some(digits) => (true, digits),
            None => (false, inside),
        };
        let Some((digit, after)) = digits.split_once('}') else {
            continue;
        };
        if let Ok(index) = digit.parse() {
            return Some((&text[..start], fixed, index, after));
        }
    }
    None
}
