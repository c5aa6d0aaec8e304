//! The columns that a pull brings, each once, and how the finishing statement reads them.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::build;
use super::collation::Collation;
use super::level::Level;
use crate::error::RouterError;
use crate::plan::gather::print::{self, Holes};
use crate::plan::gather::{Finish, Fragment, Gather, Pull, Source, clock, tree};
use crate::plan::names::quote_identifier;
use crate::plan::survey::{LeafKind, ListedKeys};
use crate::plan::unsupported;

#[derive(Debug, Default)]
pub struct Pulled {
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    value: Node,
    /// Its identity; `None` for one that must not stand for another.
    identity: Option<String>,
    collation: Option<(String, String)>,
}

impl Pulled {
    /// The column with this value, added where there is none yet.
    pub fn add(&mut self, value: Node, collation: &Collation, level: &Level<'_>) -> usize {
        let identity = level.identity(&value);
        let known = |column: &Column| column.identity.as_ref() == Some(&identity);
        if let Some(index) = self.columns.iter().position(known) {
            return index;
        }
        self.push(value, collation, Some(identity))
    }

    /// A column of its own.
    pub fn add_always(&mut self, value: Node, collation: &Collation) -> usize {
        self.push(value, collation, None)
    }

    fn push(&mut self, value: Node, collation: &Collation, identity: Option<String>) -> usize {
        let collation = match collation {
            Collation::Column(schema, name) => Some((schema.clone(), name.clone())),
            Collation::Own | Collation::Written(_) => None,
        };
        self.columns.push(Column {
            value,
            identity,
            collation,
        });
        self.columns.len() - 1
    }

    pub fn len(&self) -> usize {
        self.columns.len()
    }

    pub fn targets(&self) -> Vec<Node> {
        let targets = self.columns.iter();
        targets
            .map(|column| tree::target(column.value.clone(), ""))
            .collect()
    }

    /// The pulled rows as a FROM item; columns have their own collations there.
    fn from(&self, holes: &mut Holes) -> Node {
        if self.columns.iter().all(|column| column.collation.is_none()) {
            let alias = Fragment::Text(format!(" AS {}", build::ROWS));
            return holes.table(vec![Fragment::Rows(0), alias]);
        }
        let columns = self.columns.iter().enumerate().map(|(index, column)| {
            let name = format!("c{}", index + 1);
            match &column.collation {
                None => name,
                Some((schema, collation)) => format!(
                    "{name} COLLATE {}.{} AS {name}",
                    quote_identifier(schema),
                    quote_identifier(collation)
                ),
            }
        });
        let columns: Vec<String> = columns.collect();
        holes.table(vec![
            Fragment::Text(format!("(SELECT {} FROM ", columns.join(", "))),
            Fragment::Rows(0),
            Fragment::Text(format!(" AS pulled) AS {}", build::ROWS)),
        ])
    }
}

/// The plan: `pull` on the shards, `finish` (whose FROM is still to be filled in) over its rows.
pub fn gather(
    level: &Level<'_>,
    pulled: &Pulled,
    pull: SelectStmt,
    mut finish: SelectStmt,
    why: &str,
) -> Result<Gather, RouterError> {
    let mut holes = Holes::default();
    finish.from_clause = vec![pulled.from(&mut holes)];
    let mut print = |select: SelectStmt| {
        let mut node = tree::node(NodeEnum::SelectStmt(Box::new(select)));
        clock::stop(&mut node, &mut holes, level.anchored.context);
        let node = node.node.ok_or_else(unsupported::rewrite_not_possible)?;
        print::template(&node, &holes)
    };
    let text = print(pull)?;
    let finish = print(finish)?;
    Ok(Gather {
        pulls: vec![Pull {
            name: name(level),
            text,
            columns: pulled.len(),
            source: source(level),
            is_optional: false,
            mark: None,
        }],
        finish,
        place: Finish::Apart { home: false },
        why: why.to_owned(),
    })
}

/// The tables read, for EXPLAIN.
fn name(level: &Level<'_>) -> String {
    let survey = level.anchored.survey;
    let names = level.leaves.iter().filter_map(|leaf| {
        let leaf = survey.leaf(*leaf);
        match &leaf.kind {
            LeafKind::Table { relation, .. } => Some(relation.name.as_str()),
            _ => Some(leaf.name.as_str()).filter(|name| !name.is_empty()),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Only the shards of listed keys, where the WHERE clause lists some.
fn source(level: &Level<'_>) -> Source {
    let anchored = level.anchored;
    let key_type = anchored.key_type;
    let mut lists = anchored.rows.filter.lists.iter();
    match lists
        .find(|list| anchored.class.contains(&list.column))
        .map(|list| &list.keys)
    {
        None => Source::Everywhere,
        Some(ListedKeys::Each(keys)) => Source::Keys {
            keys: keys.clone(),
            key_type,
        },
        Some(ListedKeys::Array(array)) => Source::KeyArray {
            array: array.clone(),
            key_type,
        },
    }
}
