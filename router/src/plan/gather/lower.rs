//! Any statement to one over pulled rows: every table whose rows are elsewhere is replaced, where it stands,
//! by the rows pulled from it, and all the rest stays as the client wrote it.
//!
//! Takes a statement and its survey; gives pulls and the changed text. It decides nothing about where the
//! text runs: the caller says what becomes of each table.

use std::collections::{HashMap, HashSet};

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, Token};
use schema::Placement;

use super::filters::{self, Filters, Link};
use super::needed::Stars;
use super::print::{self, Holes, INPUT};
use super::{Fragment, Pull, Source, Template, clock, grouping, locked, needed, tree};
use crate::error::RouterError;
use crate::parse::Statement;
use crate::plan::names::quote_identifier;
use crate::plan::pins::Pins;
use crate::plan::survey::{Body, Leaf, LeafId, LeafKind, ListedKeys, RangeMention, Survey, Term};
use crate::plan::tokens::{Span, Tokens};
use crate::plan::{PlanContext, unsupported};

/// What becomes of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It stays as it is written.
    Keep,
    Pull,
    /// It is pulled inside a transaction, whose changes only its own connections see.
    PullInTransaction,
    /// It is pulled, and every row of says by its mark where it is; the mark's number.
    PullMarked(usize),
}

/// A statement over pulled rows.
#[derive(Debug)]
pub struct Lowered {
    pub pulls: Vec<Pull>,
    /// The rows of some sharded table are pulled whole.
    pub is_wide: bool,
    /// Names of `holes` stand where pulled rows are to be.
    pub text: String,
    pub holes: Holes,
}

impl Lowered {
    pub fn template(&self) -> Template {
        print::cut(&self.text, &self.holes)
    }

    /// For a text that is run outside the transaction: it is given that one's clock.
    #[must_use]
    pub fn with_clock(mut self, context: &PlanContext<'_>) -> Self {
        self.text = clock::stop_in_text(&self.text, &mut self.holes, context);
        self
    }
}

/// Lowers a statement.
///
/// # Errors
/// What cannot be pulled, or a text that cannot be changed with certainty.
pub fn statement(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    context: &PlanContext<'_>,
    treat: &dyn Fn(LeafId) -> Treatment,
) -> Result<Lowered, RouterError> {
    let leaves: Vec<(LeafId, Treatment)> = (0..survey.leaves.len())
        .map(LeafId)
        .filter(|leaf| matches!(survey.leaf(*leaf).kind, LeafKind::Table { .. }))
        .map(|leaf| (leaf, treat(leaf)))
        .filter(|(_, treatment)| *treatment != Treatment::Keep)
        .collect();
    let pulled: Vec<LeafId> = leaves.iter().map(|(leaf, _)| *leaf).collect();
    needed::check(survey, &pulled)?;
    let mut lowering = Lowering::new(statement, survey, pins, context, &pulled);
    for (leaf, treatment) in lowering.ordered(leaves) {
        if let Treatment::PullMarked(mark) = treatment {
            lowering.marks.insert(leaf, mark);
        }
        lowering.leaf(leaf, treatment == Treatment::PullInTransaction)?;
    }
    lowering.qualifiers();
    let mut keyless = lowering.columns.clone();
    keyless.retain(|leaf, _| pulled.contains(leaf));
    let additions = grouping::additions(&statement.node, &lowering.tokens, survey, &keyless);
    lowering
        .edits
        .extend(additions.into_iter().map(|(at, text)| (at..at, text)));
    lowering.finish()
}

/// The sharded tables of which a condition or a key leaves only a part.
pub fn narrowed(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    context: &PlanContext<'_>,
) -> HashSet<LeafId> {
    let lowering = Lowering::new(statement, survey, pins, context, &[]);
    let leaves = (0..survey.leaves.len()).map(LeafId);
    leaves.filter(|leaf| lowering.is_narrow(*leaf)).collect()
}

struct Lowering<'a> {
    survey: &'a Survey,
    pins: &'a Pins,
    context: &'a PlanContext<'a>,
    tokens: Tokens<'a>,
    filters: Filters,
    links: Vec<Link>,
    /// Which pull has the rows of a table that is narrowed down.
    pulled_before: HashMap<LeafId, usize>,
    is_wide: bool,
    columns: HashMap<LeafId, Vec<usize>>,
    /// Tables whose rows say where they are.
    marks: HashMap<LeafId, usize>,
    holes: Holes,
    pulls: Vec<Pull>,
    edits: Vec<(Span, String)>,
}

impl<'a> Lowering<'a> {
    fn new(
        statement: &'a Statement,
        survey: &'a Survey,
        pins: &'a Pins,
        context: &'a PlanContext<'a>,
        pulled: &[LeafId],
    ) -> Self {
        let (filters, links) = filters::find(&statement.node, survey, context);
        let stars = Stars::of(&statement.node, &survey.facts);
        Self {
            survey,
            pins,
            context,
            tokens: Tokens::of(&statement.text),
            filters,
            links,
            pulled_before: HashMap::new(),
            is_wide: false,
            columns: pulled
                .iter()
                .map(|leaf| (*leaf, needed::columns(survey, *leaf, &stars)))
                .collect(),
            marks: HashMap::new(),
            holes: Holes::named(INPUT),
            pulls: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// Tables that are narrowed down come first, and then those that are linked to one before them.
    fn ordered(&self, mut leaves: Vec<(LeafId, Treatment)>) -> Vec<(LeafId, Treatment)> {
        let mut ordered: Vec<(LeafId, Treatment)> = Vec::with_capacity(leaves.len());
        let mut narrow = HashSet::new();
        while !leaves.is_empty() {
            let linked = |leaf: LeafId| {
                let mut links = self.links.iter().filter(|link| link.narrowed.0 == leaf);
                links.any(|link| narrow.contains(&link.by.0))
            };
            let mut places = 0..leaves.len();
            let own = places
                .clone()
                .find(|place| self.is_narrow(leaves[*place].0));
            let next = own.or_else(|| places.find(|place| linked(leaves[*place].0)));
            let (leaf, treatment) = leaves.remove(next.unwrap_or(0));
            if next.is_some() {
                narrow.insert(leaf);
            }
            ordered.push((leaf, treatment));
        }
        ordered
    }

    fn is_narrow(&self, leaf: LeafId) -> bool {
        match &self.survey.leaf(leaf).kind {
            LeafKind::Table { placement, .. } => {
                let source = self.source(leaf, placement);
                self.filters.contains_key(&leaf)
                    || matches!(
                        source,
                        Source::Key { .. } | Source::Keys { .. } | Source::KeyArray { .. }
                    )
            }
            _ => false,
        }
    }

    fn leaf(&mut self, leaf: LeafId, is_optional: bool) -> Result<(), RouterError> {
        let failed = unsupported::rewrite_not_possible;
        let mention = self.survey.leaf(leaf).mention.ok_or_else(failed)?;
        let span = range_span(&self.tokens, mention).ok_or_else(failed)?;
        let narrowings = self.narrowings(leaf);
        let is_narrow = self.is_narrow(leaf) || !narrowings.is_empty();
        let pull = self.pull(leaf, narrowings, is_optional)?;
        let rows = Fragment::Rows(self.pulls.len());
        let (head, tail) = self.around_rows(leaf).ok_or_else(failed)?;
        let replacement = if is_optional {
            let in_place = self.tokens.text[span.clone()].to_owned();
            self.holes.add(vec![Fragment::Table {
                pull: self.pulls.len(),
                pulled: vec![Fragment::Text(head), rows, Fragment::Text(tail)],
                in_place,
            }])
        } else {
            format!("{head}{}{tail}", self.holes.add(vec![rows]))
        };
        self.is_wide |= !is_narrow && self.survey.leaf(leaf).shard_key().is_some();
        if is_narrow && !is_optional {
            self.pulled_before.insert(leaf, self.pulls.len());
        }
        self.pulls.push(pull);
        self.table_command(&span);
        self.edits.push((span, replacement));
        Ok(())
    }

    /// `TABLE name` takes a name alone: where something else is to stand, it is the SELECT that it is short for.
    fn table_command(&mut self, name: &Span) {
        let before = self.tokens.index_at(name.start).checked_sub(1);
        if let Some(before) = before.filter(|before| self.tokens.is(*before, Token::Table)) {
            let edit = (self.tokens.span(before), "SELECT * FROM".to_owned());
            self.edits.push(edit);
        }
    }

    /// ` AND t.x IN (SELECT c2 FROM rows)` for every table pulled before that is linked to this one.
    fn narrowings(&self, leaf: LeafId) -> Vec<Fragment> {
        let links = self.links.iter().filter(|link| link.narrowed.0 == leaf);
        links.filter_map(|link| self.narrowing(link)).collect()
    }

    fn narrowing(&self, link: &Link) -> Option<Fragment> {
        let (by, column) = link.by;
        let pull = *self.pulled_before.get(&by)?;
        let place = self.columns.get(&by)?.iter().position(|it| *it == column)?;
        let (leaf, column) = link.narrowed;
        let it = self.survey.leaf(leaf);
        let name = it.columns.as_ref()?.get(column)?.name.as_ref()?;
        let test = format!(
            " AND {}.{} IN (SELECT c{} FROM ",
            quote_identifier(alias(it)),
            quote_identifier(name),
            place + 1
        );
        let fragments = vec![
            Fragment::Text(test),
            Fragment::Rows(pull),
            Fragment::Text(" AS n)".to_owned()),
        ];
        Some(Fragment::IfArrays { pull, fragments })
    }

    /// `SELECT columns FROM table WHERE filters`.
    fn pull(
        &self,
        leaf: LeafId,
        narrowings: Vec<Fragment>,
        is_optional: bool,
    ) -> Result<Pull, RouterError> {
        let it = self.survey.leaf(leaf);
        let LeafKind::Table {
            relation,
            placement,
        } = &it.kind
        else {
            return Err(unsupported::syntax_not_understood());
        };
        let columns = &self.columns[&leaf];
        let alias = alias(it);
        let names: Vec<&str> = it
            .columns
            .iter()
            .flatten()
            .map(|column| column.name.as_deref().unwrap_or_default())
            .collect();
        let mut targets: Vec<Node> = columns
            .iter()
            .map(|column| tree::target(tree::column(&[alias, names[*column]]), ""))
            .collect();
        let mark = self.marks.get(&leaf).copied();
        if mark.is_some() {
            targets.extend(locked::marks(alias)?);
        } else if targets.is_empty() {
            targets.push(tree::target(tree::truth(), ""));
        }
        let renamed = it.mention.is_some_and(|mention| mention.renames_columns);
        let from = tree::table(
            &relation.schema,
            &relation.name,
            alias,
            if renamed { &names } else { &[] },
        );
        let mut filters = self.filters.get(&leaf).cloned().unwrap_or_default();
        if filters.is_empty() && !narrowings.is_empty() {
            filters.push(tree::truth());
        }
        let count = targets.len();
        let select = tree::select(targets, vec![from], tree::all_of(filters));
        let mut node = tree::node(NodeEnum::SelectStmt(Box::new(select)));
        let mut holes = Holes::default();
        clock::stop(&mut node, &mut holes, self.context);
        let node = node.node.ok_or_else(unsupported::rewrite_not_possible)?;
        let mut text = print::template(&node, &holes)?;
        text.fragments.extend(narrowings);
        Ok(Pull {
            name: named(&relation.name, alias),
            text,
            columns: count,
            source: match (mark, placement) {
                // Its rows are locked on one shard for all.
                (Some(_), Placement::Reference) => Source::Home,
                _ => self.source(leaf, placement),
            },
            is_optional,
            mark,
        })
    }

    fn source(&self, leaf: LeafId, placement: &Placement) -> Source {
        match placement {
            Placement::Local => Source::Home,
            Placement::Reference => Source::AnyShard,
            Placement::Sharded { key, key_type } => {
                let key = Term::Column(leaf, *key);
                self.pinned(leaf, *key_type)
                    .or_else(|| self.listed(key, *key_type))
                    .unwrap_or(Source::Everywhere)
            }
        }
    }

    /// The key's value, where every mention of the table has the same.
    fn pinned(&self, leaf: LeafId, key_type: schema::KeyType) -> Option<Source> {
        let mut uses = self.pins.uses.iter().filter(|used| used.leaf == leaf);
        let value = |used: &crate::plan::pins::Use| {
            let terms = used.equals(self.survey);
            terms.into_iter().find_map(|term| match term {
                Term::Value(value) => Some(value),
                Term::Column(..) => None,
            })
        };
        let first = value(uses.next()?)?;
        let same = !self.pins.gave_up && uses.all(|used| value(used) == Some(first));
        same.then(|| Source::Key {
            key: self.survey.value(first).expression.clone(),
            key_type,
        })
    }

    /// A list of keys in the WHERE clause of the table's own level.
    fn listed(&self, key: Term, key_type: schema::KeyType) -> Option<Source> {
        let mut lists = self
            .survey
            .queries
            .iter()
            .flat_map(|query| match &query.body {
                Body::Rows(rows) => rows.filter.lists.iter(),
                _ => [].iter(),
            });
        let list = lists.find(|list| list.column == key && self.is_filtered_by(key))?;
        Some(match &list.keys {
            ListedKeys::Each(keys) => Source::Keys {
                keys: keys.clone(),
                key_type,
            },
            ListedKeys::Array(array) => Source::KeyArray {
                array: array.clone(),
                key_type,
            },
        })
    }

    /// The list stands in a condition that was pushed: then it surely holds for every row that matters.
    fn is_filtered_by(&self, key: Term) -> bool {
        let Term::Column(leaf, _) = key else {
            return false;
        };
        let filters = self
            .filters
            .get(&leaf)
            .map(Vec::as_slice)
            .unwrap_or_default();
        filters.iter().any(|filter| match filter.node.as_ref() {
            Some(NodeEnum::AExpr(test)) => {
                test.lexpr
                    .as_deref()
                    .is_some_and(|left| match left.node.as_ref() {
                        Some(NodeEnum::ColumnRef(column)) => {
                            self.survey.columns.get(&column.location) == Some(&key)
                        }
                        _ => false,
                    })
            }
            _ => false,
        })
    }

    /// `(SELECT c1 AS "id", ... FROM ` rows ` AS r) AS alias`.
    fn around_rows(&self, leaf: LeafId) -> Option<(String, String)> {
        let it = self.survey.leaf(leaf);
        let LeafKind::Table { relation, .. } = &it.kind else {
            return None;
        };
        let mut head = String::from("(SELECT ");
        for (index, column) in self.columns[&leaf].iter().enumerate() {
            if index > 0 {
                head.push_str(", ");
            }
            let facts = relation.columns.get(*column)?;
            let name = it.columns.as_ref()?.get(*column)?.name.as_ref()?;
            head.push_str(&format!(
                "c{}{} AS {}",
                index + 1,
                lost(facts, self.context),
                quote_identifier(name)
            ));
        }
        if let Some(mark) = self.marks.get(&leaf) {
            head.push_str(&locked::mark_column(self.columns[&leaf].len(), *mark));
        }
        head.push_str(" FROM ");
        // Where a join's alias hides the name, it still holds inside the join.
        let name = match it.name.is_empty() {
            true => self.written_name(it.mention?)?.to_owned(),
            false => quote_identifier(&it.name),
        };
        let tail = format!(" AS r) AS {name}");
        Some((head, tail))
    }

    /// The alias, or else the table's name, as it is written.
    fn written_name(&self, mention: RangeMention) -> Option<&str> {
        let name = RangeMention {
            has_alias: false,
            renames_columns: false,
            ..mention
        };
        let end = range_span(&self.tokens, name)?.end;
        let last = self.tokens.index_at(end);
        Some(match mention.has_alias {
            true => self
                .tokens
                .word(last + usize::from(self.tokens.is_word(last, "as"))),
            false => self.tokens.word(last - 1),
        })
    }

    /// `schema.table.column`: the pulled rows are in no schema.
    fn qualifiers(&mut self) {
        for column in &self.survey.facts.columns {
            let parts = column.parts.len() + usize::from(column.is_star);
            if parts < 3 {
                continue;
            }
            let first = self.tokens.index_at(column.location);
            let table = first + 2 * (parts - 2);
            let names_pulled = self
                .columns
                .keys()
                .any(|leaf| Some(&self.survey.leaf(*leaf).name) == column.parts.get(parts - 2));
            if names_pulled {
                let span = self.tokens.span(first).start..self.tokens.span(table).start;
                self.edits.push((span, String::new()));
            }
        }
    }

    fn finish(mut self) -> Result<Lowered, RouterError> {
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let text = self.tokens.text;
        let mut changed = String::with_capacity(text.len());
        let mut done = 0;
        for (span, replacement) in &self.edits {
            if span.start < done {
                return Err(unsupported::rewrite_not_possible());
            }
            changed.push_str(&text[done..span.start]);
            changed.push_str(replacement);
            done = span.end;
        }
        changed.push_str(&text[done..]);
        Ok(Lowered {
            pulls: self.pulls,
            is_wide: self.is_wide,
            text: changed,
            holes: self.holes,
        })
    }
}

/// What a column's values lose on the way, as it is written behind the column: a type's modifier, a
/// domain, a collation that is not the type's own.
fn lost(column: &schema::Column, context: &PlanContext<'_>) -> String {
    let modified =
        column.type_modifier >= 0 || context.snapshot.domains.contains_key(&column.type_oid);
    let mut lost = if modified {
        format!("::{}", column.type_name)
    } else {
        String::new()
    };
    if let Some((schema, name)) = &column.collation {
        let collation = [schema, name].map(|part| quote_identifier(part)).join(".");
        lost.push_str(&format!(" COLLATE {collation}"));
    }
    lost
}

/// What a pull calls its table.
fn alias(leaf: &Leaf) -> &str {
    if leaf.name.is_empty() {
        "t"
    } else {
        &leaf.name
    }
}

fn named(relation: &str, alias: &str) -> String {
    if relation == alias {
        relation.to_owned()
    } else {
        format!("{relation} AS {alias}")
    }
}

/// The name, `*`, AS, the alias and its columns.
fn range_span(tokens: &Tokens<'_>, mention: RangeMention) -> Option<Span> {
    let first = tokens.index_at(mention.location);
    let mut last = first;
    while tokens.word(last + 1) == "." {
        last += 2;
    }
    if tokens.word(last + 1) == "*" {
        last += 1;
    }
    if mention.has_alias {
        last += usize::from(tokens.is_word(last + 1, "as")) + 1;
    }
    if mention.renames_columns {
        last = tokens.closing(last + 1)?;
    }
    (last < tokens.len()).then(|| tokens.span(first).start..tokens.span(last).end)
}
