//! People found by the beginnings of their names. The words are divided by their first two letters: one shard a search.

use std::collections::BTreeSet;

use deadpool_postgres::GenericClient;

use crate::models::people::{self, Person};
use crate::{App, Error, db};

const MOST: i64 = 20;

/// Lower case words of a text, each with its first two letters; shorter ones do not count.
fn words(text: &str) -> BTreeSet<(String, String)> {
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_alphanumeric());
    words
        .filter_map(|word| {
            let word: String = word.chars().take(30).collect();
            let prefix: String = word.chars().take(2).collect();
            (prefix.chars().count() == 2).then_some((prefix, word))
        })
        .collect()
}

/// The person can be found by these names from now on.
pub async fn enter(
    client: &impl GenericClient,
    id: i64,
    user_name: &str,
    name: &str,
) -> Result<(), Error> {
    let mut all = words(&format!("{user_name} {name}"));
    if user_name.contains('_') {
        all.insert((user_name.chars().take(2).collect(), user_name.to_owned()));
    }
    let (prefixes, words): (Vec<String>, Vec<String>) = all.into_iter().unzip();
    let sql = "INSERT INTO names (prefix, word, user_id, user_name, name) \
        SELECT t.prefix, t.word, $3::bigint, $4::text, $5::text FROM unnest($1::text[], $2::text[]) AS t (prefix, word)";
    db::run(client, sql, &[&prefixes, &words, &id, &user_name, &name]).await?;
    Ok(())
}

/// The person cannot be found any more. Asks all shards: names change seldom.
pub async fn leave(client: &impl GenericClient, id: i64) -> Result<(), Error> {
    db::run(client, "DELETE FROM names WHERE user_id = $1", &[&id]).await?;
    Ok(())
}

/// People one of whose words begins with the text's first word, and that have the others in their names, too;
/// without those with whom the viewer has a block.
pub async fn find(app: &App, viewer: i64, text: &str) -> Result<Vec<Person>, Error> {
    let text = people::clean(text);
    let text: String = text
        .trim()
        .trim_start_matches('@')
        .chars()
        .take(100)
        .collect();
    let lower = text.to_lowercase();
    let mut parts = lower.split_whitespace();
    let Some(first) = parts.next() else {
        return Ok(Vec::new());
    };
    let prefix: String = first.chars().take(2).collect();
    if prefix.chars().count() < 2 {
        return Ok(Vec::new());
    }
    let others: Vec<String> = parts.map(|part| format!("%{}%", escaped(part))).collect();
    let begins = format!("{}%", escaped(first));
    let sql = "SELECT user_id FROM names WHERE prefix = $1 AND word COLLATE \"C\" LIKE $2 AND lower(name) LIKE ALL ($3) \
        GROUP BY user_id, user_name ORDER BY min(length(word)), user_name COLLATE \"C\" LIMIT $4";
    let client = app.pool.get().await?;
    let rows = db::all(&client, sql, &[&prefix, &begins, &others, &MOST]).await?;
    drop(client);
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut found = people::seen_by(app, Some(viewer), ids.iter().copied()).await?;
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// For LIKE, where these stand for themselves.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_people_type() {
        let words: Vec<String> = words("ada_l Ada Łovelace-King x")
            .into_iter()
            .map(|(_, word)| word)
            .collect();
        assert_eq!(words, ["ada", "king", "łovelace"]);
    }
}
