//! What pg_dump sees of the router's own objects: nothing, so that a dump is of the client's database alone.
//!
//! pg_dump skips every schema called `pg_*` with all that is in it, so it is told that schema `oskol` is one; and our
//! event triggers, which are in no schema, are not listed. Only the two queries in which it asks for these are
//! changed, and only for a client that says it is pg_dump: everybody else sees the catalogs as they are.

/// Clients whose queries are looked at.
pub(super) const APPLICATION: &str = "pg_dump";

const SCHEMAS: &str = "FROM pg_namespace n";
const EVENT_TRIGGERS: &str = "FROM pg_event_trigger e";

/// The query in place of pg_dump's own, if it is one of those two.
pub(super) fn changed(text: &str) -> Option<String> {
    if text.starts_with("SELECT n.tableoid, n.oid, n.nspname,") {
        let seen = "FROM (SELECT tableoid, oid, nspowner, nspacl, CASE nspname WHEN 'oskol' \
                    THEN 'pg_oskol' ELSE nspname END AS nspname FROM pg_catalog.pg_namespace) n";
        return text.contains(SCHEMAS).then(|| text.replace(SCHEMAS, seen));
    }
    if text.starts_with("SELECT e.tableoid, e.oid, evtname,") {
        let seen = "FROM (SELECT t.tableoid, t.* FROM pg_catalog.pg_event_trigger t \
                    JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid \
                    WHERE p.pronamespace <> 'oskol'::pg_catalog.regnamespace) e";
        let changed = || text.replace(EVENT_TRIGGERS, seen);
        return text.contains(EVENT_TRIGGERS).then(changed);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lists_of_schemas_and_event_triggers_are_changed() {
        let schemas =
            "SELECT n.tableoid, n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n";
        assert!(changed(schemas).is_some_and(|text| text.contains("'pg_oskol'")));
        let triggers =
            "SELECT e.tableoid, e.oid, evtname, evtfoid FROM pg_event_trigger e ORDER BY e.oid";
        assert!(changed(triggers).is_some_and(|text| text.ends_with(" e ORDER BY e.oid")));
        assert_eq!(changed("SELECT nspname FROM pg_namespace n"), None);
    }
}
