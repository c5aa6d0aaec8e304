//! The options of COPY, as far as the router must read the data: PostgreSQL 15's, in old and new syntax.

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, Node};

use super::option_text;
use crate::error::RouterError;
use crate::plan::names::strings;
use crate::plan::{CopyFormat, CopyOptions, ForceQuote};

/// Reads the options; defaults are those of the format.
pub fn read(options: &[Node]) -> Result<CopyOptions, RouterError> {
    let format = format(options)?;
    let csv = format == CopyFormat::Csv;
    let quote = byte(options, "quote")?.unwrap_or(b'"');
    let (header, header_match) = header(options)?;
    Ok(CopyOptions {
        format,
        delimiter: byte(options, "delimiter")?.unwrap_or(if csv { b',' } else { b'\t' }),
        null: text(options, "null")
            .unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        header,
        header_match,
        quote,
        escape: byte(options, "escape")?.unwrap_or(quote),
        encoding: text(options, "encoding"),
    })
}

/// `FORCE_QUOTE (a, b)` or `FORCE_QUOTE *`.
pub fn force_quote(options: &[Node]) -> ForceQuote {
    let value =
        find(options, "force_quote").and_then(|option| option.arg.as_deref()?.node.as_ref());
    match value {
        None => ForceQuote::Columns(Vec::new()),
        Some(NodeEnum::List(list)) => {
            let names = strings(&list.items).into_iter();
            ForceQuote::Columns(names.map(str::to_owned).collect())
        }
        Some(_) => ForceQuote::All,
    }
}

fn format(options: &[Node]) -> Result<CopyFormat, RouterError> {
    match text(options, "format").as_deref() {
        None | Some("text") => Ok(CopyFormat::Text),
        Some("csv") => Ok(CopyFormat::Csv),
        Some("binary") => Ok(CopyFormat::Binary),
        Some(other) => Err(RouterError::new(
            "22023",
            format!("COPY format \"{other}\" not recognized"),
        )),
    }
}

/// HEADER, and whether it must match the columns.
fn header(options: &[Node]) -> Result<(bool, bool), RouterError> {
    let Some(option) = find(options, "header") else {
        return Ok((false, false));
    };
    let Some(value) = option.arg.as_deref().and_then(option_text) else {
        return Ok((true, false));
    };
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Ok((true, false)),
        "false" | "off" | "0" => Ok((false, false)),
        "match" => Ok((true, true)),
        _ => Err(RouterError::new(
            "42601",
            "header requires a Boolean value or \"match\"",
        )),
    }
}

/// An option that is one byte; PostgreSQL's own checks follow on the shard.
fn byte(options: &[Node], name: &str) -> Result<Option<u8>, RouterError> {
    match text(options, name).as_deref().map(str::as_bytes) {
        None => Ok(None),
        Some(&[byte]) => Ok(Some(byte)),
        Some(_) => Err(RouterError::new(
            "0A000",
            format!("COPY {name} must be a single one-byte character"),
        )),
    }
}

fn text(options: &[Node], name: &str) -> Option<String> {
    option_text(find(options, name)?.arg.as_deref()?)
}

fn find<'a>(options: &'a [Node], name: &str) -> Option<&'a DefElem> {
    definitions(options).find(|option| option.defname == name)
}

fn definitions(options: &[Node]) -> impl Iterator<Item = &DefElem> {
    options
        .iter()
        .filter_map(|option| match option.node.as_ref()? {
            NodeEnum::DefElem(option) => Some(&**option),
            _ => None,
        })
}

/// Refuses options of COPY FROM under which the router would read the key otherwise than the shard.
pub fn readable(options: &[Node], key: &str) -> Result<(), RouterError> {
    let refuse = |what: &str, why: &str| {
        Err(RouterError::unsupported(
            "copy-option",
            format!("COPY option {what} is not supported for a sharded table"),
        )
        .detail(why.to_owned()))
    };
    for option in definitions(options) {
        match option.defname.as_str() {
            "force_null" | "force_not_null" if names_column(option, key) => {
                return refuse(&option.defname, "It changes how the shard key is read.");
            }
            "encoding" if !is_utf8(option) => {
                return refuse("encoding", "The shard key is read as UTF-8.");
            }
            "default" | "on_error" | "reject_limit" => {
                return refuse(
                    &option.defname,
                    "It changes which rows are stored, on each shard by itself.",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// `FORCE_NULL (a, b)` or `FORCE_NULL *`.
fn names_column(option: &DefElem, column: &str) -> bool {
    match option.arg.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::List(list)) => strings(&list.items).contains(&column),
        _ => true,
    }
}

fn is_utf8(option: &DefElem) -> bool {
    let name = option
        .arg
        .as_deref()
        .and_then(option_text)
        .unwrap_or_default();
    matches!(
        name.to_ascii_lowercase().as_str(),
        "utf8" | "utf-8" | "unicode"
    )
}
