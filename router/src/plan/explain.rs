//! EXPLAIN: the plan of the statement inside, and the options the router's answer depends on.

use pg_query::NodeEnum;
use pg_query::protobuf::ExplainStmt;

use super::tokens::Tokens;
use super::{
    Action, Effect, Explain, Plan, PlanContext, names, plan_alone, single_shard, unsupported,
};
use crate::parse::{self, Statement};

pub fn plan_explain(
    statement: &Statement,
    explain: &ExplainStmt,
    context: &PlanContext<'_>,
) -> Plan {
    let Some((head, inner)) = inner_statement(&statement.text) else {
        return Plan::refused(unsupported::rewrite_not_possible());
    };
    let options = Options::of(explain);
    let node = inner.node.clone();
    let inner = plan_alone(&inner, context);
    let effect = Effect {
        reads_session_sequences: options.analyze && inner.effect.reads_session_sequences,
        writes: options.analyze && (inner.effect.writes || inner.effect.locks),
        locks: false,
        pins: options.analyze && inner.effect.pins,
        leaves_state: options.analyze && inner.effect.leaves_state,
        unpreparable: options.analyze && inner.effect.unpreparable,
        returns_rows: true,
        outside_transaction: false,
        changes_entries: false,
    };
    let reason = inner.reason.clone();
    let explain = Explain {
        inner,
        text: statement.text.clone(),
        head,
        analyze: options.analyze,
        format: options.format,
        single_shard: single_shard::predicate(&node, context),
    };
    Plan::new(Action::Explain(Box::new(explain)), effect, reason)
}

struct Options {
    analyze: bool,
    format: String,
}

impl Options {
    fn of(explain: &ExplainStmt) -> Self {
        let mut options = Self {
            analyze: false,
            format: "text".to_owned(),
        };
        for option in &explain.options {
            let Some(NodeEnum::DefElem(option)) = option.node.as_ref() else {
                continue;
            };
            let word = option.arg.as_deref().and_then(word);
            match option.defname.as_str() {
                "analyze" => {
                    options.analyze = !matches!(word.as_deref(), Some("off" | "false" | "0"))
                }
                "format" => options.format = word.unwrap_or_else(|| "text".to_owned()),
                _ => {}
            }
        }
        options
    }
}

/// An option's value in lower case, however it is written.
fn word(value: &pg_query::protobuf::Node) -> Option<String> {
    match value.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.to_ascii_lowercase()),
        NodeEnum::Integer(number) => Some(number.ival.to_string()),
        NodeEnum::Boolean(value) => Some(value.boolval.to_string()),
        _ => names::string_constant(value).map(str::to_ascii_lowercase),
    }
}

/// EXPLAIN with its options, and the statement after it by itself.
fn inner_statement(text: &str) -> Option<(String, Statement)> {
    let tokens = Tokens::of(text);
    let mut first = (0..tokens.len()).find(|&index| tokens.is_word(index, "explain"))? + 1;
    if tokens.word(first) == "(" && !is_query(&tokens, first + 1) {
        first = tokens.closing(first)? + 1;
    } else {
        while tokens.is_word(first, "analyze")
            || tokens.is_word(first, "analyse")
            || tokens.is_word(first, "verbose")
        {
            first += 1;
        }
    }
    let rest = tokens.rest(first);
    let mut statements = parse::parse(rest).ok()?;
    let inner = statements.pop().filter(|_| statements.is_empty())?;
    Some((text[..text.len() - rest.len()].to_owned(), inner))
}

/// `EXPLAIN (SELECT ...)` has no options but a query in parentheses.
fn is_query(tokens: &Tokens<'_>, first: usize) -> bool {
    ["select", "values", "table", "with", "("]
        .iter()
        .any(|word| tokens.is_word(first, word))
}
