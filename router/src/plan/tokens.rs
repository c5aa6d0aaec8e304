//! A statement's text as tokens, for cutting pieces out of it. Takes the text; gives byte ranges.
//! The parse tree only says where an expression starts; where it ends is found here. Knows no grammar
//! but parentheses and commas.

use pg_query::protobuf::{ScanToken, Token};

/// The tokens of one text, comments left out.
#[derive(Debug)]
pub struct Tokens<'a> {
    pub text: &'a str,
    tokens: Vec<ScanToken>,
}

/// Byte range of a text.
pub type Span = std::ops::Range<usize>;

impl<'a> Tokens<'a> {
    /// A text that parsed also lexes; should it not, there are simply no tokens, and every search in
    /// them finds nothing.
    pub fn of(text: &'a str) -> Self {
        let mut tokens = pg_query::scan_tokens(text).unwrap_or_default();
        tokens.retain(|token| !is(token, Token::SqlComment) && !is(token, Token::CComment));
        Self { text, tokens }
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The text of token `index`; empty past the end.
    pub fn word(&self, index: usize) -> &'a str {
        self.text.get(self.span(index)).unwrap_or_default()
    }

    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(word)
    }

    pub fn is(&self, index: usize, token: Token) -> bool {
        self.tokens.get(index).is_some_and(|found| is(found, token))
    }

    /// Byte range of token `index`; an empty range at the end of the text past the last.
    pub fn span(&self, index: usize) -> Span {
        match self.tokens.get(index) {
            Some(token) => offset(token.start)..offset(token.end),
            None => self.text.len()..self.text.len(),
        }
    }

    /// The first token that starts at byte `at` or later.
    pub fn index_at(&self, at: usize) -> usize {
        self.tokens
            .partition_point(|token| offset(token.start) < at)
    }

    /// The token that closes the bracket or parenthesis opened by token `open`.
    pub fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for index in open..self.len() {
            match self.word(index) {
                "(" | "[" => depth += 1,
                ")" | "]" => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first token from `from` on, outside parentheses, for which `wanted` holds.
    pub fn find_outside(&self, from: usize, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut index = from;
        while index < self.len() {
            if wanted(index) {
                return Some(index);
            }
            index = match self.word(index) {
                "(" | "[" => self.closing(index)? + 1,
                _ => index + 1,
            };
        }
        None
    }

    /// The spans between the commas inside the parentheses opened by token `open`.
    pub fn list_items(&self, open: usize) -> Option<Vec<Span>> {
        let close = self.closing(open)?;
        if close == open + 1 {
            return Some(Vec::new());
        }
        let mut items = Vec::new();
        let mut first = open + 1;
        while let Some(comma) =
            self.find_outside(first, |index| index >= close || self.word(index) == ",")
        {
            items.push(self.span(first).start..self.span(comma - 1).end);
            if comma >= close {
                return Some(items);
            }
            first = comma + 1;
        }
        None
    }

    /// Text from token `index` to the end.
    pub fn rest(&self, index: usize) -> &'a str {
        self.text.get(self.span(index).start..).unwrap_or_default()
    }

    /// `$n` tokens inside `span`: where, and n.
    pub fn parameters(&self, span: Span) -> impl Iterator<Item = (Span, u16)> + '_ {
        (self.index_at(span.start)..self.len())
            .take_while(move |&index| self.span(index).end <= span.end)
            .filter(|&index| self.is(index, Token::Param))
            .filter_map(|index| Some((self.span(index), self.word(index).get(1..)?.parse().ok()?)))
    }
}

fn is(found: &ScanToken, token: Token) -> bool {
    found.token == token as i32
}

/// The lexer never gives a negative offset.
fn offset(at: i32) -> usize {
    usize::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_items_keep_nested_commas_together() {
        let tokens = Tokens::of("VALUES (1, f(2, 3), ARRAY[4, 5], 'a,)b' /* , */, $6::int4)");
        let items = tokens.list_items(1).expect("closed");
        let texts: Vec<_> = items.into_iter().map(|span| &tokens.text[span]).collect();
        assert_eq!(texts, ["1", "f(2, 3)", "ARRAY[4, 5]", "'a,)b'", "$6::int4"]);
    }

    #[test]
    fn parameters_are_found_with_their_numbers() {
        let tokens = Tokens::of("($2, '$3', $10)");
        let found: Vec<_> = tokens.parameters(0..15).map(|(_, number)| number).collect();
        assert_eq!(found, [2, 10]);
    }
}
