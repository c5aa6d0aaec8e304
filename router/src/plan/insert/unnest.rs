//! `INSERT INTO t (columns) SELECT * FROM UNNEST(array, ...)`, as Django's `bulk_create` and many drivers' manuals
//! have it: the rows stand in arrays, one for each column. Gives a plan that cuts the arrays by key, or `None` for
//! any other form.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    FuncCall, Node, OverridingKind, SelectStmt, SetOperation, TypeName, a_const,
};
use schema::{DefaultValue, KeyType};

use super::rows::Layout;
use super::target::Target;
use super::{Job, Planned, conflict, others, overrides};
use crate::plan::edits::Edits;
use crate::plan::tokens::{Span, Tokens};
use crate::plan::{
    Action, ArraySource, Piece, Plan, SequenceName, Split, SplitUnnest, UnnestKey, names, scope,
    sequence,
};

/// PostgreSQL's oid of `box`, the only type whose arrays have another delimiter than the comma.
const BOX: u32 = 603;

/// `None`: it is none of these, or not one that can be cut exactly.
pub fn plan(job: &Job<'_>, target: &Target, key: usize, key_type: KeyType) -> Option<Planned> {
    let call = only_unnest(job)?;
    let arrays: Vec<Array<'_>> = call.args.iter().map(array).collect::<Option<_>>()?;
    let target = target.with_width(arrays.len());
    let plain = arrays.len() == target.columns.len()
        && !overrides(job.insert, OverridingKind::OverridingUserValue)
        && !job.facts.calls(&sequence::FUNCTIONS)
        && !has_boxes(&target, &arrays);
    plain.then_some(())?;
    let read = Unnest {
        job,
        target: &target,
        arrays: &arrays,
        key,
        key_type,
    };
    let split = read.split(call)?;
    Some(read.allowed().map(|()| {
        let name = &target.relation.columns[key].name;
        let reason = format!("rows of arrays divided by {name}");
        Plan::new(Action::Split(Split::Unnest(split)), job.effect, reason)
    }))
}

/// The call in `SELECT * FROM UNNEST(...)` and nothing else.
fn only_unnest<'a>(job: &Job<'a>) -> Option<&'a FuncCall> {
    job.insert.with_clause.is_none().then_some(())?;
    let select = match job.insert.select_stmt.as_deref()?.node.as_ref()? {
        NodeEnum::SelectStmt(select) => select.as_ref(),
        _ => return None,
    };
    (is_bare(select) && is_star(select)).then_some(())?;
    let [from] = select.from_clause.as_slice() else {
        return None;
    };
    let NodeEnum::RangeFunction(function) = from.node.as_ref()? else {
        return None;
    };
    let plain = !function.lateral
        && !function.ordinality
        && !function.is_rowsfrom
        && function.coldeflist.is_empty();
    plain.then_some(())?;
    let [item] = function.functions.as_slice() else {
        return None;
    };
    // The function and its (absent) column definitions.
    let call = match item.node.as_ref()? {
        NodeEnum::List(list) => names::function_call(list.items.first()?)?,
        _ => names::function_call(item)?,
    };
    let ours = matches!(
        scope::function_name(call)?,
        (None | Some("pg_catalog"), "unnest")
    );
    (ours && !call.args.is_empty() && !call.func_variadic).then_some(call)
}

fn is_bare(select: &SelectStmt) -> bool {
    select.distinct_clause.is_empty()
        && select.into_clause.is_none()
        && select.where_clause.is_none()
        && select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.window_clause.is_empty()
        && select.values_lists.is_empty()
        && select.sort_clause.is_empty()
        && select.limit_offset.is_none()
        && select.limit_count.is_none()
        && select.locking_clause.is_empty()
        && select.with_clause.is_none()
        && select.op() == SetOperation::SetopNone
}

fn is_star(select: &SelectStmt) -> bool {
    let [target] = select.target_list.as_slice() else {
        return false;
    };
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return false;
    };
    match target.val.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => matches!(
            column.fields.as_slice(),
            [Node {
                node: Some(NodeEnum::AStar(_))
            }]
        ),
        _ => false,
    }
}

/// An array argument: a literal or parameter, and the casts around it from the inside out.
struct Array<'a> {
    source: ArraySource,
    /// Byte where the literal or parameter starts.
    location: usize,
    casts: Vec<&'a TypeName>,
}

fn array(argument: &Node) -> Option<Array<'_>> {
    match argument.node.as_ref()? {
        NodeEnum::TypeCast(cast) => {
            let mut inner = array(cast.arg.as_deref()?)?;
            inner.casts.push(cast.type_name.as_ref()?);
            Some(inner)
        }
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Sval(text) => Some(Array {
                source: ArraySource::Literal(text.sval.clone()),
                location: usize::try_from(constant.location).ok()?,
                casts: Vec::new(),
            }),
            _ => None,
        },
        NodeEnum::ParamRef(parameter) => Some(Array {
            source: ArraySource::Parameter(u16::try_from(parameter.number).ok()?),
            location: usize::try_from(parameter.location).ok()?,
            casts: Vec::new(),
        }),
        _ => None,
    }
}

fn has_boxes(target: &Target, arrays: &[Array<'_>]) -> bool {
    let is_box =
        |name: &&TypeName| scope::qualified(&name.names).is_some_and(|(_, name)| name == "box");
    let columns = &target.relation.columns;
    target
        .columns
        .iter()
        .any(|column| columns[*column].type_oid == BOX)
        || arrays.iter().any(|array| array.casts.iter().any(&is_box))
}

/// The text before each array, and the array.
type Pieces = Vec<(Vec<Piece>, ArraySource)>;

struct Unnest<'a> {
    job: &'a Job<'a>,
    target: &'a Target,
    arrays: &'a [Array<'a>],
    key: usize,
    key_type: KeyType,
}

impl Unnest<'_> {
    /// What else in the statement could need another shard, or change a key.
    fn allowed(&self) -> Result<(), crate::error::RouterError> {
        self.job.others.only_reference()?;
        others::no_function_over_tables(self.job.facts, self.job.context)
    }

    fn split(&self, call: &FuncCall) -> Option<SplitUnnest> {
        let tokens = Tokens::of(&self.job.statement.text);
        let layout = Layout::of(&tokens, self.job.insert, 0)?;
        let edits = self.target.column_edits(self.job, &tokens, &layout);
        let close = closing(call, &tokens)?;
        let (arrays, end) = self.pieces(&tokens, &edits)?;
        (end <= close).then_some(())?;
        Some(SplitUnnest {
            arrays,
            after_arrays: edits.apply_with_parameters(&tokens, end..close),
            append_ids: self.sequences(),
            tail: edits.apply_with_parameters(&tokens, close..tokens.text.len()),
            key: self.unnest_key()?,
            key_type: self.key_type,
            client_parameters: self.job.facts.highest_parameter,
            returning: self.job.effect.returns_rows,
            may_skip_rows: conflict::may_skip_rows(self.job.insert),
        })
    }

    fn sequences(&self) -> Vec<SequenceName> {
        let absent = self.target.absent_ids().into_iter();
        absent.map(|(_, sequence)| sequence).collect()
    }

    /// The text before each array, and where the last one ends.
    fn pieces(&self, tokens: &Tokens<'_>, edits: &Edits) -> Option<(Pieces, usize)> {
        let mut at = 0;
        let mut pieces = Vec::with_capacity(self.arrays.len());
        for array in self.arrays {
            let span = source_span(array, tokens)?;
            (at <= span.start).then_some(())?;
            let before = edits.apply_with_parameters(tokens, at..span.start);
            pieces.push((before, array.source.clone()));
            at = span.end;
        }
        Some((pieces, at))
    }

    /// Where the key is; its array's casts must give every element as it is written.
    fn unnest_key(&self) -> Option<UnnestKey> {
        let Some(position) = self.target.position(self.key) else {
            let absent = self.target.absent_ids();
            let column = &self.target.relation.columns[self.key];
            let generated = absent.iter().position(|&(found, _)| found == self.key)?;
            debug_assert_ne!(column.default, DefaultValue::None);
            return Some(UnnestKey::GeneratedId(generated));
        };
        let array = self.arrays.get(position)?;
        let elements: Vec<u32> = array
            .casts
            .iter()
            .map(|name| scope::array_element(name))
            .collect::<Option<_>>()?;
        let alike = |element: &u32| {
            KeyType::of(*element).is_some_and(|element| is_alike(element, self.key_type))
        };
        (elements.iter().all(alike)).then_some(())?;
        Some(UnnestKey::Array {
            position,
            element: elements.first().copied()?,
        })
    }
}

/// Values of one type are the same value in the other, or an error.
fn is_alike(one: KeyType, other: KeyType) -> bool {
    let family = |key_type: KeyType| match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => 0,
        KeyType::Text | KeyType::Varchar => 1,
        KeyType::Uuid => 2,
    };
    family(one) == family(other)
}

/// Where the literal or the `$n` stands; `$n` must stand nowhere else.
fn source_span(array: &Array<'_>, tokens: &Tokens<'_>) -> Option<Span> {
    let index = tokens.index_at(array.location);
    let span = tokens.span(index);
    (span.start == array.location).then_some(())?;
    match array.source {
        ArraySource::Parameter(number) => {
            let whole = tokens.parameters(0..tokens.text.len());
            (whole.filter(|(_, found)| *found == number).count() == 1).then_some(span)
        }
        // U&'...' UESCAPE '...' goes on behind its first token.
        ArraySource::Literal(_) => (!tokens.is_word(index + 1, "uescape")).then_some(span),
    }
}

/// Where the parenthesis that closes the call is.
fn closing(call: &FuncCall, tokens: &Tokens<'_>) -> Option<usize> {
    let mut open = tokens.index_at(usize::try_from(call.location).ok()?);
    while open < tokens.len() && tokens.word(open) != "(" {
        open += 1;
    }
    tokens.closing(open).map(|index| tokens.span(index).start)
}
