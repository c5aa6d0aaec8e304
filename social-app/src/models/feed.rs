//! The home feed: entries that were written for the reader, mixed with the posts of followed accounts whose followers are
//! too many to write to.

use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;

use crate::models::cursor::{Cursor, Page};
use crate::models::posts::{self, Post};
use crate::{App, Error, db};

/// Where a post is, and when it was written: sorted as the feed is, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    created: OffsetDateTime,
    post: i64,
    author: i64,
}

/// The next posts of the reader's home feed. A page may be shorter than asked for where posts were deleted meanwhile, or
/// their shard is down; only `next` says whether there are more.
pub async fn page(
    app: &App,
    reader: i64,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Post>, Error> {
    let (mut entries, authors) = written(app, reader, cursor, size).await?;
    if !authors.is_empty() {
        entries.extend(unwritten(app, &authors, cursor, size).await?);
        entries.sort_unstable();
        entries.dedup();
        entries.reverse();
    }
    let page = Page::of(entries, size, |entry| Cursor {
        created: entry.created,
        id: entry.post,
    });
    let mut posts = fetch(app, reader, &page.items).await?;
    Ok(Page {
        items: page
            .items
            .iter()
            .filter_map(|entry| posts.remove(&entry.post))
            .collect(),
        next: page.next,
    })
}

/// From the reader's own shard: entries, the newest first, and the followed accounts whose posts are not among them.
async fn written(
    app: &App,
    reader: i64,
    cursor: Cursor,
    size: usize,
) -> Result<(Vec<Entry>, Vec<i64>), Error> {
    let entries = "SELECT created, post_id, author_id FROM feed WHERE user_id = $1 AND (created, post_id) < ($2, $3) \
        ORDER BY created DESC, post_id DESC LIMIT $4";
    let many = "SELECT followee_id FROM follows WHERE user_id = $1 AND fan_in";
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let entries = db::all(
        &client,
        entries,
        &[&reader, &cursor.created, &cursor.id, &limit],
    )
    .await?;
    let many = db::all(&client, many, &[&reader]).await?;
    let authors = many.iter().map(|row| row.get(0)).collect();
    Ok((entries.iter().map(entry).collect(), authors))
}

fn entry(row: &tokio_postgres::Row) -> Entry {
    Entry {
        created: row.get(0),
        post: row.get(1),
        author: row.get(2),
    }
}

/// From the authors' shards; where one is down, from the others.
async fn unwritten(
    app: &App,
    authors: &[i64],
    cursor: Cursor,
    size: usize,
) -> Result<Vec<Entry>, Error> {
    match unwritten_of(app, authors, cursor, size).await {
        Err(error) if error.is_unavailable() => {
            let mut found = Vec::new();
            for author in authors {
                match unwritten_of(app, &[*author], cursor, size).await {
                    Err(error) if error.is_unavailable() => {}
                    entries => found.extend(entries?),
                }
            }
            found.sort_unstable_by(|one, other| other.cmp(one));
            found.truncate(size + 1);
            Ok(found)
        }
        found => found,
    }
}

async fn unwritten_of(
    app: &App,
    authors: &[i64],
    cursor: Cursor,
    size: usize,
) -> Result<Vec<Entry>, Error> {
    let sql = "SELECT created, id, author_id FROM posts WHERE author_id = ANY($1) AND fan_in AND (created, id) < ($2, $3) \
        ORDER BY created DESC, id DESC LIMIT $4";
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let rows = db::all(
        &client,
        sql,
        &[&authors, &cursor.created, &cursor.id, &limit],
    )
    .await?;
    Ok(rows.iter().map(entry).collect())
}

/// The posts themselves, by id. Where a shard is down, those of the others.
async fn fetch(app: &App, reader: i64, entries: &[Entry]) -> Result<HashMap<i64, Post>, Error> {
    if entries.is_empty() {
        return Ok(HashMap::new());
    }
    let mut by_author: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for entry in entries {
        by_author.entry(entry.author).or_default().push(entry.post);
    }
    let authors: Vec<i64> = by_author.keys().copied().collect();
    let ids: Vec<i64> = entries.iter().map(|entry| entry.post).collect();
    let mut posts = HashMap::new();
    match fetch_of(app, reader, &authors, &ids).await {
        Err(error) if error.is_unavailable() => {
            for (author, ids) in by_author {
                match fetch_of(app, reader, &[author], &ids).await {
                    Ok(found) => posts.extend(found),
                    Err(error) if error.is_unavailable() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        found => posts.extend(found?),
    }
    Ok(posts)
}

async fn fetch_of(
    app: &App,
    reader: i64,
    authors: &[i64],
    ids: &[i64],
) -> Result<Vec<(i64, Post)>, Error> {
    let sql = posts::select("p.author_id = ANY($2) AND p.id = ANY($3)");
    let client = app.pool.get().await?;
    let rows = db::all(&client, &sql, &[&reader, &authors, &ids]).await?;
    let posts = rows.iter().map(Post::of);
    Ok(posts
        .inspect(|post| app.names.remember(&post.author))
        .map(|post| (post.id, post))
        .collect())
}
