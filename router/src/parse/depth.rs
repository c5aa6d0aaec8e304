//! A bound on how deeply a statement nests, before the grammar builds a tree of it: trees are walked
//! by recursion, here and in PostgreSQL, which has its own bound (`max_stack_depth`).

use crate::error::RouterError;

/// Deepest nesting of expressions, joins and subqueries. It is planned on the worker's stack, which is made for it
/// (`serve`): levels of subqueries take most, far more than 4 KiB each in a debug build.
const DEEPEST: usize = 500;

/// Deepest nesting that is parsed on the caller's stack. Measured: reading the tree takes up to
/// 16 KiB a level in a debug build, a tenth of that in a release build.
const SHALLOW: usize = 40;

/// Bytes of stack for reading a tree of [`DEEPEST`] levels.
const LARGE_STACK: usize = 64 << 20;

/// The stack that a statement is to be parsed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    Ours,
    Large,
}

/// Refuses a text that may nest deeper than [`DEEPEST`]. Never refuses one shorter than that many
/// bytes, nor flat lists of any length (`VALUES`, `IN (...)`, `AND`, `OR`).
pub(super) fn check(text: &str) -> Result<Stack, RouterError> {
    match estimate(text.as_bytes()) {
        0..=SHALLOW => Ok(Stack::Ours),
        estimate if estimate <= DEEPEST => Ok(Stack::Large),
        _ => Err(too_deep()),
    }
}

/// Also where the parser library gives up on a tree that was let pass here.
pub(super) fn too_deep() -> RouterError {
    RouterError::new("54001", "stack depth limit exceeded")
        .detail(format!("The statement nests deeper than {DEEPEST} levels."))
        .hint("Break the statement up, or pass a list instead of a chain of operators.")
}

/// Runs `work` to its end on a thread of its own that has [`LARGE_STACK`].
pub(super) fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, RouterError> {
    let failed = || {
        RouterError::new("53200", "out of memory").detail("No stack for a deeply nested statement.")
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(LARGE_STACK)
            .spawn_scoped(scope, work);
        thread.map_err(|_| failed())?.join().map_err(|_| failed())
    })
}

/// An upper bound of the tree's depth: open brackets, and operators or words in a row since the last
/// comma, AND or OR at each of them. Quotes are skipped, roughly: what is miscounted only counts
/// more.
fn estimate(bytes: &[u8]) -> usize {
    let mut open = vec![0_usize];
    let mut depth = 0;
    let mut deepest = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = token_end(bytes, at);
        match byte {
            b'(' | b'[' => {
                open.push(1);
                depth += 1;
            }
            b')' | b']' if open.len() > 1 => depth -= open.pop().unwrap_or(0),
            _ => {
                if let Some(chain) = open.last_mut() {
                    match weight(&bytes[at..end]) {
                        Weight::Resets => {
                            depth -= *chain;
                            *chain = 0;
                        }
                        Weight::Deepens => {
                            depth += 1;
                            *chain += 1;
                        }
                        Weight::Nothing => {}
                    }
                }
            }
        }
        deepest = deepest.max(depth);
        at = end;
    }
    deepest
}

enum Weight {
    Resets,
    Deepens,
    Nothing,
}

fn weight(token: &[u8]) -> Weight {
    const DEEPENING: [&[u8]; 19] = [
        b"not",
        b"union",
        b"intersect",
        b"except",
        b"join",
        b"is",
        b"isnull",
        b"notnull",
        b"collate",
        b"at",
        b"like",
        b"ilike",
        b"similar",
        b"between",
        b"in",
        b"case",
        b"operator",
        b"array",
        b"explain",
    ];
    match token[0] {
        b',' | b';' => Weight::Resets,
        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%'
        | b'^' | b'&' | b'|' | b'`' | b'?' | b':' => Weight::Deepens,
        _ if token.eq_ignore_ascii_case(b"and") || token.eq_ignore_ascii_case(b"or") => {
            Weight::Resets
        }
        _ if DEEPENING
            .iter()
            .any(|word| token.eq_ignore_ascii_case(word)) =>
        {
            Weight::Deepens
        }
        _ => Weight::Nothing,
    }
}

/// Words and plain quoted strings are one token; anything else is one byte.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let word =
        |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'$' || *byte >= 0x80;
    match bytes[at] {
        quote @ (b'\'' | b'"') => {
            memchr::memchr(quote, &bytes[at + 1..]).map_or(bytes.len(), |length| at + length + 2)
        }
        ref byte if word(byte) => bytes[at..]
            .iter()
            .position(|byte| !word(byte))
            .map_or(bytes.len(), |length| at + length),
        _ => at + 1,
    }
}
