//! What must be known of a statement to compare two answers to it.

use pg_query::NodeEnum;
use pg_query::protobuf::{SelectStmt, SortBy};

/// A sort key of the outermost query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// 1-based.
    Ordinal(usize),
    Name(String),
    /// Anything else: its value is not among the columns.
    Expression,
}

#[derive(Debug, Default)]
pub struct Anatomy {
    pub is_explain: bool,
    /// Of the last statement of the string.
    pub sort_keys: Vec<SortKey>,
    /// Names without a schema, as they are read or written, in order.
    pub tables: Vec<String>,
    /// A cursor that is declared for a query without an order.
    pub unordered_cursor: Option<String>,
    /// A cursor that is read from.
    pub fetches: Option<String>,
    /// `CREATE TABLE name`, or `AS`, without INHERITS and partitions.
    pub creates: Option<String>,
}

impl Anatomy {
    /// Of text that PostgreSQL's grammar does not take: nothing is known.
    pub fn of(sql: &str) -> Anatomy {
        let Ok(parsed) = pg_query::parse(sql, pg_query::ParserOptions::default()) else {
            return Anatomy::default();
        };
        let last = parsed.protobuf.stmts.last();
        let node = last
            .and_then(|raw| raw.stmt.as_ref())
            .and_then(|stmt| stmt.node.as_ref());
        let last_name = |name: String| name.rsplit('.').next().unwrap_or_default().to_owned();
        let mut tables: Vec<String> = parsed.tables().into_iter().map(last_name).collect();
        tables.sort();
        Anatomy {
            is_explain: matches!(node, Some(NodeEnum::ExplainStmt(_))),
            sort_keys: node.map(sort_keys).unwrap_or_default(),
            tables,
            unordered_cursor: node.and_then(unordered_cursor),
            fetches: match node {
                Some(NodeEnum::FetchStmt(fetch)) => Some(fetch.portalname.clone()),
                _ => None,
            },
            creates: node.and_then(created),
        }
    }
}

fn created(node: &NodeEnum) -> Option<String> {
    let relation = match node {
        NodeEnum::CreateStmt(create)
            if create.inh_relations.is_empty()
                && create.partspec.is_none()
                && create.partbound.is_none() =>
        {
            create.relation.as_ref()?
        }
        NodeEnum::CreateTableAsStmt(create) => create.into.as_ref()?.rel.as_ref()?,
        _ => return None,
    };
    relation
        .schemaname
        .is_empty()
        .then(|| relation.relname.clone())
}

fn unordered_cursor(node: &NodeEnum) -> Option<String> {
    let NodeEnum::DeclareCursorStmt(declare) = node else {
        return None;
    };
    let query = declare.query.as_ref()?.node.as_ref()?;
    sort_keys(query)
        .is_empty()
        .then(|| declare.portalname.clone())
}

fn sort_keys(node: &NodeEnum) -> Vec<SortKey> {
    let select: &SelectStmt = match node {
        NodeEnum::SelectStmt(select) => select,
        _ => return Vec::new(),
    };
    let keys = select
        .sort_clause
        .iter()
        .filter_map(|key| match key.node.as_ref()? {
            NodeEnum::SortBy(key) => Some(sort_key(key)),
            _ => None,
        });
    keys.collect()
}

fn sort_key(key: &SortBy) -> SortKey {
    use pg_query::protobuf::a_const::Val;
    match key.node.as_ref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::AConst(constant)) => match constant.val {
            Some(Val::Ival(ref number)) => {
                SortKey::Ordinal(usize::try_from(number.ival).unwrap_or(0))
            }
            _ => SortKey::Expression,
        },
        Some(NodeEnum::ColumnRef(column)) => {
            let last = column.fields.last().and_then(|field| field.node.as_ref());
            match last {
                Some(NodeEnum::String(name)) => SortKey::Name(name.sval.clone()),
                _ => SortKey::Expression,
            }
        }
        _ => SortKey::Expression,
    }
}

#[test]
fn sort_keys_are_those_of_the_outermost_query() {
    let anatomy = Anatomy::of("select a, b from t, s.u order by 2, t.a desc, a + 1");
    let name = |name: &str| SortKey::Name(name.to_owned());
    assert_eq!(
        anatomy.sort_keys,
        [SortKey::Ordinal(2), name("a"), SortKey::Expression]
    );
    assert_eq!(anatomy.tables, ["t", "u"]);
    assert!(
        Anatomy::of("select a from (select a from t order by a) s")
            .sort_keys
            .is_empty()
    );
}
