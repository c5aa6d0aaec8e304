//! FROM lists: tables, subqueries, WITH queries, functions, joins.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, RangeFunction, RangeSubselect, RangeVar};
use schema::{Placement, Relation, RelationKind};

use super::{Builder, Column, Conditions, Family, Join, Leaf, LeafId, LeafKind, RangeMention};
use crate::error::RouterError;
use crate::plan::gather::print::INPUT;
use crate::plan::scope::{self, Found, string};
use crate::plan::{PlanContext, unsupported};

impl Builder<'_> {
    /// A FROM list: its items are joined without a condition.
    pub(super) fn join_list(&mut self, items: &[Node]) -> Result<Option<Join>, RouterError> {
        let mut list: Option<Join> = None;
        for item in items {
            let right = self.join_item(item)?;
            list = Some(match list {
                None => right,
                Some(left) => cross(left, right),
            });
        }
        Ok(list)
    }

    pub(super) fn join_item(&mut self, item: &Node) -> Result<Join, RouterError> {
        match item.node.as_ref() {
            Some(NodeEnum::RangeVar(range)) => Ok(leaf(self.range(range)?)),
            Some(NodeEnum::RangeSubselect(subselect)) => self.derived(subselect),
            Some(NodeEnum::JoinExpr(join)) => self.join(join),
            Some(NodeEnum::RangeFunction(function)) => self.function(function),
            Some(NodeEnum::RangeTableSample(sample)) => {
                let relation = sample
                    .relation
                    .as_deref()
                    .ok_or_else(unsupported::syntax_not_understood)?;
                let mut subs = Vec::new();
                self.expressions(&sample.args, &mut subs)?;
                self.maybe(sample.repeatable.as_deref(), &mut subs)?;
                let table = self.join_item(relation)?;
                if let Join::Leaf { leaf, .. } = &table
                    && let Some(mention) = &mut self.leaves[leaf.0].mention
                {
                    mention.in_sample = true;
                }
                Ok(with_subs(table, subs))
            }
            Some(NodeEnum::RangeTableFunc(function)) => {
                let mut subs = Vec::new();
                self.maybe(function.docexpr.as_deref(), &mut subs)?;
                self.maybe(function.rowexpr.as_deref(), &mut subs)?;
                let opaque = self.opaque(alias_name(function.alias.as_ref()));
                Ok(Join::Leaf { leaf: opaque, subs })
            }
            _ => Err(unsupported::syntax_not_understood()),
        }
    }

    /// A name in FROM: a WITH query or a relation.
    fn range(&mut self, range: &RangeVar) -> Result<LeafId, RouterError> {
        let common = self
            .common_tables
            .iter()
            .rposition(|common| common.name == range.relname);
        match common {
            Some(index) if range.schemaname.is_empty() => {
                self.relations_seen += 1;
                Ok(self.common_table(index, range))
            }
            _ if range.schemaname.is_empty() && range.relname.starts_with(INPUT) => {
                self.relations_seen += 1;
                let alias = range
                    .alias
                    .as_ref()
                    .map_or(&range.relname, |alias| &alias.aliasname);
                Ok(self.opaque(alias))
            }
            _ => self.table(range),
        }
    }

    fn common_table(&mut self, index: usize, range: &RangeVar) -> LeafId {
        let common = &mut self.common_tables[index];
        common.mentioned = true;
        let Some(query) = common.query else {
            common.recursive = true;
            return self.opaque(
                range
                    .alias
                    .as_ref()
                    .map_or(&range.relname, |alias| &alias.aliasname),
            );
        };
        let pushes = !common.recursive && !common.modifies;
        let names = common.column_names.clone();
        let mut columns = self.output_columns(query);
        rename(&mut columns, names.iter().map(String::as_str));
        self.add_derived(
            range.alias.as_ref(),
            &range.relname,
            LeafKind::Derived { query, pushes },
            columns,
        )
    }

    /// A relation, as read or as the target of a write.
    pub(super) fn table(&mut self, range: &RangeVar) -> Result<LeafId, RouterError> {
        self.relations_seen += 1;
        let (kind, columns) = match scope::find(range, self.context) {
            Found::Relation(relation) => {
                let placement = placement(&relation, self.context)?;
                let columns = relation_columns(&relation);
                (
                    LeafKind::Table {
                        relation,
                        placement,
                    },
                    Some(columns),
                )
            }
            Found::Temporary | Found::Home => (LeafKind::Home, None),
        };
        let leaf = self.add_derived(range.alias.as_ref(), &range.relname, kind, columns);
        self.leaves[leaf.0].mention = Some(mention(range));
        Ok(leaf)
    }

    fn add_derived(
        &mut self,
        alias: Option<&Alias>,
        name: &str,
        kind: LeafKind,
        mut columns: Option<Vec<Column>>,
    ) -> LeafId {
        let mut name = name.to_owned();
        if let Some(alias) = alias {
            name.clone_from(&alias.aliasname);
            rename(&mut columns, alias.colnames.iter().filter_map(string));
        }
        self.add_leaf(Leaf {
            name,
            kind,
            columns,
            mention: None,
        })
    }

    pub(super) fn opaque(&mut self, name: &str) -> LeafId {
        self.add_leaf(Leaf {
            name: name.to_owned(),
            kind: LeafKind::Opaque,
            columns: None,
            mention: None,
        })
    }

    fn derived(&mut self, subselect: &RangeSubselect) -> Result<Join, RouterError> {
        let select = match subselect
            .subquery
            .as_deref()
            .and_then(|node| node.node.as_ref())
        {
            Some(NodeEnum::SelectStmt(select)) => select,
            _ => return Err(unsupported::syntax_not_understood()),
        };
        self.hide_level(!subselect.lateral);
        let query = self.select(select);
        self.hide_level(false);
        let query = query?;
        let columns = self.output_columns(query);
        let kind = LeafKind::Derived {
            query,
            pushes: true,
        };
        Ok(leaf(self.add_derived(
            subselect.alias.as_ref(),
            "?",
            kind,
            columns,
        )))
    }

    fn hide_level(&mut self, hidden: bool) {
        if let Some(level) = self.levels.last_mut() {
            level.hidden = hidden;
        }
    }

    fn function(&mut self, function: &RangeFunction) -> Result<Join, RouterError> {
        let mut subs = Vec::new();
        self.expressions(&function.functions, &mut subs)?;
        let name = match (
            alias_name(function.alias.as_ref()),
            function.functions.first(),
        ) {
            ("", Some(first)) => function_name(first).unwrap_or_default().to_owned(),
            (alias, _) => alias.to_owned(),
        };
        // Without a name its columns are still there to be found, so it must not look hidden.
        let name = if name.is_empty() {
            "?".to_owned()
        } else {
            name
        };
        let leaf = self.opaque(&name);
        Ok(Join::Leaf { leaf, subs })
    }
}

pub(super) fn leaf(leaf: LeafId) -> Join {
    Join::Leaf {
        leaf,
        subs: Vec::new(),
    }
}

pub(super) fn cross(left: Join, right: Join) -> Join {
    Join::Inner {
        left: Box::new(left),
        right: Box::new(right),
        on: Conditions::default(),
    }
}

fn with_subs(join: Join, more: Vec<super::Sub>) -> Join {
    match join {
        Join::Leaf { leaf, mut subs } => {
            subs.extend(more);
            Join::Leaf { leaf, subs }
        }
        other => other,
    }
}

fn mention(range: &RangeVar) -> RangeMention {
    RangeMention {
        location: usize::try_from(range.location).unwrap_or(0),
        has_alias: range.alias.is_some(),
        renames_columns: range
            .alias
            .as_ref()
            .is_some_and(|alias| !alias.colnames.is_empty()),
        only: !range.inh,
        in_sample: false,
    }
}

fn alias_name(alias: Option<&Alias>) -> &str {
    alias.map_or("", |alias| &alias.aliasname)
}

/// The name of the first function of a FROM item.
fn function_name(item: &Node) -> Option<&str> {
    match item.node.as_ref()? {
        NodeEnum::List(list) => function_name(list.items.first()?),
        NodeEnum::FuncCall(call) => scope::function_name(call).map(|(_, name)| name),
        _ => None,
    }
}

/// Gives the first columns new names.
fn rename<'a>(columns: &mut Option<Vec<Column>>, names: impl Iterator<Item = &'a str>) {
    if let Some(columns) = columns {
        for (column, name) in columns.iter_mut().zip(names) {
            column.name = Some(name.to_owned());
        }
    }
}

fn relation_columns(relation: &Relation) -> Vec<Column> {
    relation
        .columns
        .iter()
        .map(|column| Column {
            name: Some(column.name.clone()),
            family: Family::of_type(column.type_oid).filter(|_| column.collation_is_deterministic),
        })
        .collect()
}

/// Where a relation's rows are; a view's are where the tables it reads are.
fn placement(relation: &Relation, context: &PlanContext<'_>) -> Result<Placement, RouterError> {
    if !matches!(
        relation.kind,
        RelationKind::View | RelationKind::MaterializedView
    ) {
        return Ok(scope::placement(relation, context));
    }
    let mut placements = relation.reads.iter().map(|(schema, name)| {
        let read = context
            .snapshot
            .relations
            .get(schema)
            .and_then(|relations| relations.get(name));
        read.map_or(Placement::Local, |read| scope::placement(read, context))
    });
    let mut result = Placement::Reference;
    let reads_nothing = relation.reads.is_empty();
    if placements.by_ref().any(|placement| match placement {
        Placement::Sharded { .. } => true,
        Placement::Local => {
            result = Placement::Local;
            false
        }
        Placement::Reference => false,
    }) {
        return Err(unsupported::view_over_sharded(&relation.name));
    }
    // The rows of a materialised view, and whatever else no table gives, are the home shard's.
    let at_home = reads_nothing || relation.kind == RelationKind::MaterializedView;
    Ok(if at_home { Placement::Local } else { result })
}
