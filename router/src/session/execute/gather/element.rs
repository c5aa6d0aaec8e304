//! Which array type a column's values go into.

use std::rc::Rc;

use super::super::super::fault::Fault;
use super::super::super::state::Session;

/// What becomes of the values of a type when they are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Element {
    /// They are elements of the array type of this oid (the home shard's).
    Of(u32),
    /// PostgreSQL has no array of them (they are arrays), but a column of a table.
    OnlyColumn,
    /// A pseudo-type: neither.
    Pseudo,
}

/// PostgreSQL's own types and the arrays of them, by oid (`pg_type.dat`).
#[rustfmt::skip]
const BUILT_IN: &[(u32, u32)] = &[
    (16, 1000), (17, 1001), (18, 1002), (19, 1003), (20, 1016), (21, 1005), (22, 1006), (23, 1007),
    (24, 1008), (25, 1009), (26, 1028), (27, 1010), (28, 1011), (29, 1012), (30, 1013), (114, 199),
    (142, 143), (600, 1017), (601, 1018), (602, 1019), (603, 1020), (604, 1027), (628, 629), (650, 651),
    (700, 1021), (701, 1022), (718, 719), (774, 775), (790, 791), (829, 1040), (869, 1041), (1042, 1014),
    (1043, 1015), (1082, 1182), (1083, 1183), (1114, 1115), (1184, 1185), (1186, 1187), (1266, 1270),
    (1560, 1561), (1562, 1563), (1700, 1231), (1790, 2201), (2202, 2207), (2203, 2208), (2204, 2209),
    (2205, 2210), (2206, 2211), (2950, 2951), (2970, 2949), (3220, 3221), (3614, 3643), (3615, 3645),
    (3734, 3735), (3769, 3770), (3802, 3807), (3904, 3905), (3906, 3907), (3908, 3909), (3910, 3911),
    (3912, 3913), (3926, 3927), (4072, 4073), (4089, 4090), (4096, 4097), (4191, 4192), (4451, 6150),
    (4532, 6151), (4533, 6152), (4534, 6153), (4535, 6155), (4536, 6157), (5038, 5039), (5069, 271),
];

/// PostgreSQL's own array types whose text form reads the same whatever the settings are: they may be handed over
/// as text where there is no table for them.
const WRITTEN_ALIKE: [(u32, &str); 15] = [
    (199, "pg_catalog.json[]"),
    (1000, "pg_catalog.bool[]"),
    (1001, "pg_catalog.bytea[]"),
    (1003, "pg_catalog.name[]"),
    (1005, "pg_catalog.int2[]"),
    (1007, "pg_catalog.int4[]"),
    (1009, "pg_catalog.text[]"),
    (1014, "pg_catalog.bpchar[]"),
    (1015, "pg_catalog.varchar[]"),
    (1016, "pg_catalog.int8[]"),
    (1028, "pg_catalog.oid[]"),
    (1041, "pg_catalog.inet[]"),
    (1231, "pg_catalog.numeric[]"),
    (2951, "pg_catalog.uuid[]"),
    (3807, "pg_catalog.jsonb[]"),
];

/// The type to which texts of this array type are cast, where that gives the same values.
pub(super) fn read_from_text(type_oid: u32) -> Option<&'static str> {
    let mut types = WRITTEN_ALIKE.iter();
    types
        .find(|(oid, _)| *oid == type_oid)
        .map(|(_, name)| *name)
}

impl Element {
    /// Of PostgreSQL's own types.
    fn built_in(type_oid: u32) -> Option<Self> {
        if let Ok(at) = BUILT_IN.binary_search_by_key(&type_oid, |(element, _)| *element) {
            return Some(Self::Of(BUILT_IN[at].1));
        }
        let is_array = BUILT_IN.iter().any(|(_, array)| *array == type_oid);
        is_array.then_some(Self::OnlyColumn)
    }
}

impl Session {
    /// For each of `types` (the home shard's oids); what is not known is asked of the home shard. No
    /// statement may be under way there.
    pub(super) async fn elements(&mut self, types: &[u32]) -> Result<Vec<Element>, Fault> {
        let space = Rc::clone(self.current_space());
        let known = |oid: &u32| Element::built_in(*oid).or_else(|| space.element(*oid));
        if types.iter().any(|oid| known(oid).is_none()) {
            for (oid, element) in self.ask_elements(types).await? {
                space.keep_element(oid, element);
            }
        }
        // A type that the home shard does not know has no array.
        let elements = types
            .iter()
            .map(|oid| known(oid).unwrap_or(Element::Pseudo));
        Ok(elements.collect())
    }

    async fn ask_elements(&mut self, types: &[u32]) -> Result<Vec<(u32, Element)>, Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        let list: Vec<String> = types.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT oid, typarray, typtype = 'p' FROM pg_catalog.pg_type WHERE oid IN ({})",
            list.join(", ")
        );
        let rows = self.run_quietly(index, &sql).await?;
        Ok(rows.iter().filter_map(|row| element(row)).collect())
    }
}

fn element(row: &[Option<String>]) -> Option<(u32, Element)> {
    let [Some(oid), Some(array), Some(pseudo)] = row else {
        return None;
    };
    let element = match array.parse().ok()? {
        _ if pseudo == "t" => Element::Pseudo,
        0 => Element::OnlyColumn,
        array => Element::Of(array),
    };
    Some((oid.parse().ok()?, element))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_types_have_their_arrays() {
        assert!(BUILT_IN.is_sorted());
        assert_eq!(Element::built_in(23), Some(Element::Of(1007)));
        assert_eq!(Element::built_in(1009), Some(Element::OnlyColumn));
        assert_eq!(Element::built_in(99_999), None);
        for (oid, _) in WRITTEN_ALIKE {
            assert_eq!(Element::built_in(oid), Some(Element::OnlyColumn));
        }
    }
}
