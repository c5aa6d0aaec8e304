//! CREATE DATABASE of a database as a server has it, from its row of `pg_database`. That row is read as JSON: its columns for the
//! locale are others from PostgreSQL 15 to 18. Asks no server.

use serde::Deserialize;

use crate::settings::{quote_identifier, quote_literal};

/// One row, one text column: the document for [`Described`] of the database called `$1`.
pub(super) const DESCRIBED: &str = "
SELECT (to_jsonb(d) || jsonb_build_object('owner', r.rolname, 'encoding_name', pg_encoding_to_char(d.encoding)))::text
FROM pg_database d JOIN pg_authid r ON r.oid = d.datdba WHERE d.datname = $1::text";

#[derive(Debug, Deserialize)]
pub(super) struct Described {
    datname: String,
    owner: String,
    encoding_name: String,
    /// `c` libc, `i` ICU, `b` PostgreSQL's own (from 17 on).
    datlocprovider: String,
    datcollate: String,
    datctype: String,
    /// Of ICU and of PostgreSQL's own provider; `daticulocale` up to 16.
    #[serde(alias = "daticulocale")]
    datlocale: Option<String>,
    /// From 16 on.
    daticurules: Option<String>,
}

impl Described {
    /// The statement that makes it, empty. None where the provider of its locale is not known here.
    pub(super) fn statement(&self) -> Option<String> {
        let (provider, locale) = match &*self.datlocprovider {
            "c" => ("libc", None),
            "i" => ("icu", Some("ICU_LOCALE")),
            "b" => ("builtin", Some("BUILTIN_LOCALE")),
            _ => return None,
        };
        let mut statement = format!(
            "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LOCALE_PROVIDER {provider} LC_COLLATE {} LC_CTYPE {}",
            quote_identifier(&self.datname),
            quote_identifier(&self.owner),
            quote_literal(&self.encoding_name),
            quote_literal(&self.datcollate),
            quote_literal(&self.datctype)
        );
        let rules = self.daticurules.as_ref();
        let optional = [
            locale.zip(self.datlocale.as_ref()),
            rules.map(|rules| ("ICU_RULES", rules)),
        ];
        for (option, value) in optional.into_iter().flatten() {
            statement.push_str(&format!(" {option} {}", quote_literal(value)));
        }
        Some(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::Described;

    /// Columns that every version has, and those of one.
    fn made_of(columns: &str) -> Option<String> {
        let row = format!(
            r#"{{"oid": "5", "datname": "a b", "owner": "o'x", "encoding_name": "UTF8", "encoding": 6, "datacl": null,
            "datcollate": "C", "datctype": "C.UTF-8", "datcollversion": null, {columns}}}"#
        );
        let described: Described = serde_json::from_str(&row).expect("a row of pg_database");
        described.statement()
    }

    const BEGIN: &str =
        r#"CREATE DATABASE "a b" TEMPLATE template0 OWNER "o'x" ENCODING 'UTF8' LOCALE_PROVIDER "#;

    #[test]
    fn each_version_s_columns_for_the_locale_are_understood() {
        let ends = [
            // 15
            (
                r#""datlocprovider": "c", "daticulocale": null"#,
                "libc LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
            ),
            (
                r#""datlocprovider": "i", "daticulocale": "de-AT""#,
                "icu LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' ICU_LOCALE 'de-AT'",
            ),
            // 16
            (
                r#""datlocprovider": "i", "daticulocale": "und", "daticurules": "&a < 'b'""#,
                "icu LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' ICU_LOCALE 'und' ICU_RULES '&a < ''b'''",
            ),
            // 17 and 18
            (
                r#""datlocprovider": "c", "datlocale": null, "daticurules": null, "dathasloginevt": false"#,
                "libc LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
            ),
            (
                r#""datlocprovider": "i", "datlocale": "de-AT", "daticurules": null, "dathasloginevt": false"#,
                "icu LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' ICU_LOCALE 'de-AT'",
            ),
            (
                r#""datlocprovider": "b", "datlocale": "C.UTF-8", "daticurules": null, "dathasloginevt": false"#,
                "builtin LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' BUILTIN_LOCALE 'C.UTF-8'",
            ),
        ];
        for (columns, end) in ends {
            assert_eq!(made_of(columns), Some(format!("{BEGIN}{end}")), "{columns}");
        }
    }

    #[test]
    fn a_provider_of_a_version_to_come_is_no_other_one() {
        assert_eq!(made_of(r#""datlocprovider": "x", "datlocale": "C""#), None);
    }
}
