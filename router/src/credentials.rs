//! What a log-in to a shard is proved with. Never printed.

use crate::config::Secret;
use crate::scram::ScramKeys;

/// Proof of a role's identity towards shards.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: the shards must trust the router (`pg_hba.conf`, method trust or peer).
    #[default]
    None,
    /// A password in clear: the cluster's own user, from the configuration.
    Password(Secret),
    /// Revealed by a client's SCRAM proof; good wherever the role has the same verifier.
    Scram(ScramKeys),
    /// `md5` and 32 hexadecimal digits: what `pg_authid` holds, and all that method md5 asks for.
    Md5(Secret),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(..)",
            Self::Scram(_) => "Scram(..)",
            Self::Md5(_) => "Md5(..)",
        })
    }
}

/// PostgreSQL's method md5: `"md5" + hex(md5(...))`.
pub(crate) mod md5 {
    use md5::{Digest, Md5};

    /// What `pg_authid` holds for a password: its MD5, salted with the role's name.
    pub(crate) fn stored(user: &str, password: &str) -> String {
        of(&[password.as_bytes(), user.as_bytes()])
    }

    /// What is sent for a stored hash and the server's salt. None when `stored` is not one.
    pub(crate) fn answer(stored: &str, salt: [u8; 4]) -> Option<String> {
        let digits = stored
            .strip_prefix("md5")
            .filter(|digits| digits.len() == 32)?;
        Some(of(&[digits.as_bytes(), &salt]))
    }

    fn of(parts: &[&[u8]]) -> String {
        let mut hash = Md5::new();
        for part in parts {
            hash.update(part);
        }
        let digest = hash.finalize();
        digest.iter().fold(String::from("md5"), |text, byte| {
            text + &format!("{byte:02x}")
        })
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn answers_are_those_of_rust_postgres() {
            let stored = super::stored("foo", "password");
            assert_eq!(
                super::answer(&stored, [1, 2, 3, 4]).unwrap(),
                postgres_protocol::authentication::md5_hash(b"foo", b"password", [1, 2, 3, 4])
            );
            assert_eq!(super::answer("SCRAM-SHA-256$", [0; 4]), None);
        }
    }
}
