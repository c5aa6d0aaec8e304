//! The plan of a statement in which rows of parts stand, with those rows in their places.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::{PART, Part};
use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::Statement;
use crate::plan::gather::print::{self, Holes};
use crate::plan::gather::{Finish, Gather, Pull, Source, Template};
use crate::plan::insert_rows::InsertRows;
use crate::plan::{Action, Plan, Scatter, unsupported};

/// `plan`, of `statement`, with the rows of `parts` where `holes` are. `described`: the statement as the home shard
/// reads it.
///
/// # Errors
/// Plans that send a text which cannot be changed.
pub(super) fn plan(
    plan: Plan,
    statement: &Statement,
    described: &dyn Fn() -> Result<String, RouterError>,
    parts: &[Part],
    holes: &Holes,
) -> Result<Plan, RouterError> {
    if let Action::Refuse(refusal) = plan.action {
        return Err(refusal);
    }
    if !statement.text.contains(PART) {
        return Ok(plan);
    }
    let filling = Filling { parts, holes };
    let action = match plan.action {
        Action::InsertRows(insert) => {
            Action::InsertRows(Box::new(filling.insert(*insert, described)?))
        }
        Action::Gather(gather) => Action::Gather(Box::new(filling.gather(*gather))),
        action => {
            let (effect, why) = (plan.effect, plan.reason.clone());
            let gather = filling.alone(action, &statement.text, effect, why)?;
            Action::Gather(Box::new(gather))
        }
    };
    Ok(Plan { action, ..plan })
}

struct Filling<'a> {
    parts: &'a [Part],
    holes: &'a Holes,
}

impl Filling<'_> {
    fn pulls(&self) -> Vec<Pull> {
        let parts = self.parts.iter().enumerate();
        let pull = |(number, part): (usize, &Part)| Pull {
            name: part.name.clone(),
            text: Template::default(),
            columns: 1,
            source: Source::Part(number),
            is_optional: false,
            mark: None,
        };
        parts.map(pull).collect()
    }

    fn template(&self, template: Template) -> Template {
        print::fill(template.shifted(self.parts.len()), self.holes)
    }

    fn gather(&self, gather: Gather) -> Gather {
        let mut pulls = self.pulls();
        for mut pull in gather.pulls {
            pull.text = self.template(pull.text);
            pulls.push(pull);
        }
        let place = match gather.place {
            Finish::Shards {
                source,
                merge,
                otherwise,
            } => Finish::Shards {
                source,
                merge,
                otherwise: otherwise.map(|otherwise| Box::new(self.gather(*otherwise))),
            },
            other => other,
        };
        Gather {
            pulls,
            finish: self.template(gather.finish),
            place,
            why: gather.why,
        }
    }

    /// A statement that shards would run as it is.
    fn alone(
        &self,
        action: Action,
        text: &str,
        effect: crate::plan::Effect,
        why: String,
    ) -> Result<Gather, RouterError> {
        let merge = match effect.returns_rows {
            true => Merge::Concatenate {
                limit: None,
                offset: None,
            },
            false => Merge::CountOnly,
        };
        let shards = |source, merge| Finish::Shards {
            source,
            merge,
            otherwise: None,
        };
        let mut own_text = None;
        let place = match (action, effect.writes) {
            // Rows of locked tables are locked by the very text that finds them.
            (_, false) if effect.locks => return Err(unsupported::write_in_with()),
            (Action::AnyShard, false) => Finish::Apart { home: false },
            (Action::Home, false) => Finish::Apart { home: true },
            (Action::Home, true) => shards(Source::Home, merge),
            (action, _) => match Source::of(action) {
                Ok((source, None)) => shards(source, merge),
                Ok((source, Some(Scatter { text, merge, .. }))) => {
                    own_text = text;
                    shards(source, merge)
                }
                Err(_) => return Err(unsupported::write_in_with()),
            },
        };
        let text = own_text.as_deref().unwrap_or(text);
        Ok(Gather {
            pulls: self.pulls(),
            finish: print::cut(text, self.holes),
            place,
            why,
        })
    }

    fn insert(
        &self,
        insert: InsertRows,
        described: &dyn Fn() -> Result<String, RouterError>,
    ) -> Result<InsertRows, RouterError> {
        let failed = unsupported::write_in_with;
        let mut parsed = crate::parse::parse(&insert.source_text)?;
        let statement = parsed.pop().ok_or_else(failed)?;
        let source = Rc::into_inner(insert.source).ok_or_else(failed)?;
        let text = source_of(&described()?, &statement)?;
        let source = plan(
            source,
            &statement,
            &|| Ok(text.clone()),
            self.parts,
            self.holes,
        )?;
        Ok(InsertRows {
            source: Rc::new(source),
            source_text: text,
            ..insert
        })
    }
}

/// The query of an INSERT by itself, with the WITH queries that `described` has.
fn source_of(described: &str, source: &Statement) -> Result<String, RouterError> {
    let failed = unsupported::write_in_with;
    let described = crate::parse::parse(described)?.pop().ok_or_else(failed)?;
    let NodeEnum::InsertStmt(insert) = described.node else {
        return Err(failed());
    };
    let NodeEnum::SelectStmt(select) = &source.node else {
        return Err(failed());
    };
    let mut select = select.clone();
    let (Some(own), Some(whole)) = (select.with_clause.as_mut(), insert.with_clause) else {
        return Err(failed());
    };
    // Those of the query's own stay behind them.
    let outer = |table: &Node| {
        let mut outer = whole.ctes.iter();
        outer.any(|other| super::name(other) == super::name(table))
    };
    own.ctes.retain(|table| !outer(table));
    own.ctes.splice(0..0, whole.ctes);
    print::text(&NodeEnum::SelectStmt(select))
}
