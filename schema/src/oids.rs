//! OIDs of user types and relations differ from shard to shard; clients see the home shard's.
//!
//! Takes: the [`OidDocument`]s of the home shard and of another. Gives: an [`OidMap`] that translates
//! OIDs, and rewrites those inside binary values. OIDs below 16384 are PostgreSQL's own and alike
//! everywhere. Must never know: messages, connections.

mod binary;

use std::collections::HashMap;

use serde::Deserialize;

use crate::build::DocumentError;

/// `FirstNormalObjectId` of PostgreSQL's `access/transam.h`.
const FIRST_USER_OID: u32 = 16384;

/// What one shard calls its types and relations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OidDocument {
    types: Vec<TypeRow>,
    relations: Vec<RelationRow>,
}

impl OidDocument {
    /// Reads what [`crate::sql::OIDS`] returned.
    ///
    /// # Errors
    /// The text is not such a document.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        Ok(serde_json::from_str(text)?)
    }
}

// The order of the fields is the order in the document.

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TypeRow {
    oid: u32,
    schema: String,
    name: String,
    /// pg_type.typtype, or `a` for an array.
    kind: char,
    /// What an array, a domain, a range or a multirange is made of.
    inner: Option<u32>,
    /// Attribute types of a composite.
    attributes: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RelationRow {
    oid: u32,
    schema: String,
    name: String,
}

/// How values of a type made by users are put together; oids are the home shard's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeShape {
    Array {
        element: u32,
    },
    Domain {
        base: u32,
    },
    Range {
        subtype: u32,
    },
    Multirange {
        range: u32,
    },
    Composite {
        attributes: Vec<u32>,
    },
    /// An enum or a base type: no OID inside.
    Plain,
}

/// Which way OIDs are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Rows and descriptions that a shard sends.
    ToHome,
    /// Parameters that a client sends.
    FromHome,
}

/// One shard's OIDs to the home shard's and back.
#[derive(Debug, Clone, Default)]
pub struct OidMap {
    types: TwoWay,
    relations: TwoWay,
    /// By the home shard's oid.
    shapes: HashMap<u32, TypeShape>,
}

#[derive(Debug, Clone, Default)]
struct TwoWay {
    to_home: HashMap<u32, u32>,
    from_home: HashMap<u32, u32>,
}

impl TwoWay {
    /// Only pairs that differ are kept.
    fn new(pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut both = Self::default();
        for (home, shard) in pairs.filter(|(home, shard)| home != shard) {
            both.to_home.insert(shard, home);
            both.from_home.insert(home, shard);
        }
        both
    }

    fn translate(&self, oid: u32, direction: Direction) -> u32 {
        if oid < FIRST_USER_OID {
            return oid;
        }
        let map = match direction {
            Direction::ToHome => &self.to_home,
            Direction::FromHome => &self.from_home,
        };
        map.get(&oid).copied().unwrap_or(oid)
    }
}

impl OidMap {
    /// Types and relations are the same where schema and name are; the array over a type is the array
    /// over the other shard's, whatever its name came to be.
    #[must_use]
    pub fn new(home: &OidDocument, shard: &OidDocument) -> Self {
        let named = matched(
            home.types
                .iter()
                .filter(|row| row.kind != 'a')
                .map(TypeRow::named),
            shard
                .types
                .iter()
                .filter(|row| row.kind != 'a')
                .map(TypeRow::named),
        );
        let arrays = arrays(home, shard, &named);
        let relations = matched(
            home.relations.iter().map(RelationRow::named),
            shard.relations.iter().map(RelationRow::named),
        );
        Self {
            types: TwoWay::new(named.into_iter().chain(arrays)),
            relations: TwoWay::new(relations.into_iter()),
            shapes: home
                .types
                .iter()
                .map(|row| (row.oid, row.shape()))
                .collect(),
        }
    }

    /// Nothing differs: messages can be forwarded as they are.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.types.to_home.is_empty() && self.relations.to_home.is_empty()
    }

    /// A type's oid; unknown ones stay as they are.
    #[must_use]
    pub fn type_oid(&self, oid: u32, direction: Direction) -> u32 {
        self.types.translate(oid, direction)
    }

    /// A relation's oid, as in a RowDescription; unknown ones stay as they are.
    #[must_use]
    pub fn relation_oid(&self, oid: u32, direction: Direction) -> u32 {
        self.relations.translate(oid, direction)
    }

    /// How a type made by users is put together, by the home shard's oid.
    #[must_use]
    pub fn shape(&self, home_oid: u32) -> Option<&TypeShape> {
        self.shapes.get(&home_oid)
    }

    /// Whether binary values of this type (the home shard's oid) may hold OIDs that differ.
    #[must_use]
    pub fn needs_rewriting(&self, home_oid: u32) -> bool {
        // Type definitions cannot be circular but through arrays of a composite in itself, which
        // PostgreSQL refuses; the depth is for the peace of mind.
        self.needs_rewriting_within(home_oid, 32)
    }

    fn needs_rewriting_within(&self, oid: u32, depth: u8) -> bool {
        let inner = |oid: u32| {
            self.types.from_home.contains_key(&oid)
                || depth > 0 && self.needs_rewriting_within(oid, depth - 1)
        };
        match self.shapes.get(&oid) {
            Some(TypeShape::Array { element }) => inner(*element),
            Some(TypeShape::Composite { attributes }) => attributes.iter().any(|part| inner(*part)),
            Some(
                TypeShape::Domain { base: part }
                | TypeShape::Range { subtype: part }
                | TypeShape::Multirange { range: part },
            ) => depth > 0 && self.needs_rewriting_within(*part, depth - 1),
            Some(TypeShape::Plain) => false,
            None => binary::is_record(oid) && !self.types.to_home.is_empty(),
        }
    }

    /// Translates the OIDs inside one binary value, in place: array headers and record fields, nested.
    /// `home_oid` is the value's type. A value that is not well formed is left for PostgreSQL or the
    /// client to complain about.
    pub fn rewrite(&self, home_oid: u32, value: &mut [u8], direction: Direction) {
        if self.needs_rewriting(home_oid) {
            // What was rewritten before the fault stays so; the value is unreadable either way.
            let _ = binary::rewrite(self, home_oid, value, direction);
        }
    }
}

impl TypeRow {
    fn named(&self) -> ((&str, &str), u32) {
        ((&self.schema, &self.name), self.oid)
    }

    fn shape(&self) -> TypeShape {
        match (self.kind, self.inner, &self.attributes) {
            ('a', Some(element), _) => TypeShape::Array { element },
            ('d', Some(base), _) => TypeShape::Domain { base },
            ('r', Some(subtype), _) => TypeShape::Range { subtype },
            ('m', Some(range), _) => TypeShape::Multirange { range },
            ('c', _, Some(attributes)) => TypeShape::Composite {
                attributes: attributes.clone(),
            },
            _ => TypeShape::Plain,
        }
    }
}

impl RelationRow {
    fn named(&self) -> ((&str, &str), u32) {
        ((&self.schema, &self.name), self.oid)
    }
}

type Named<'a> = ((&'a str, &'a str), u32);

/// (home, shard) pairs of what both have under the same name.
fn matched<'a>(
    home: impl Iterator<Item = Named<'a>>,
    shard: impl Iterator<Item = Named<'a>>,
) -> HashMap<u32, u32> {
    let shard: HashMap<_, _> = shard.collect();
    home.filter_map(|(name, oid)| Some((oid, *shard.get(&name)?)))
        .collect()
}

/// (home, shard) pairs of the arrays over matched elements.
fn arrays(home: &OidDocument, shard: &OidDocument, named: &HashMap<u32, u32>) -> HashMap<u32, u32> {
    let of = |document: &OidDocument| -> HashMap<u32, u32> {
        let arrays = document.types.iter().filter(|row| row.kind == 'a');
        arrays
            .filter_map(|row| Some((row.inner?, row.oid)))
            .collect()
    };
    let by_element = of(shard);
    let pair = |(element, array)| Some((array, *by_element.get(named.get(&element)?)?));
    of(home).into_iter().filter_map(pair).collect()
}
