//! Oids inside the parameters of a Bind, for a shard where they are not the home shard's: in binary
//! arrays and composites of types made by users.

use std::borrow::Cow;

use schema::oids::{Direction, OidMap};
use wire::Format;

/// A parameter as a shard is to get it.
pub(in crate::session) type Translated<'a> = (Format, Option<Cow<'a, [u8]>>);

/// The shortest binary value with an oid inside: an empty array.
const SHORTEST: usize = 12;

/// By its form alone: whether there may be an oid in a value.
pub(in crate::session) fn may_hold_oids((format, value): (Format, Option<&[u8]>)) -> bool {
    format == Format::Binary && value.is_some_and(|value| value.len() >= SHORTEST)
}

/// The parameters with the shard's oids inside. `types`: theirs, in the home shard's oids; 0 or none
/// where it is not known. `None`: they are right as they are.
pub(in crate::session) fn translated<'a>(
    parameters: &[(Format, Option<&'a [u8]>)],
    types: &[u32],
    oids: &OidMap,
) -> Option<Vec<Translated<'a>>> {
    let types = types.iter().copied().chain(std::iter::repeat(0));
    let both = parameters.iter().copied().zip(types);
    let concerns =
        |((format, value), type_)| may_hold_oids((format, value)) && oids.needs_rewriting(type_);
    if !both.clone().any(concerns) {
        return None;
    }
    let translate = |((format, value), type_): ((Format, Option<&'a [u8]>), u32)| {
        if !concerns(((format, value), type_)) {
            return (format, value.map(Cow::Borrowed));
        }
        let value = value.map(|value| {
            let mut own = value.to_vec();
            oids.rewrite(type_, &mut own, Direction::FromHome);
            Cow::Owned(own)
        });
        (format, value)
    };
    Some(both.map(translate).collect())
}
