//! Changed parse trees back to text, and the text cut at its holes.
//!
//! The text is proven by parsing it again: but for locations the tree must be the one that was printed.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ParseResult, RangeVar, RawStmt, Token};

use super::template::{Argument, Fragment, Template};
use crate::error::RouterError;
use crate::plan::tokens::Tokens;
use crate::plan::unsupported;

/// What stands in a tree where the text is to have a hole, by name.
#[derive(Debug)]
pub struct Holes {
    prefix: &'static str,
    holes: Vec<Vec<Fragment>>,
}

const HOLE: &str = "oskol_hole_";
/// Begins the names that stand for rows pulled before: a text with them can be planned by itself.
pub const INPUT: &str = "oskol_input_";

impl Default for Holes {
    fn default() -> Self {
        Self::named(HOLE)
    }
}

impl Holes {
    /// Holes whose names begin with `prefix`, so that those of two makers do not meet.
    pub fn named(prefix: &'static str) -> Self {
        Self {
            prefix,
            holes: Vec::new(),
        }
    }

    /// A name that will be replaced by `fragments`.
    pub fn add(&mut self, fragments: Vec<Fragment>) -> String {
        self.holes.push(fragments);
        format!("{}{}", self.prefix, self.holes.len() - 1)
    }

    /// A FROM item that will be replaced by `fragments` (which bring their own alias).
    pub fn table(&mut self, fragments: Vec<Fragment>) -> Node {
        let range = RangeVar {
            relname: self.add(fragments),
            inh: true,
            relpersistence: "p".to_owned(),
            ..RangeVar::default()
        };
        Node {
            node: Some(NodeEnum::RangeVar(range)),
        }
    }

    fn find(&self, word: &str) -> Option<&[Fragment]> {
        let index: usize = word.strip_prefix(self.prefix)?.parse().ok()?;
        self.holes.get(index).map(Vec::as_slice)
    }
}

/// The statement `node` as a template: `$n` and the holes become fragments.
///
/// # Errors
/// 0A000 where the printed text does not mean the tree.
pub fn template(node: &NodeEnum, holes: &Holes) -> Result<Template, RouterError> {
    Ok(cut(&text(node)?, holes))
}

/// The statement `node` as text.
pub fn text(node: &NodeEnum) -> Result<String, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let tree = ParseResult {
        version: 0,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(Node {
                node: Some(node.clone()),
            })),
            stmt_location: 0,
            stmt_len: 0,
        }],
    };
    let text =
        pg_query::deparse(&tree, pg_query::DeparseOptions::default()).map_err(|_| failed())?;
    let again = pg_query::parse(&text, 0).map_err(|_| failed())?;
    let again = again
        .protobuf
        .stmts
        .into_iter()
        .next()
        .and_then(|raw| raw.stmt?.node);
    match again {
        Some(again) if shown(&again) == shown(node) => Ok(text),

        _ => Err(failed()),
    }
}

/// The tree in words, without locations.
pub(super) fn shown(node: &NodeEnum) -> String {
    let full = format!("{node:?}");
    let mut out = String::with_capacity(full.len());
    let mut rest = full.as_str();
    while let Some(at) = rest.find(": ") {
        let (before, after) = rest.split_at(at + ": ".len());
        out.push_str(before);
        rest = after;
        if ["location: ", "list_start: ", "list_end: "]
            .iter()
            .any(|field| before.ends_with(field))
        {
            rest = after.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
        }
    }
    out.push_str(rest);
    out
}

/// A template whose text still has the names of `holes` in it.
#[must_use]
pub fn fill(template: Template, holes: &Holes) -> Template {
    let fragments = template
        .fragments
        .into_iter()
        .flat_map(|fragment| match fragment {
            Fragment::Text(text) => cut(&text, holes).fragments,
            other => vec![other],
        });
    Template {
        fragments: fragments.collect(),
    }
}

/// `text` in pieces.
pub fn cut(text: &str, holes: &Holes) -> Template {
    let tokens = Tokens::of(text);
    let mut fragments = Vec::new();
    let mut done = 0;
    for index in 0..tokens.len() {
        let word = tokens.word(index);
        let filling = if tokens.is(index, Token::Param) {
            word[1..]
                .parse()
                .ok()
                .map(|number| vec![Fragment::Argument(Argument::Client(number))])
        } else {
            holes.find(word).map(<[Fragment]>::to_vec)
        };
        let Some(filling) = filling else { continue };
        let span = tokens.span(index);
        if span.start > done {
            fragments.push(Fragment::Text(text[done..span.start].to_owned()));
        }
        fragments.extend(filling);
        done = span.end;
    }
    if done < text.len() {
        fragments.push(Fragment::Text(text[done..].to_owned()));
    }
    Template { fragments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> NodeEnum {
        crate::parse::parse(text).unwrap().remove(0).node
    }

    #[test]
    fn what_is_printed_means_the_same() {
        for statement in [
            "SELECT a, b AS \"B\", count(*) FILTER (WHERE c > 0) FROM t u(a) WHERE x IN (1, 2) AND NOT y GROUP BY ROLLUP (a, b) HAVING sum(d) > $1 ORDER BY 1 DESC NULLS LAST LIMIT 3",
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
            "SELECT string_agg(x, ',' ORDER BY y), percentile_cont(0.5) WITHIN GROUP (ORDER BY z) FROM t",
            "SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "SELECT CASE WHEN a THEN 1 ELSE 2 END, a::numeric(10,2), interval '1 day', now() AT TIME ZONE 'UTC' FROM t",
            "SELECT * FROM a LEFT JOIN b USING (id) NATURAL JOIN c, LATERAL (SELECT 1) d",
            "SELECT - 5, -a, 'it''s', E'a\\nb', x LIKE 'a%' ESCAPE '\\', arr[1:2], (c).f FROM t ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES",
        ] {
            text(&node(statement)).unwrap_or_else(|_| panic!("{statement}"));
        }
    }

    #[test]
    fn parameters_and_holes_are_cut_out() {
        let mut holes = Holes::default();
        let name = holes.add(vec![Fragment::Rows(3)]);
        let template = template(&node(&format!("SELECT $2 FROM {name} AS x")), &holes).unwrap();
        assert_eq!(
            template.fragments,
            [
                Fragment::Text("SELECT ".into()),
                Fragment::Argument(Argument::Client(2)),
                Fragment::Text(" FROM ".into()),
                Fragment::Rows(3),
                Fragment::Text(" x".into()),
            ]
        );
    }
}
