//! UPDATE over several shards that sets the shard key: the value is replaced by an expression that
//! gives it where it is the row's key already, and fails where it is not. Object mappers write every
//! column of a changed row, the unchanged ones too.

use pg_query::NodeEnum;
use pg_query::protobuf::UpdateStmt;
use schema::KeyType;
use wire::backend::ErrorResponse;

use crate::error::RouterError;
use crate::plan::names::quote_identifier;
use crate::plan::select::rows_of;
use crate::plan::survey::Survey;
use crate::plan::tokens::Tokens;
use crate::plan::unsupported;

/// What PostgreSQL shows in its error for invalid input of an integer.
const MESSAGE: &str = "this UPDATE changes the shard key from ";

/// What the client is told of an error that came of a guard.
pub fn refusal(error: &ErrorResponse<'_>) -> Option<RouterError> {
    let is_guard = error.sqlstate() == "22P02" && error.message().contains(MESSAGE);
    is_guard.then(unsupported::shard_key_update)
}

/// The text for the shards. `None`: the value was not found in the text, or is not one of its own.
pub fn text(text: &str, update: &UpdateStmt, survey: &Survey) -> Option<String> {
    let target = rows_of(survey, survey.root)?.target?;
    let leaf = survey.leaf(target);
    let (key, key_type) = leaf.shard_key()?;
    let name = &leaf.relation()?.columns.get(key)?.name;
    let mut assignments = update
        .target_list
        .iter()
        .filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::ResTarget(assignment)) if assignment.name == *name => Some(assignment),
            _ => None,
        });
    let assignment = assignments.next()?;
    if matches!(
        assignment.val.as_deref()?.node.as_ref()?,
        NodeEnum::MultiAssignRef(_) | NodeEnum::SetToDefault(_)
    ) {
        return None;
    }
    let tokens = Tokens::of(text);
    let equals = tokens.find_outside(
        tokens.index_at(usize::try_from(assignment.location).ok()?),
        |index| tokens.word(index) == "=",
    )?;
    let end = value_end(&tokens, equals + 1)?;
    let value = tokens.span(equals + 1).start..tokens.span(end - 1).end;
    let column = format!(
        "{}.{}",
        quote_identifier(&leaf.name),
        quote_identifier(name)
    );
    let failure = failure(&column, key_type);
    let guarded = format!(
        "CASE WHEN {column} = ({}) THEN {column} ELSE {failure} END",
        &text[value.clone()]
    );
    Some(format!(
        "{}{guarded}{}",
        &text[..value.start],
        &text[value.end..]
    ))
}

/// The token after an assigned value.
fn value_end(tokens: &Tokens<'_>, from: usize) -> Option<usize> {
    tokens
        .find_outside(from, |index| {
            tokens.word(index) == ","
                || ["where", "returning"]
                    .iter()
                    .any(|word| tokens.is_word(index, word))
                || tokens.is_word(index, "from") && !tokens.is_word(index - 1, "distinct")
                || index + 1 > tokens.len()
        })
        .or(Some(tokens.len()))
}

/// An expression of the key's type that always fails. It must depend on the row, or PostgreSQL would
/// compute it while planning.
fn failure(column: &str, key_type: KeyType) -> String {
    let failing = |type_name: &str| format!("('{MESSAGE}' || {column})::{type_name}");
    match key_type {
        KeyType::Int2 => failing("int2"),
        KeyType::Int4 => failing("int4"),
        KeyType::Int8 => failing("int8"),
        KeyType::Uuid => failing("uuid"),
        KeyType::Text | KeyType::Varchar => format!("{}::text", failing("int4")),
    }
}
