//! Whether a trigger does the same on every shard: a write to a reference table runs on each of them, and so do its triggers. Read
//! from the function's body, guessed on the safe side: what is not known to be the same is taken to differ.

use crate::session_state::tokens;

/// Whether the body, of a function in PL/pgSQL, may give other values from shard to shard, or does more than change the row: then
/// nobody knows what it leaves where.
pub(crate) fn may_differ(body: &str) -> bool {
    let (code, literals) = parted(body);
    let tokens: Vec<String> = tokens(&code).collect();
    let names_clock = |word: String| CLOCK.contains(&word.as_str());
    literals
        .iter()
        .any(|text| self::tokens(text).any(names_clock))
        || (0..tokens.len()).any(|at| differs(&tokens, at))
}

/// The body with nothing between quotes, and what was between them. Comments are left as they are: a quote in one hides code
/// only where another follows, and code that is hidden is looked at as a literal.
pub(crate) fn parted(body: &str) -> (String, Vec<String>) {
    let (mut code, mut literals) = (String::new(), Vec::new());
    for (at, part) in body.split('\'').enumerate() {
        match at % 2 {
            0 => code.push_str(part),
            _ => {
                code.push_str(" '' ");
                literals.push(part.to_owned());
            }
        }
    }
    (code, literals)
}

fn differs(tokens: &[String], at: usize) -> bool {
    let token = tokens[at].as_str();
    let is = |at: Option<usize>, sign: &str| {
        at.and_then(|at| tokens.get(at))
            .is_some_and(|found| found == sign)
    };
    let before = at.checked_sub(1);
    if COMMANDS.contains(&token) {
        return true;
    }
    let is_word = token.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let is_column =
        is(before, ".") && (is(at.checked_sub(2), "new") || is(at.checked_sub(2), "old"));
    if OF_THE_SHARD.contains(&token) && !is_column {
        return true;
    }
    let is_called = is_word && is(Some(at + 1), "(") && !is_column;
    let is_known = KEYWORDS.contains(&token) || FUNCTIONS.contains(&token);
    is_called && (!is_known || is(before, ".") && !is(at.checked_sub(2), "pg_catalog"))
}

/// Statements of SQL: what they read may differ from shard to shard, and what they write is written on each.
const COMMANDS: [&str; 24] = [
    "select", "insert", "update", "delete", "merge", "truncate", "perform", "execute", "call",
    "do", "copy", "table", "notify", "listen", "fetch", "open", "create", "alter", "drop", "grant",
    "revoke", "lock", "set", "into",
];

/// Words that mean the clock in the input of a date or time (PostgreSQL 15, 8.5.1.4).
pub const CLOCK: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// The clock, and numbers that each server gives by itself.
const OF_THE_SHARD: [&str; 16] = [
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "now",
    "tg_relid",
    "tableoid",
    "ctid",
    "xmin",
    "xmax",
    "cmin",
    "cmax",
    "oid",
    "regclass",
    "regproc",
];

/// Before a parenthesis, and no function.
const KEYWORDS: [&str; 30] = [
    "if",
    "elsif",
    "elseif",
    "when",
    "while",
    "and",
    "or",
    "not",
    "in",
    "then",
    "else",
    "return",
    "case",
    "any",
    "all",
    "some",
    "between",
    "like",
    "ilike",
    "is",
    "from",
    "using",
    "exception",
    "array",
    "row",
    "varchar",
    "char",
    "numeric",
    "decimal",
    "bit",
];

/// Of PostgreSQL's own, or special forms: the same for the same arguments and settings.
const FUNCTIONS: [&str; 78] = [
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "cast",
    "extract",
    "overlay",
    "position",
    "substring",
    "trim",
    "normalize",
    "lower",
    "upper",
    "initcap",
    "btrim",
    "ltrim",
    "rtrim",
    "length",
    "char_length",
    "character_length",
    "octet_length",
    "bit_length",
    "substr",
    "left",
    "right",
    "lpad",
    "rpad",
    "repeat",
    "replace",
    "reverse",
    "translate",
    "regexp_replace",
    "regexp_match",
    "regexp_count",
    "regexp_like",
    "regexp_substr",
    "split_part",
    "starts_with",
    "strpos",
    "concat",
    "concat_ws",
    "format",
    "quote_literal",
    "quote_ident",
    "quote_nullable",
    "md5",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "encode",
    "decode",
    "ascii",
    "chr",
    "to_hex",
    "abs",
    "round",
    "ceil",
    "ceiling",
    "floor",
    "trunc",
    "mod",
    "power",
    "sqrt",
    "sign",
    "to_tsvector",
    "setweight",
    "to_jsonb",
    "jsonb_build_object",
    "jsonb_set",
    "jsonb_strip_nulls",
    "array_append",
    "array_remove",
    "array_length",
    "array_to_string",
    "string_to_array",
    "cardinality",
    "date_trunc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_server_does_in_its_own_way_may_differ() {
        for body in [
            "BEGIN new.updated_at = now(); RETURN new; END",
            "BEGIN NEW.updated_at := CURRENT_TIMESTAMP; RETURN NEW; END",
            "BEGIN new.at := 'now'::timestamptz; RETURN new; END",
            "BEGIN new.id := public.next_number(); RETURN new; END",
            "BEGIN new.id := gen_random_uuid(); RETURN new; END",
            "BEGIN INSERT INTO log VALUES (new.id); RETURN NULL; END",
            "BEGIN IF TG_OP = 'INSERT' THEN UPDATE counts SET n = n + 1; END IF; RETURN NULL; END",
            "BEGIN IF EXISTS (SELECT FROM others) THEN RETURN NULL; END IF; RETURN new; END",
            "DECLARE n int := (TABLE numbers); BEGIN new.n := n; RETURN new; END",
            "BEGIN new.number := tg_relid; RETURN new; END",
            "BEGIN new.lower := public.lower(new.name); RETURN new; END",
        ] {
            assert!(may_differ(body), "{body}");
        }
    }

    #[test]
    fn what_only_looks_at_the_row_is_the_same() {
        for body in [
            "BEGIN new.slug := lower(regexp_replace(new.name, '[^a-z]+', '-', 'g')); RETURN new; END",
            "BEGIN -- now()\n IF TG_OP = 'UPDATE' AND (new.a IS DISTINCT FROM old.a) THEN RAISE EXCEPTION 'no: %', new.a; END IF; RETURN new; END",
            "BEGIN new.price := round(new.price::numeric(10, 2), 1); RETURN new; END",
            "BEGIN new.now := old.now; RETURN new; END",
            "BEGIN new.vector := setweight(to_tsvector('english', coalesce(new.title, '')), 'A'); RETURN new; END",
            "BEGIN IF new.a < 0 THEN RAISE EXCEPTION 'cannot delete or update %', new.a; END IF; RETURN new; END",
            "BEGIN IF (TG_OP = 'DELETE') THEN RETURN old; ELSE RETURN new; END IF; END",
        ] {
            assert!(!may_differ(body), "{body}");
        }
    }
}
