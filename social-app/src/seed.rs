//! A lively small town, made up: the same seed makes the same people, who say the same.
//!
//! `town` makes up who there is and what they do, `rows` writes it in few statements, `words` has what people say.

mod gallery;
pub mod pictures;
mod rows;
mod town;
mod words;

use anyhow::{Context as _, bail};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::config::SeedOptions;
use crate::models::passwords;
use crate::{App, db};

/// Of everybody in the town.
pub const PASSWORD: &str = "oskol-town";

/// Migrates, and fills an empty database.
pub async fn seed(app: &App, options: &SeedOptions) -> anyhow::Result<()> {
    let mut client = db::connect(&app.config.url).await?;
    db::migrate::migrate(&mut client).await?;
    if client
        .query_opt("SELECT id FROM users LIMIT 1", &[])
        .await?
        .is_some()
    {
        if options.if_empty {
            return Ok(());
        }
        bail!("there are people in this database already; a town is made in an empty one");
    }
    fill(app, options).await?;
    println!(
        "{} people live here now; sign in as ada with the password {PASSWORD}",
        options.people
    );
    Ok(())
}

async fn fill(app: &App, options: &SeedOptions) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let hash = passwords::hash(app, PASSWORD.to_owned()).await?;
    let people = town::people(options.people as usize, &mut random);
    let ids = rows::people(app, &people, &hash).await.context("people")?;
    let bonds = town::bonds(people.len(), &mut random);
    rows::bonds(app, &ids, &bonds)
        .await
        .context("who follows whom")?;
    let posts = town::posts(people.len(), &bonds, &mut random);
    let posts = rows::posts(app, &ids, posts).await.context("posts")?;
    let most = options.pictures as usize;
    gallery::faces(app, &ids, most).await.context("faces")?;
    gallery::landscapes(app, &ids, &posts, most)
        .await
        .context("pictures")?;
    rows::feeds(app, &ids, &bonds, &posts)
        .await
        .context("feeds")?;
    let said = town::answers(&people, &bonds, &posts, &mut random);
    rows::answers(app, &ids, &posts, &said)
        .await
        .context("likes and comments")?;
    let talks = town::talks(&bonds, &mut random);
    rows::talks(app, &ids, &talks).await.context("messages")?;
    Ok(())
}
