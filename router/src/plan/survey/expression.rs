//! Walks expressions for the subqueries in them. What the walk does not know holds none, or the
//! survey's count of subqueries does not come out and the statement is refused.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SubLink};

use super::{Builder, QueryId, Sub, walk};
use crate::error::RouterError;
use crate::plan::unsupported;

impl Builder<'_> {
    pub(super) fn expressions(
        &mut self,
        nodes: &[Node],
        subs: &mut Vec<Sub>,
    ) -> Result<(), RouterError> {
        nodes
            .iter()
            .try_for_each(|node| self.expression(node, subs))
    }

    pub(super) fn maybe(
        &mut self,
        node: Option<&Node>,
        subs: &mut Vec<Sub>,
    ) -> Result<(), RouterError> {
        node.map_or(Ok(()), |node| self.expression(node, subs))
    }

    pub(super) fn expression(
        &mut self,
        node: &Node,
        subs: &mut Vec<Sub>,
    ) -> Result<(), RouterError> {
        let mut links = Vec::new();
        walk::descend(node, &mut |inner| {
            if let NodeEnum::SubLink(link) = inner {
                links.push(link.clone());
            }
        });
        for link in links {
            let query = self.subquery(&link)?;
            subs.push(Sub {
                query,
                pushed: Vec::new(),
            });
        }
        Ok(())
    }

    /// The query inside a subquery expression.
    pub(super) fn subquery(&mut self, link: &SubLink) -> Result<QueryId, RouterError> {
        self.sublinks_seen += 1;
        match link
            .subselect
            .as_deref()
            .and_then(|node| node.node.as_ref())
        {
            Some(NodeEnum::SelectStmt(select)) => self.select(select),
            _ => Err(unsupported::syntax_not_understood()),
        }
    }
}
