//! Where the parts of `INSERT INTO t (columns) ... VALUES (row), (row) tail` stand in the text.

use pg_query::protobuf::{InsertStmt, Token};

use crate::plan::tokens::{Span, Tokens};

/// Byte ranges of an INSERT's parts.
#[derive(Debug)]
pub struct Layout {
    /// Where the column list closes; `None` without a list.
    pub columns_close: Option<usize>,
    /// Where a column list or an OVERRIDING clause can be put: the start of what follows them.
    pub before_overriding: usize,
    /// The word USER of `OVERRIDING USER VALUE`.
    pub overriding_user: Option<Span>,
    /// Start of VALUES, SELECT, WITH or DEFAULT VALUES.
    pub source: usize,
    /// Rows of VALUES; empty for other sources.
    pub rows: Vec<RowLayout>,
}

/// One parenthesised row.
#[derive(Debug)]
pub struct RowLayout {
    /// Parentheses included.
    pub span: Span,
    pub items: Vec<Span>,
}

impl RowLayout {
    /// Where a value can be appended.
    pub fn end_of_items(&self) -> usize {
        self.span.end - 1
    }
}

impl Layout {
    /// `None` where the text has a form not foreseen here; then it is not taken apart.
    pub fn of(tokens: &Tokens<'_>, insert: &InsertStmt, rows: usize) -> Option<Self> {
        let after_name = after_relation(tokens, insert)?;
        let (columns_close, after_columns) = columns(tokens, insert, after_name)?;
        let (overriding, overriding_user) = overriding(tokens, after_columns);
        let source = overriding.map_or(after_columns, |index| index + 3);
        let layout = Self {
            columns_close: columns_close.map(|index| tokens.span(index).start),
            before_overriding: tokens.span(after_columns).start,
            overriding_user,
            source: tokens.span(source).start,
            rows: if rows == 0 {
                Vec::new()
            } else {
                row_layouts(tokens, source)?
            },
        };
        (layout.rows.len() == rows).then_some(layout)
    }
}

/// The token after the table's name and alias.
fn after_relation(tokens: &Tokens<'_>, insert: &InsertStmt) -> Option<usize> {
    let relation = insert.relation.as_ref()?;
    let mut index = tokens.index_at(usize::try_from(relation.location).ok()?) + 1;
    while tokens.word(index) == "." {
        index += 2;
    }
    Some(if relation.alias.is_some() {
        index + 2
    } else {
        index
    })
}

/// The token that closes the column list, and the one after it.
fn columns(tokens: &Tokens<'_>, insert: &InsertStmt, at: usize) -> Option<(Option<usize>, usize)> {
    if insert.cols.is_empty() {
        return Some((None, at));
    }
    (tokens.word(at) == "(").then_some(())?;
    let close = tokens.closing(at)?;
    Some((Some(close), close + 1))
}

/// `OVERRIDING {USER | SYSTEM} VALUE` at token `at`.
fn overriding(tokens: &Tokens<'_>, at: usize) -> (Option<usize>, Option<Span>) {
    if !tokens.is(at, Token::Overriding) {
        return (None, None);
    }
    (
        Some(at),
        tokens.is_word(at + 1, "user").then(|| tokens.span(at + 1)),
    )
}

fn row_layouts(tokens: &Tokens<'_>, values: usize) -> Option<Vec<RowLayout>> {
    tokens.is(values, Token::Values).then_some(())?;
    let mut rows = Vec::new();
    let mut open = values + 1;
    loop {
        (tokens.word(open) == "(").then_some(())?;
        let close = tokens.closing(open)?;
        let span = tokens.span(open).start..tokens.span(close).end;
        rows.push(RowLayout {
            span,
            items: tokens.list_items(open)?,
        });
        if tokens.word(close + 1) != "," {
            return Some(rows);
        }
        open = close + 2;
    }
}
