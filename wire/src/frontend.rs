//! Messages a client sends.

/// Body of a Bind message, parsed without copying.
#[derive(Debug)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
}
