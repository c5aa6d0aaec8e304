//! Who is a member of which role: read from one server, and the statements that make another one the same. Rows of
//! `pg_auth_members` are read as JSON: from PostgreSQL 16 on a membership has options besides ADMIN, and may be granted by several.
//! Asks no server.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::settings::quote_identifier;

/// One text column: the list that [`Members::read`] takes. Members that are PostgreSQL's own roles are left out.
pub(super) const MEMBERS: &str = "
SELECT coalesce(jsonb_agg(to_jsonb(a) || jsonb_build_object('role_name', g.rolname, 'member_name', m.rolname)), '[]')::text
FROM pg_auth_members a JOIN pg_authid g ON g.oid = a.roleid JOIN pg_authid m ON m.oid = a.member
WHERE m.rolname !~ '^pg_'";

#[derive(Debug, Deserialize)]
struct Row {
    role_name: String,
    member_name: String,
    admin_option: bool,
    /// These two from 16 on.
    inherit_option: Option<bool>,
    set_option: Option<bool>,
}

/// As GRANT takes them. None: the server knows of no such option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Options {
    admin: bool,
    inherit: Option<bool>,
    set: Option<bool>,
}

impl Options {
    /// A member has what any of its grants gives.
    fn or(self, other: Options) -> Options {
        let either = |one: Option<bool>, other: Option<bool>| {
            one.zip(other)
                .map(|(one, other)| one || other)
                .or(one)
                .or(other)
        };
        Options {
            admin: self.admin || other.admin,
            inherit: either(self.inherit, other.inherit),
            set: either(self.set, other.set),
        }
    }

    fn clause(self) -> String {
        let (Some(inherit), Some(set)) = (self.inherit, self.set) else {
            let admin = if self.admin { " WITH ADMIN OPTION" } else { "" };
            return admin.to_owned();
        };
        format!(" WITH ADMIN {}, INHERIT {inherit}, SET {set}", self.admin)
    }
}

/// By role and member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Members(BTreeMap<(String, String), Options>);

impl Members {
    pub(super) fn read(document: &str) -> Result<Members, serde_json::Error> {
        let rows: Vec<Row> = serde_json::from_str(document)?;
        let mut members = BTreeMap::<_, Options>::new();
        for row in rows {
            let options = Options {
                admin: row.admin_option,
                inherit: row.inherit_option,
                set: row.set_option,
            };
            members
                .entry((row.role_name, row.member_name))
                .and_modify(|known| *known = known.or(options))
                .or_insert(options);
        }
        Ok(Members(members))
    }

    /// Statements that make a server that has `found` have these.
    pub(super) fn statements(&self, found: &Members) -> Vec<String> {
        let is_other = |(pair, options): &(&(String, String), &Options)| {
            self.0.get(*pair).is_none_or(|kept| kept != *options)
        };
        let revoke = |((role, member), _): (&(String, String), &Options)| {
            let (role, member) = (quote_identifier(role), quote_identifier(member));
            format!("REVOKE {role} FROM {member}")
        };
        let grant = |((role, member), options): (&(String, String), &Options)| {
            let (role, member) = (quote_identifier(role), quote_identifier(member));
            format!("GRANT {role} TO {member}{}", options.clause())
        };
        let revoked = found.0.iter().filter(is_other).map(revoke);
        revoked.chain(self.0.iter().map(grant)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Members;

    fn read(rows: &str) -> Members {
        Members::read(rows).expect("rows of pg_auth_members")
    }

    #[test]
    fn before_16_a_membership_has_one_option() {
        let wanted = read(
            r#"[{"roleid": "1", "role_name": "staff", "member_name": "Ann", "grantor": "10", "admin_option": true},
            {"roleid": "1", "role_name": "staff", "member_name": "bob", "grantor": "10", "admin_option": false}]"#,
        );
        let found = read(
            r#"[{"role_name": "staff", "member_name": "Ann", "admin_option": false},
            {"role_name": "staff", "member_name": "bob", "admin_option": false},
            {"role_name": "old", "member_name": "bob", "admin_option": false}]"#,
        );
        let statements = [
            "REVOKE \"old\" FROM \"bob\"",
            "REVOKE \"staff\" FROM \"Ann\"",
            "GRANT \"staff\" TO \"Ann\" WITH ADMIN OPTION",
            "GRANT \"staff\" TO \"bob\"",
        ];
        assert_eq!(wanted.statements(&found), statements);
    }

    /// A role that somebody with CREATEROLE makes is administered by its maker, who does not have its rights.
    #[test]
    fn from_16_on_no_option_is_given_that_was_not_granted() {
        let wanted = read(
            r#"[{"role_name": "made", "member_name": "maker", "admin_option": true, "inherit_option": false, "set_option": false}]"#,
        );
        let grant = "GRANT \"made\" TO \"maker\" WITH ADMIN true, INHERIT false, SET false";
        assert_eq!(wanted.statements(&read("[]")), [grant]);
        assert_eq!(wanted.statements(&wanted), [grant]);
    }

    #[test]
    fn grants_by_several_are_one_membership() {
        let wanted = read(
            r#"[{"role_name": "made", "member_name": "maker", "admin_option": true, "inherit_option": false, "set_option": false},
            {"role_name": "made", "member_name": "maker", "admin_option": false, "inherit_option": false, "set_option": true}]"#,
        );
        let grant = "GRANT \"made\" TO \"maker\" WITH ADMIN true, INHERIT false, SET true";
        assert_eq!(wanted.statements(&read("[]")), [grant]);
    }
}
