//! Isolation levels as statements name them. Takes parse trees or texts; gives a level.

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, Node, a_const::Val};

/// What PostgreSQL distinguishes; READ UNCOMMITTED is READ COMMITTED there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    #[default]
    ReadCommitted,
    /// One snapshot for the whole transaction.
    RepeatableRead,
    Serializable,
}

impl Isolation {
    /// A value of `default_transaction_isolation`; PostgreSQL has checked it.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "repeatable read" => Self::RepeatableRead,
            "serializable" => Self::Serializable,
            _ => Self::ReadCommitted,
        }
    }

    /// Of `BEGIN ISOLATION LEVEL ...` or `SET TRANSACTION ISOLATION LEVEL ...`: the last one counts.
    pub fn of_options(options: &[Node]) -> Option<Self> {
        let mut elements = options.iter().filter_map(|option| match &option.node {
            Some(NodeEnum::DefElem(element)) => level(element),
            _ => None,
        });
        elements.next_back()
    }

    /// Of `SET transaction_isolation = '...'`.
    pub fn of_value(arguments: &[Node]) -> Option<Self> {
        arguments.first().and_then(text).map(Self::named)
    }
}

fn level(element: &DefElem) -> Option<Isolation> {
    if element.defname != "transaction_isolation" {
        return None;
    }
    element.arg.as_deref().and_then(text).map(Isolation::named)
}

fn text(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::String(string) => Some(&string.sval),
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Sval(string) => Some(&string.sval),
            _ => None,
        },
        _ => None,
    }
}
