//! People: signing up, profiles, and their short form beside what they wrote.

use std::collections::{BTreeSet, HashMap};

use deadpool_postgres::GenericClient;
use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::media::{ATTACHMENT, Attachment};
use crate::models::{blocks, passwords, search};
use crate::{App, Error, db, retry};

/// What is shown beside everything that a person does.
#[derive(Debug, Clone, Serialize)]
pub struct Person {
    pub id: i64,
    pub user_name: String,
    pub name: String,
    pub avatar: Option<Attachment>,
}

/// Columns of a [`Person`], of a row `u` of `users`.
pub fn columns() -> String {
    format!(
        "u.id AS person_id, u.user_name, u.name, \
        (SELECT {ATTACHMENT} FROM media m WHERE m.owner_id = u.id AND m.id = u.avatar_id) AS avatar"
    )
}

impl Person {
    /// Of a row with [`columns`].
    pub fn of(row: &Row) -> Person {
        Person {
            id: row.get("person_id"),
            user_name: row.get("user_name"),
            name: row.get("name"),
            avatar: row
                .get::<_, Option<Json<Attachment>>>("avatar")
                .map(|Json(avatar)| avatar),
        }
    }
}

/// Those of the ids that are people, in any order. Asks only the shards of these ids; those that are down are left out.
pub async fn by_ids(
    app: &App,
    ids: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, Person>, Error> {
    let ids: Vec<i64> = ids
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let found = match select(app, &ids).await {
        Err(error) if error.is_unavailable() && ids.len() > 1 => {
            let mut found = Vec::new();
            for id in ids {
                match select(app, &[id]).await {
                    Ok(people) => found.extend(people),
                    Err(error) if error.is_unavailable() => {}
                    Err(error) => return Err(error),
                }
            }
            found
        }
        found => found?,
    };
    found.iter().for_each(|person| app.names.remember(person));
    Ok(found
        .into_iter()
        .map(|person| (person.id, person))
        .collect())
}

/// As [`by_ids`], without those with whom the viewer has a block.
pub async fn seen_by(
    app: &App,
    viewer: Option<i64>,
    ids: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, Person>, Error> {
    let mut ids: Vec<i64> = ids.into_iter().collect();
    if let Some(viewer) = viewer {
        let client = app.pool.get().await?;
        let hidden = blocks::hidden(&client, viewer, &ids).await?;
        ids.retain(|id| !hidden.contains(id));
    }
    by_ids(app, ids).await
}

async fn select(app: &App, ids: &[i64]) -> Result<Vec<Person>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let columns = columns();
    let sql = format!("SELECT {columns} FROM users u WHERE u.id = ANY($1) AND u.deleted IS NULL");
    let client = app.pool.get().await?;
    let rows = db::all(&client, &sql, &[&ids]).await?;
    Ok(rows.iter().map(Person::of).collect())
}

/// A profile as somebody sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    #[serde(flatten)]
    pub person: Person,
    pub bio: String,
    pub follower_count: i64,
    pub following_count: i64,
    pub post_count: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// None: nobody is signed in, or it is the person's own.
    pub relation: Option<Relation>,
}

/// How the viewer and the person stand to one another.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Relation {
    pub following: bool,
    pub friends: bool,
    /// The viewer has asked, and there is no answer yet.
    pub request_sent: bool,
    /// The person has asked the viewer.
    pub request_received: bool,
    pub blocked_by_me: bool,
}

/// The id behind a user name; of one that was seen lately, also while the shard of the name is down.
pub async fn id_of(app: &App, user_name: &str) -> Result<i64, Error> {
    let user_name = clean(user_name).to_lowercase();
    match look_up(app, &user_name).await {
        Err(error) if error.is_unavailable() => app.names.id_of(&user_name).ok_or(error),
        id => id,
    }
}

async fn look_up(app: &App, user_name: &str) -> Result<i64, Error> {
    let sql = "SELECT id FROM users WHERE user_name = $1 AND deleted IS NULL";
    let client = app.pool.get().await?;
    Ok(db::one(&client, sql, &[&user_name]).await?.get(0))
}

/// The profile, unless the person has blocked the viewer.
pub async fn profile(app: &App, id: i64, viewer: Option<i64>) -> Result<Profile, Error> {
    let columns = columns();
    let client = app.pool.get().await?;
    let sql = format!(
        "SELECT {columns}, u.bio, u.follower_count, u.following_count, u.post_count, u.created, \
        EXISTS (SELECT FROM followers f WHERE f.user_id = $1 AND f.follower_id = $2) AS following, \
        EXISTS (SELECT FROM friends f WHERE f.user_id = $1 AND f.friend_id = $2) AS friends, \
        EXISTS (SELECT FROM friend_requests f WHERE f.user_id = $1 AND f.from_id = $2) AS request_sent, \
        EXISTS (SELECT FROM blocks b WHERE b.user_id = $1 AND b.other_id = $2 AND NOT b.by_me) AS blocked_by_me \
        FROM users u WHERE u.id = $1 AND u.deleted IS NULL \
        AND NOT EXISTS (SELECT FROM blocks b WHERE b.user_id = $1 AND b.other_id = $2 AND b.by_me)"
    );
    let row = db::one(&client, &sql, &[&id, &viewer]).await?;
    app.names.remember(&Person::of(&row));
    let mut relation = None;
    if let Some(viewer) = viewer.filter(|viewer| *viewer != id) {
        let asked = "SELECT FROM friend_requests WHERE user_id = $1 AND from_id = $2";
        relation = Some(Relation {
            following: row.get("following"),
            friends: row.get("friends"),
            request_sent: row.get("request_sent"),
            request_received: db::maybe(&client, asked, &[&viewer, &id]).await?.is_some(),
            blocked_by_me: row.get("blocked_by_me"),
        });
    }
    Ok(Profile {
        person: Person::of(&row),
        bio: row.get("bio"),
        follower_count: row.get("follower_count"),
        following_count: row.get("following_count"),
        post_count: row.get("post_count"),
        created: row.get("created"),
        relation,
    })
}

/// What somebody types to join.
#[derive(Debug, Clone)]
pub struct SignUp {
    pub user_name: String,
    pub email: String,
    pub name: String,
    pub password: String,
}

/// Makes the person; gives the id.
pub async fn sign_up(app: &App, wish: SignUp) -> Result<i64, Error> {
    let user_name = checked_user_name(&wish.user_name)?;
    let email = checked_email(&wish.email)?;
    let name = checked_name(&wish.name)?;
    let hash = passwords::hash(app, wish.password).await?;
    retry!(insert(app, &user_name, &email, &name, &hash)).map_err(taken)
}

/// Makes a person of what is checked already; gives the id.
pub async fn insert(
    app: &App,
    user_name: &str,
    email: &str,
    name: &str,
    hash: &str,
) -> Result<i64, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "INSERT INTO users (user_name, email, name, password_hash) VALUES ($1, $2, $3, $4) RETURNING id";
    let id = db::one(&transaction, sql, &[&user_name, &email, &name, &hash])
        .await?
        .get(0);
    search::enter(&transaction, id, user_name, name).await?;
    transaction.commit().await?;
    Ok(id)
}

fn taken(error: Error) -> Error {
    let (field, message) = match error.duplicate() {
        Some("users_user_name_key") => (
            "user_name",
            "This user name is taken. Please choose another.",
        ),
        Some("users_email_key") => (
            "email",
            "There is an account with this e-mail address already.",
        ),
        _ => return error,
    };
    Error::Conflict { field, message }
}

/// Id of the person with this user name or e-mail address and password.
pub async fn sign_in(app: &App, login: &str, password: String) -> Result<i64, Error> {
    let login = clean(login).trim().to_lowercase();
    let column = if login.contains('@') {
        "email"
    } else {
        "user_name"
    };
    let sql =
        format!("SELECT id, password_hash FROM users WHERE {column} = $1 AND deleted IS NULL");
    let found = {
        let client = app.pool.get().await?;
        db::maybe(&client, &sql, &[&login]).await?
    };
    let hash = found.as_ref().map(|row| row.get(1));
    if passwords::verify(app, password, hash).await? {
        Ok(found.map_or(0, |row| row.get(0)))
    } else {
        Err(Error::invalid(
            "password",
            "The name and the password do not fit together.",
        ))
    }
}

/// Whether it is this person's password.
pub async fn has_password(app: &App, id: i64, password: String) -> Result<bool, Error> {
    let hash = {
        let client = app.pool.get().await?;
        let sql = "SELECT password_hash FROM users WHERE id = $1";
        db::one(&client, sql, &[&id]).await?.get(0)
    };
    passwords::verify(app, password, Some(hash)).await
}

/// Name, text about oneself, and picture (a ready medium of one's own; none leaves it as it is).
pub async fn change(
    app: &App,
    id: i64,
    name: &str,
    bio: &str,
    avatar: Option<i64>,
) -> Result<(), Error> {
    let name = checked_name(name)?;
    let bio = bio.trim();
    if bio.chars().count() > 500 {
        return Err(Error::invalid(
            "bio",
            "Please use at most 500 characters about yourself.",
        ));
    }
    retry!(update(app, id, &name, bio, avatar))
}

async fn update(
    app: &App,
    id: i64,
    name: &str,
    bio: &str,
    avatar: Option<i64>,
) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "UPDATE users SET name = $2, bio = $3 WHERE id = $1 AND deleted IS NULL RETURNING user_name";
    let user_name: String = db::one(&transaction, sql, &[&id, &name, &bio])
        .await?
        .get(0);
    if let Some(avatar) = avatar {
        set_avatar(&transaction, id, avatar).await?;
    }
    search::leave(&transaction, id).await?;
    search::enter(&transaction, id, &user_name, name).await?;
    transaction.commit().await?;
    Ok(())
}

async fn set_avatar(client: &impl GenericClient, id: i64, avatar: i64) -> Result<(), Error> {
    let sql = "UPDATE users SET avatar_id = $2 WHERE id = $1 \
        AND EXISTS (SELECT FROM media m WHERE m.owner_id = $1 AND m.id = $2 AND m.kind = 'image' AND m.state <> 'failed')";
    if db::run(client, sql, &[&id, &avatar]).await? == 0 {
        return Err(Error::invalid(
            "avatar_id",
            "There is no such picture of yours.",
        ));
    }
    Ok(())
}

fn checked_user_name(text: &str) -> Result<String, Error> {
    let text = text.trim().to_lowercase();
    let fine = (3..=30).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !fine {
        let message = "A user name has 3 to 30 letters a to z, digits and underscores.";
        return Err(Error::invalid("user_name", message));
    }
    Ok(text)
}

fn checked_email(text: &str) -> Result<String, Error> {
    let text = text.trim().to_lowercase();
    let fine = text.len() <= 254
        && !text.contains(|character: char| character.is_whitespace() || character.is_control())
        && text.split_once('@').is_some_and(|(who, place)| {
            !who.is_empty()
                && place.contains('.')
                && !place.starts_with('.')
                && !place.ends_with('.')
                && !place.contains('@')
        });
    if !fine {
        return Err(Error::invalid("email", "This is not an e-mail address."));
    }
    Ok(text)
}

fn checked_name(text: &str) -> Result<String, Error> {
    let text = clean(text).replace('\n', " ");
    let text = text.trim();
    if !(1..=60).contains(&text.chars().count()) {
        return Err(Error::invalid(
            "name",
            "Please give a name of 1 to 60 characters.",
        ));
    }
    Ok(text.to_owned())
}

/// Without control characters other than line ends: PostgreSQL has no place for NUL, and nobody for the others. Without
/// those that turn the direction of writing, too: a text would change what stands beside it.
pub fn clean(text: &str) -> String {
    let line_ends = text.replace("\r\n", "\n");
    let turns = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line_ends
        .chars()
        .filter(|character| *character == '\n' || !character.is_control() && !turns(*character))
        .collect()
}

/// Adds to a counter of the person; nothing where there is no such person any more.
pub async fn count(
    client: &impl GenericClient,
    id: i64,
    column: &'static str,
    by: i64,
) -> Result<(), Error> {
    let sql = format!("UPDATE users SET {column} = greatest(0, {column} + $2) WHERE id = $1");
    db::run(client, &sql, &[&id, &by]).await?;
    Ok(())
}
