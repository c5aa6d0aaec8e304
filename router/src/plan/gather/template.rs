//! Statement texts with holes: for the client's parameters, for pulled rows, for the time.
//!
//! PostgreSQL must be able to give every parameter of a text a type, so each rendered text numbers its own
//! parameters from 1, in order of first use. Knows no SQL beyond that.

/// A statement's text in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    pub fragments: Vec<Fragment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fragment {
    Text(String),
    Argument(Argument),
    /// A FROM item with its alias. `pulled`: over the rows of pull `pull`, in which [`Fragment::Rows`] stands
    /// for them; `in_place`: the table itself, where the pull is optional and was left out.
    Table {
        pull: usize,
        pulled: Vec<Fragment>,
        in_place: String,
    },
    /// The rows of a pull as a FROM item without alias, with columns `c1`, `c2`, ... To be followed by ` AS name`
    /// in the text: rendered as `(SELECT unnest($3) AS c1, unnest($4)::integer[] AS c2)` or `pg_temp.name`.
    Rows(usize),
    /// What stands here only if the rows of the pull are at hand as arrays: a condition that narrows down a
    /// pull by the rows of an earlier one, which costs more than it saves where these are many.
    IfArrays {
        pull: usize,
        fragments: Vec<Fragment>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Argument {
    /// The client's `$n`, 1-based.
    Client(u16),
    /// `now()`: the transaction's start as timestamptz, one value for the whole statement.
    Clock,
}

/// A text ready to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// What `$1`, `$2`, ... are.
    pub parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    Argument(Argument),
    /// A column (0-based) of a pull, as an array.
    Column {
        pull: usize,
        column: usize,
    },
}

/// How the rows of a pull are at hand when a text is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handed {
    /// As one array for each column. A column whose values are arrays comes as an array of their text forms
    /// (PostgreSQL has no array of arrays), to be cast to this type.
    Arrays(Vec<Option<String>>),
    /// In a table of this (quoted, qualified) name.
    Table(String),
    /// Not pulled: the table is read where the statement runs.
    InPlace,
}

impl Template {
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            fragments: vec![Fragment::Text(text.into())],
        }
    }

    /// The text with its own parameter numbers. `handed`: by pull.
    #[must_use]
    pub fn render(&self, handed: &[Handed]) -> Rendered {
        let mut rendered = Rendered::default();
        rendered.add_all(&self.fragments, handed);
        rendered
    }

    /// The same with other numbers for the pulls: `by` higher.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        shift(&mut self.fragments, by);
        self
    }

    /// The client's parameters that the text uses, wherever the pulls are.
    pub fn arguments(&self) -> impl Iterator<Item = Argument> + '_ {
        flat(&self.fragments)
    }
}

fn shift(fragments: &mut [Fragment], by: usize) {
    for fragment in fragments {
        match fragment {
            Fragment::Rows(pull) => *pull += by,
            Fragment::Table { pull, pulled, .. } => {
                *pull += by;
                shift(pulled, by);
            }
            Fragment::IfArrays { pull, fragments } => {
                *pull += by;
                shift(fragments, by);
            }
            Fragment::Text(_) | Fragment::Argument(_) => {}
        }
    }
}

fn flat(fragments: &[Fragment]) -> impl Iterator<Item = Argument> + '_ {
    let own = |fragment: &Fragment| match fragment {
        Fragment::Argument(argument) => Some(*argument),
        _ => None,
    };
    fragments.iter().flat_map(move |fragment| {
        let inner: &[Fragment] = match fragment {
            Fragment::Table { pulled, .. } => pulled,
            Fragment::IfArrays { fragments, .. } => fragments,
            _ => &[],
        };
        own(fragment)
            .into_iter()
            .chain(inner.iter().filter_map(own))
    })
}

impl Rendered {
    fn add_all(&mut self, fragments: &[Fragment], handed: &[Handed]) {
        for fragment in fragments {
            match fragment {
                Fragment::Text(text) => self.text.push_str(text),
                Fragment::Argument(argument) => self.number(Parameter::Argument(*argument)),
                Fragment::Table {
                    pull,
                    pulled,
                    in_place,
                } => match handed.get(*pull) {
                    Some(Handed::InPlace) => self.text.push_str(in_place),
                    _ => self.add_all(pulled, handed),
                },
                Fragment::IfArrays { pull, fragments } => {
                    if matches!(handed.get(*pull), Some(Handed::Arrays(_))) {
                        self.add_all(fragments, handed);
                    }
                }
                Fragment::Rows(pull) => self.rows(*pull, handed.get(*pull)),
            }
        }
    }

    fn rows(&mut self, pull: usize, handed: Option<&Handed>) {
        match handed {
            Some(Handed::Table(name)) => self.text.push_str(name),
            // In the select list, where an element of a composite type stays one column. The arrays are of
            // the same length, so the rows are theirs side by side.
            Some(Handed::Arrays(casts)) => {
                self.text.push_str("(SELECT ");
                for (column, cast) in casts.iter().enumerate() {
                    self.comma(column);
                    self.text.push_str("pg_catalog.unnest(");
                    self.number(Parameter::Column { pull, column });
                    self.text.push(')');
                    if let Some(cast) = cast {
                        self.text.push_str("::");
                        self.text.push_str(cast);
                    }
                    self.text.push_str(&format!(" AS c{}", column + 1));
                }
                self.text.push(')');
            }
            // An optional pull is only mentioned inside its own `Fragment::Table`.
            Some(Handed::InPlace) | None => {}
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.text.push_str(", ");
        }
    }

    /// `$n` of this text.
    fn number(&mut self, parameter: Parameter) {
        let known = self.parameters.iter().position(|known| *known == parameter);
        let number = known.unwrap_or_else(|| {
            self.parameters.push(parameter);
            self.parameters.len() - 1
        });
        self.text.push_str(&format!("${}", number + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            fragments: vec![
                Fragment::Text("SELECT ".into()),
                Fragment::Argument(Argument::Client(7)),
                Fragment::Text(" FROM ".into()),
                Fragment::Table {
                    pull: 0,
                    pulled: vec![
                        Fragment::Text("(SELECT c1 AS id FROM ".into()),
                        Fragment::Rows(0),
                        Fragment::Text(" AS r) AS p".into()),
                    ],
                    in_place: "public.posts AS p".into(),
                },
                Fragment::Text(" WHERE id > ".into()),
                Fragment::Argument(Argument::Client(7)),
            ],
        }
    }

    #[test]
    fn a_parameter_used_twice_has_one_number() {
        let rendered = template().render(&[Handed::Arrays(vec![Some("int8".into())])]);
        assert_eq!(
            rendered.text,
            "SELECT $1 FROM (SELECT c1 AS id FROM (SELECT pg_catalog.unnest($2)::int8 AS c1) AS r) AS p WHERE id > $1"
        );
        let column = Parameter::Column { pull: 0, column: 0 };
        assert_eq!(
            rendered.parameters,
            [Parameter::Argument(Argument::Client(7)), column]
        );
    }

    #[test]
    fn rows_may_be_in_a_table_or_where_they_were() {
        let handed = Handed::Table("pg_temp.i0".into());
        let text = template().render(&[handed]).text;
        assert!(text.contains("FROM pg_temp.i0 AS r)"), "{text}");
        let text = template().render(&[Handed::InPlace]).text;
        assert!(text.contains("FROM public.posts AS p WHERE"), "{text}");
    }
}
