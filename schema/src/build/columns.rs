//! Columns and their defaults.

use std::collections::HashMap;

use super::Builder;
use crate::document::ColumnRow;
use crate::snapshot::{Column, DefaultValue, Relation};

impl Builder {
    pub(super) fn add_columns(&self, relations: &mut HashMap<u32, Relation>) {
        let owners = &self.document.owners;
        let identities = owners.iter().filter(|row| row.kind == 'i');
        let identities: HashMap<_, _> = identities
            .map(|row| ((row.relation, row.column), row.sequence))
            .collect();
        for row in &self.document.columns {
            let Some(relation) = relations.get_mut(&row.relation) else {
                continue;
            };
            let identity = identities.get(&(row.relation, row.number));
            relation.columns.push(self.column(row, identity.copied()));
        }
    }

    fn column(&self, row: &ColumnRow, identity: Option<u32>) -> Column {
        Column {
            name: row.name.clone(),
            type_oid: row.type_oid,
            type_modifier: row.type_modifier,
            type_name: row.type_name.clone(),
            collation: row.collation_schema.clone().zip(row.collation_name.clone()),
            not_null: row.not_null,
            collation_is_bytewise: row.collation_is_bytewise,
            collation_is_deterministic: row.collation_is_deterministic,
            default: self.default_value(row, identity),
        }
    }

    fn default_value(&self, row: &ColumnRow, identity: Option<u32>) -> DefaultValue {
        let sequence = |oid: Option<u32>| oid.and_then(|oid| self.names.get(&oid)).cloned();
        if !row.generated.is_empty() {
            return DefaultValue::Generated;
        }
        if let Some((schema, name)) = sequence(identity) {
            return DefaultValue::Identity {
                always: row.identity == "a",
                schema,
                name,
            };
        }
        let Some(text) = &row.default else {
            return DefaultValue::None;
        };
        if let Some((schema, name)) = sequence(row.default_sequence).filter(|_| is_nextval(text)) {
            return DefaultValue::Sequence { schema, name };
        }
        DefaultValue::Expression {
            text: text.clone(),
            volatile: row.default_is_volatile,
        }
    }
}

/// `nextval('name'::regclass)` and nothing around it.
fn is_nextval(expression: &str) -> bool {
    let name = expression
        .strip_prefix("nextval('")
        .and_then(|rest| rest.strip_suffix("'::regclass)"));
    // An apostrophe inside a name is doubled; a lone one would end the literal.
    name.is_some_and(|name| !name.replace("''", "").contains('\''))
}
