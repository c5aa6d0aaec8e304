//! The conjuncts of a WHERE or ON clause: which terms they make equal, which keys they list.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, BoolExprType, Node, SubLink, SubLinkType};

use super::listed::{array, is_comparable, is_same_value, read_all};
use super::{
    Builder, Conditions, Fact, Family, FoldedValue, KeyList, KeyValue, ListedKeys, Sub, Term,
    ValueId,
};
use crate::error::RouterError;
use crate::plan::KeyExpr;
use crate::plan::scope::{qualified, string};
use crate::plan::{fold, key};

impl Builder<'_> {
    pub(super) fn conditions(&mut self, node: Option<&Node>) -> Result<Conditions, RouterError> {
        let mut conditions = Conditions::default();
        if let Some(node) = node {
            self.conjunct(node, &mut conditions)?;
            self.note_columns_of(node);
        }
        Ok(conditions)
    }

    fn conjunct(&mut self, node: &Node, into: &mut Conditions) -> Result<(), RouterError> {
        match node.node.as_ref() {
            Some(NodeEnum::BoolExpr(tests)) if tests.boolop() == BoolExprType::AndExpr => tests
                .args
                .iter()
                .try_for_each(|test| self.conjunct(test, into)),
            Some(NodeEnum::AExpr(test)) => {
                self.comparison(test, into);
                self.expression(node, &mut into.subs)
            }
            Some(NodeEnum::SubLink(link)) if is_equal_any(link) => self.equal_any(link, into),
            _ => self.expression(node, &mut into.subs),
        }
    }

    fn comparison(&mut self, test: &AExpr, into: &mut Conditions) {
        let (Some(left), Some(right)) = (test.lexpr.as_deref(), test.rexpr.as_deref()) else {
            return;
        };
        if !is_equals(&test.name) {
            return;
        }
        match test.kind() {
            AExprKind::AexprOp => self.equals(left, right, into),
            AExprKind::AexprIn => self.is_in(left, right, into),
            AExprKind::AexprOpAny => self.is_any(left, right, into),
            _ => {}
        }
    }

    /// `left = right`, or two rows of the same length, column by column.
    fn equals(&mut self, left: &Node, right: &Node, into: &mut Conditions) {
        match (row(left), row(right)) {
            (Some(left), Some(right)) if left.len() == right.len() => {
                left.iter()
                    .zip(right)
                    .for_each(|(left, right)| self.equals(left, right, into));
            }
            (None, None) => match self.fact(left, right) {
                Some(fact) => into.facts.push(fact),
                None => {
                    let folded = self
                        .folded(left, right)
                        .or_else(|| self.folded(right, left));
                    into.folded.extend(folded);
                }
            },
            _ => {}
        }
    }

    fn fact(&mut self, left: &Node, right: &Node) -> Option<Fact> {
        match (self.column_term(left), self.column_term(right)) {
            (Some(left), Some(right)) => self.equal_columns(left, right),
            (Some(column), None) => self.equal_value(column, right),
            (None, Some(column)) => self.equal_value(column, left),
            (None, None) => None,
        }
    }

    /// `lower(column) = value`, which an expression of a unique key may be about.
    fn folded(&mut self, call: &Node, value: &Node) -> Option<FoldedValue> {
        let (fold, argument) = fold::call(call)?;
        let column = self.column_term(argument)?;
        (self.family(column)? == Family::Text).then_some(())?;
        let (value_fold, value) = match fold::call(value) {
            Some((fold, inner)) => (Some(fold), inner),
            None => (None, value),
        };
        let value = self.add_value(key::read(value)?, Family::Text)?;
        Some(FoldedValue {
            column,
            fold,
            value,
            value_fold,
        })
    }

    pub(super) fn equal_columns(&self, left: Term, right: Term) -> Option<Fact> {
        let family = self.family(left)?;
        (self.family(right)? == family).then_some(Fact(left, right))
    }

    fn equal_value(&mut self, column: Term, value: &Node) -> Option<Fact> {
        let family = self.family(column)?;
        let value = self.add_value(key::read(value)?, family)?;
        Some(Fact(column, Term::Value(value)))
    }

    fn family(&self, term: Term) -> Option<Family> {
        match term {
            Term::Column(leaf, column) => self.column_family(leaf, column),
            Term::Value(value) => Some(self.values[value.0].family),
        }
    }

    /// Records a value, or finds it among those recorded. `None`: PostgreSQL would not compare it.
    pub(super) fn add_value(&mut self, expression: KeyExpr, family: Family) -> Option<ValueId> {
        if !is_comparable(&expression, family) {
            return None;
        }
        let same = |known: &KeyValue| {
            known.family == family && is_same_value(&known.expression, &expression)
        };
        if let Some(known) = self.values.iter().position(same) {
            self.values[known].merged |= self.values[known].expression != expression;
            return Some(ValueId(known));
        }
        self.values.push(KeyValue {
            expression,
            family,
            merged: false,
        });
        Some(ValueId(self.values.len() - 1))
    }

    /// `column IN (a, b, ...)`; of one element, the same as `=`.
    fn is_in(&mut self, left: &Node, right: &Node, into: &mut Conditions) {
        let Some(NodeEnum::List(list)) = right.node.as_ref() else {
            return;
        };
        if let [only] = list.items.as_slice() {
            return self.equals(left, only, into);
        }
        if row(left).is_none() {
            self.add_list(left, read_all(&list.items).map(ListedKeys::Each), into);
        }
    }

    /// `column = ANY (array)`.
    fn is_any(&mut self, left: &Node, right: &Node, into: &mut Conditions) {
        if let Some(NodeEnum::AArrayExpr(elements)) = right.node.as_ref()
            && let [only] = elements.elements.as_slice()
            && row(left).is_none()
        {
            return self.equals(left, only, into);
        }
        self.add_list(left, array(right), into);
    }

    fn add_list(&mut self, left: &Node, keys: Option<ListedKeys>, into: &mut Conditions) {
        let column = self.column_term(left);
        let (Some(column), Some(keys)) = (column, keys) else {
            return;
        };
        let Some(family) = self.family(column) else {
            return;
        };
        let comparable = match &keys {
            ListedKeys::Each(keys) => keys.iter().all(|key| is_comparable(key, family)),
            ListedKeys::Array(_) => true,
        };
        if comparable {
            into.lists.push(KeyList { column, keys });
        }
    }

    /// `x = ANY (subquery)`, `x IN (subquery)`, with rows too: true only for rows of the subquery that
    /// are equal to x.
    fn equal_any(&mut self, link: &SubLink, into: &mut Conditions) -> Result<(), RouterError> {
        let Some(test) = link.testexpr.as_deref() else {
            return Ok(());
        };
        self.expression(test, &mut into.subs)?;
        let query = self.subquery(link)?;
        let tests = row(test).map_or_else(|| vec![test], |tests| tests.iter().collect());
        let terms: Vec<_> = tests.iter().map(|test| self.column_term(test)).collect();
        let mut pushed = Vec::new();
        for (index, term) in terms.into_iter().enumerate() {
            let Some(term) = term else { continue };
            let output = self.queries[query.0]
                .outputs
                .as_ref()
                .and_then(|outputs| outputs.get(index))
                .cloned();
            if output.is_some_and(|output| {
                output.column.family.is_some() && output.column.family == self.family(term)
            }) {
                pushed.push((index, term));
            }
        }
        into.subs.push(Sub { query, pushed });
        Ok(())
    }
}

fn is_equal_any(link: &SubLink) -> bool {
    link.sub_link_type() == SubLinkType::AnySublink
        && (link.oper_name.is_empty() || is_equals(&link.oper_name))
}

fn is_equals(operator: &[Node]) -> bool {
    matches!(qualified(operator), Some((None | Some("pg_catalog"), "=")))
}

/// The elements of `(a, b)` or `ROW(a, b)`.
fn row(node: &Node) -> Option<&[Node]> {
    match node.node.as_ref()? {
        NodeEnum::RowExpr(row) => Some(&row.args),
        _ => None,
    }
}

/// The name of an operator or function without its schema.
pub(super) fn last_name(names: &[Node]) -> Option<&str> {
    string(names.last()?)
}
