//! What a parse tree mentions anywhere: relations, functions, parameters, subqueries. Takes any node;
//! gives [`Facts`]. Complete by construction: it walks the tree by its own serialisation, so no kind of
//! node can be forgotten. Knows no table.

mod walk;

use serde::Serialize;

/// Everything a tree mentions, in the order of the text as the tree has it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Every relation name, those of WITH queries among them.
    pub relations: Vec<Mention>,
    /// Every function called by name (not operators, not casts).
    pub functions: Vec<Mention>,
    /// Names of WITH queries.
    pub common_tables: Vec<String>,
    /// Type names, without `pg_catalog` where the grammar puts it.
    pub types: Vec<Mention>,
    /// Highest `$n`.
    pub highest_parameter: u16,
    /// Subqueries in expressions.
    pub sublinks: usize,
    /// `ARRAY(SELECT ...)`, whose order is that of the rows.
    pub has_array_of_rows: bool,
    /// `CURRENT_TIMESTAMP`, `CURRENT_USER` and their like: their `op` number in PostgreSQL.
    pub value_functions: Vec<i32>,
    /// String constants.
    pub strings: Vec<String>,
    /// Every other string node: parts of names, of whatever object.
    pub name_parts: Vec<String>,
    pub has_limit: bool,
    pub has_distinct_on_or_window: bool,
    /// Every column named, in expressions.
    pub columns: Vec<ColumnMention>,
    /// `NATURAL JOIN`
    pub has_natural_join: bool,
}

/// A column reference as written: `a`, `t.a`, `s.t.a`, `*`, `t.*`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ColumnMention {
    /// Without the star.
    pub parts: Vec<String>,
    pub is_star: bool,
    /// Byte offset.
    pub location: usize,
}

/// A name, perhaps with a schema, and where it stands (byte offset).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mention {
    pub schema: Option<String>,
    pub name: String,
    pub location: usize,
}

impl Mention {
    /// The name alone, when it is in no schema or in `pg_catalog`.
    pub fn built_in_name(&self) -> Option<&str> {
        match self.schema.as_deref() {
            None | Some("pg_catalog") => Some(&self.name),
            Some(_) => None,
        }
    }
}

impl Facts {
    pub fn of(tree: &impl Serialize) -> Self {
        let mut walker = Walker::default();
        // The walker never gives an error of its own, and derived code has none to give.
        let _ = tree.serialize(&mut walker);
        walker.facts
    }

    /// Relations that are not WITH queries. (A WITH query of the same name as a table hides it; both
    /// in one statement is rare, and then the table is missed only where it is named without schema.)
    pub fn tables(&self) -> impl Iterator<Item = &Mention> {
        self.relations.iter().filter(|relation| {
            relation.schema.is_some() || !self.common_tables.contains(&relation.name)
        })
    }

    /// Some function of these names is called, unqualified or in `pg_catalog`.
    pub fn calls(&self, names: &[&str]) -> bool {
        self.functions.iter().any(|call| {
            call.built_in_name()
                .is_some_and(|name| names.contains(&name))
        })
    }
}

/// In [`Frame::number`] of a column: it ends in a star.
const STAR: i64 = -1;
/// `SubLinkType::ArraySublink`, as the tree numbers it.
const ARRAY_SUBLINK: i64 = 7;

/// One struct being walked.
#[derive(Debug, Default)]
struct Frame {
    kind: &'static str,
    field: &'static str,
    /// Name parts found so far: `funcname`, `names`, `schemaname` + `relname`.
    parts: Vec<String>,
    location: usize,
    number: i64,
}

#[derive(Debug, Default)]
struct Walker {
    stack: Vec<Frame>,
    facts: Facts,
}

impl Walker {
    fn text(&mut self, value: &str) {
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        match (frame.kind, frame.field) {
            ("RangeVar", "schemaname" | "relname") if !value.is_empty() => {
                frame.parts.push(value.to_owned())
            }
            ("CommonTableExpr", "ctename") => self.facts.common_tables.push(value.to_owned()),
            ("String", "sval") => self.string(depth, value),
            _ => {}
        }
    }

    /// A String node: part of a name if its owner collects one, else a constant.
    fn string(&mut self, depth: usize, value: &str) {
        // `Node` only wraps the real node.
        match self.stack[..depth - 1]
            .iter_mut()
            .rev()
            .find(|frame| frame.kind != "Node")
        {
            Some(owner)
                if matches!(
                    (owner.kind, owner.field),
                    ("FuncCall", "funcname") | ("TypeName", "names")
                ) =>
            {
                owner.parts.push(value.to_owned());
            }
            Some(owner) if owner.kind == "AConst" => self.facts.strings.push(value.to_owned()),
            Some(owner) if owner.kind == "ColumnRef" => {
                owner.parts.push(value.to_owned());
                self.facts.name_parts.push(value.to_owned());
            }
            _ => self.facts.name_parts.push(value.to_owned()),
        }
    }

    fn number(&mut self, value: i64) {
        let Some(frame) = self.stack.last_mut() else {
            return;
        };
        match frame.field {
            "location" => frame.location = usize::try_from(value).unwrap_or(0),
            "number" | "op" | "sub_link_type" => frame.number = value,
            _ => {}
        }
    }

    fn leave(&mut self) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        match frame.kind {
            "RangeVar" => self.facts.relations.extend(frame.mention()),
            "FuncCall" => self.facts.functions.extend(frame.mention()),
            "TypeName" => self.facts.types.extend(frame.mention()),
            "AStar" => self.star(),
            "ColumnRef" => self.facts.columns.push(ColumnMention {
                parts: frame.parts,
                is_star: frame.number == STAR,
                location: frame.location,
            }),
            "SubLink" => {
                self.facts.sublinks += 1;
                self.facts.has_array_of_rows |= frame.number == ARRAY_SUBLINK;
            }
            "SqlValueFunction" => self
                .facts
                .value_functions
                .push(i32::try_from(frame.number).unwrap_or(0)),
            "WindowDef" => self.facts.has_distinct_on_or_window = true,
            "ParamRef" => {
                let number = u16::try_from(frame.number).unwrap_or(u16::MAX);
                self.facts.highest_parameter = self.facts.highest_parameter.max(number);
            }
            _ => {}
        }
    }

    fn star(&mut self) {
        let owner = self
            .stack
            .iter_mut()
            .rev()
            .find(|frame| frame.kind != "Node");
        if let Some(owner) = owner.filter(|owner| owner.kind == "ColumnRef") {
            owner.number = STAR;
        }
    }

    fn flag(&mut self, value: bool) {
        let frame = self.stack.last();
        let natural =
            frame.is_some_and(|frame| (frame.kind, frame.field) == ("JoinExpr", "is_natural"));
        self.facts.has_natural_join |= natural && value;
    }

    /// A field that holds something (not `None`, not an empty list).
    fn present(&mut self) {
        let Some(frame) = self.stack.last() else {
            return;
        };
        match (frame.kind, frame.field) {
            ("SelectStmt", "limit_count" | "limit_offset") => self.facts.has_limit = true,
            ("SelectStmt", "distinct_clause") => self.facts.has_distinct_on_or_window = true,
            _ => {}
        }
    }
}

impl Frame {
    fn mention(mut self) -> Option<Mention> {
        let name = self.parts.pop()?;
        Some(Mention {
            schema: self.parts.pop(),
            name,
            location: self.location,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        Facts::of(&pg_query::parse(text, 0).expect("parses").protobuf.stmts)
    }

    #[test]
    fn every_mention_is_found_however_deep() {
        let found = facts(
            "WITH w AS (SELECT 1) INSERT INTO a.t (x) SELECT f(pg_catalog.now(), $7) FROM w, u \
             WHERE EXISTS (SELECT FROM v) RETURNING CASE WHEN true THEN (SELECT g() FROM z) END",
        );
        let tables: Vec<_> = found.tables().map(|table| table.name.as_str()).collect();
        assert_eq!(tables, ["t", "u", "v", "z"]);
        let functions: Vec<_> = found
            .functions
            .iter()
            .map(|call| call.name.as_str())
            .collect();
        assert_eq!(functions, ["now", "f", "g"]);
        assert_eq!(found.functions[0].built_in_name(), Some("now"));
        assert_eq!((found.highest_parameter, found.sublinks), (7, 2));
        assert_eq!(found.relations[0].schema.as_deref(), Some("a"));
    }

    #[test]
    fn columns_are_seen_with_their_qualifiers() {
        let found =
            facts("SELECT a, t.*, count(*), s.t.b FROM s.t NATURAL JOIN u WHERE EXISTS (SELECT *)");
        let columns: Vec<_> = found
            .columns
            .iter()
            .map(|it| (it.parts.join("."), it.is_star))
            .collect();
        let expected = [("a", false), ("t", true), ("s.t.b", false), ("", true)];
        assert_eq!(
            columns,
            expected.map(|(name, star)| (name.to_owned(), star))
        );
        assert!(found.has_natural_join);
    }

    #[test]
    fn limits_and_value_functions_are_seen() {
        let found =
            facts("INSERT INTO t SELECT CURRENT_TIMESTAMP, 'now'::timestamp FROM u LIMIT 1");
        assert!(found.has_limit);
        assert_eq!(found.value_functions.len(), 1);
        assert_eq!(found.strings, ["now"]);
    }
}
