//! Foreign keys in CREATE and ALTER TABLE that are kept over shards: the shards make them without looking at rows,
//! which would be at their own only.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableType, ColumnDef, ConstrType, Constraint, CreateStmt, Node,
};
use schema::Relation;

use super::constraints::{Subject, Verdict};
use crate::error::RouterError;
use crate::plan::{PlanContext, Validation};

/// Whether a statement that makes a table has foreign keys over shards.
pub fn any_in(create: &CreateStmt, subject: &Subject<'_>) -> bool {
    let leaves = |constraint: &Constraint, column: Option<&str>| {
        is_foreign(constraint)
            && matches!(subject.judge(constraint, column), Ok(Verdict::OverShards))
    };
    create
        .table_elts
        .iter()
        .any(|element| match element.node.as_ref() {
            Some(NodeEnum::Constraint(constraint)) => leaves(constraint, None),
            Some(NodeEnum::ColumnDef(column)) => {
                constraints_of(column).any(|one| leaves(one, Some(&column.colname)))
            }
            _ => false,
        })
}

fn constraints_of(column: &ColumnDef) -> impl Iterator<Item = &Constraint> {
    column
        .constraints
        .iter()
        .filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::Constraint(constraint)) => Some(&**constraint),
            _ => None,
        })
}

fn is_foreign(constraint: &Constraint) -> bool {
    constraint.contype() == ConstrType::ConstrForeign
}

/// ADD CONSTRAINT of a key over shards: the shards leave their rows alone.
pub fn without_rows(constraint: &mut Constraint, validation: &mut Validation) {
    if constraint.skip_validation {
        validation.left.push(constraint.conname.clone());
    }
    constraint.skip_validation = true;
    constraint.initially_valid = false;
    validation.added = true;
}

/// Takes the foreign keys over shards out of a column that is added; gives the commands that add them.
pub fn taken_from(
    column: &mut ColumnDef,
    subject: &Subject<'_>,
    validation: &mut Validation,
) -> Result<Vec<Node>, RouterError> {
    let name = column.colname.clone();
    let (mut kept, mut taken): (Vec<Node>, Vec<Constraint>) = (Vec::new(), Vec::new());
    let mut taking = false;
    for node in std::mem::take(&mut column.constraints) {
        let Some(NodeEnum::Constraint(constraint)) = node.node.as_ref() else {
            kept.push(node);
            continue;
        };
        if is_attribute(constraint.contype()) {
            match taken.last_mut().filter(|_| taking) {
                Some(last) => add_attribute(last, constraint.contype()),
                None => kept.push(node),
            }
            continue;
        }
        taking = is_foreign(constraint)
            && subject.judge(constraint, Some(&name))? == Verdict::OverShards;
        if taking {
            taken.push((**constraint).clone());
        } else {
            kept.push(node);
        }
    }
    column.constraints = kept;
    Ok(taken
        .into_iter()
        .map(|constraint| command(constraint, &name, validation))
        .collect())
}

fn command(mut constraint: Constraint, column: &str, validation: &mut Validation) -> Node {
    constraint.fk_attrs = vec![Node {
        node: Some(NodeEnum::String(pg_query::protobuf::String {
            sval: column.to_owned(),
        })),
    }];
    without_rows(&mut constraint, validation);
    add(constraint)
}

/// ADD CONSTRAINT.
pub fn add(constraint: Constraint) -> Node {
    let definition = Node {
        node: Some(NodeEnum::Constraint(Box::new(constraint))),
    };
    let command = AlterTableCmd {
        subtype: AlterTableType::AtAddConstraint.into(),
        def: Some(Box::new(definition)),
        behavior: pg_query::protobuf::DropBehavior::DropRestrict.into(),
        ..AlterTableCmd::default()
    };
    Node {
        node: Some(NodeEnum::AlterTableCmd(Box::new(command))),
    }
}

fn is_attribute(kind: ConstrType) -> bool {
    matches!(
        kind,
        ConstrType::ConstrAttrDeferrable
            | ConstrType::ConstrAttrNotDeferrable
            | ConstrType::ConstrAttrDeferred
            | ConstrType::ConstrAttrImmediate
    )
}

fn add_attribute(constraint: &mut Constraint, kind: ConstrType) {
    match kind {
        ConstrType::ConstrAttrDeferrable => constraint.deferrable = true,
        ConstrType::ConstrAttrDeferred => {
            constraint.deferrable = true;
            constraint.initdeferred = true;
        }
        _ => {}
    }
}

/// A column that a foreign key over shards stands on cannot get another type: PostgreSQL would make the key anew, and
/// look at each shard's own rows.
pub fn keeps_types(
    command: &AlterTableCmd,
    relation: &Relation,
    context: &PlanContext<'_>,
) -> Result<(), RouterError> {
    if command.subtype() != AlterTableType::AtAlterColumnType {
        return Ok(());
    }
    let own = (relation.schema.clone(), relation.name.clone());
    let relations = context.snapshot.relations.values();
    for other in relations.flat_map(|named| named.values()) {
        for key in other.foreign_keys.iter().filter(|key| key.kept.is_some()) {
            let is_child = (&other.schema, &other.name) == (&own.0, &own.1);
            let mut columns = key.columns.iter();
            let refers =
                is_child && columns.any(|column| other.columns[*column].name == command.name);
            let referred = key.referenced == own && key.referenced_columns.contains(&command.name);
            if refers || referred {
                return Err(RouterError::unsupported(
                    "foreign-key-column-type",
                    format!(
                        "the type of column \"{}\" cannot be changed so",
                        command.name
                    ),
                )
                .detail(format!(
                    "Foreign key \"{}\" stands on it, whose rows are on different shards.",
                    key.name
                ))
                .hint("Drop the foreign key, change the type, and add it again."));
            }
        }
    }
    Ok(())
}
