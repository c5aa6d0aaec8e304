//! Who is signed in. A token carries the person's id, so one shard knows whether it is good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::models::people::{self, Person};
use crate::{App, Error, db};

/// A cookie's or a program's secret: 8 bytes of person, 24 of chance.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    pub fn new(user_id: i64) -> Token {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&user_id.to_be_bytes());
        rand::fill(&mut bytes[8..]);
        Token(bytes)
    }

    pub fn parse(text: &str) -> Option<Token> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Token(bytes.try_into().ok()?))
    }

    pub fn user_id(&self) -> i64 {
        self.0[..8]
            .iter()
            .fold(0, |id, byte| id << 8 | i64::from(*byte))
    }

    /// What the database keeps: who reads it there cannot sign in with it.
    pub fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Whoever looks at a page, and the numbers at its top.
#[derive(Debug, Clone)]
pub struct Viewer {
    pub person: Person,
    pub unread: Unread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Unread {
    /// Up to 100.
    pub notifications: i64,
    pub messages: i64,
}

/// Subqueries for [`Unread`] of person `$1`.
const UNREAD: &str = "(SELECT count(*) FROM (SELECT FROM notifications n WHERE n.user_id = $1 AND NOT n.seen LIMIT 100) x) \
    AS notifications, (SELECT coalesce(sum(c.unread), 0)::bigint FROM conversations c WHERE c.user_id = $1) AS messages";

pub async fn start(app: &App, user_id: i64, user_agent: &str) -> Result<Token, Error> {
    let token = Token::new(user_id);
    let agent: String = people::clean(user_agent).chars().take(200).collect();
    let client = app.pool.get().await?;
    let sql = "INSERT INTO sessions (user_id, token_hash, expires, user_agent) \
        VALUES ($1, $2, now() + interval '60 days', $3)";
    db::run(&client, sql, &[&user_id, &token.hash(), &agent]).await?;
    let old = "DELETE FROM sessions WHERE user_id = $1 AND expires < now()";
    db::run(&client, old, &[&user_id]).await?;
    Ok(token)
}

/// None: the token is no good any more.
pub async fn viewer(app: &App, token: &Token) -> Result<Option<Viewer>, Error> {
    let columns = people::columns();
    let sql = format!(
        "SELECT {columns}, {UNREAD} FROM users u JOIN sessions s ON s.user_id = u.id \
        WHERE u.id = $1 AND s.user_id = $1 AND s.token_hash = $2 AND s.expires > now() AND u.deleted IS NULL"
    );
    let client = app.pool.get().await?;
    let row = db::maybe(&client, &sql, &[&token.user_id(), &token.hash()]).await?;
    let viewer = row.map(|row| Viewer {
        person: Person::of(&row),
        unread: Unread {
            notifications: row.get("notifications"),
            messages: row.get("messages"),
        },
    });
    if let Some(viewer) = &viewer {
        app.names.remember(&viewer.person);
    }
    Ok(viewer)
}

pub async fn unread(app: &App, user_id: i64) -> Result<Unread, Error> {
    let client = app.pool.get().await?;
    let row = db::one(&client, &format!("SELECT {UNREAD}"), &[&user_id]).await?;
    Ok(Unread {
        notifications: row.get(0),
        messages: row.get(1),
    })
}

pub async fn end(app: &App, token: &Token) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "DELETE FROM sessions WHERE user_id = $1 AND token_hash = $2";
    db::run(&client, sql, &[&token.user_id(), &token.hash()]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_person() {
        for id in [1, -1, i64::MAX, 4_294_967_297] {
            let token = Token::new(id);
            assert_eq!(Token::parse(&token.text()).unwrap().user_id(), id);
        }
        assert!(Token::parse("short").is_none());
    }
}
