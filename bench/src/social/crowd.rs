//! People who read, like and write, all at the same time.

use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use social_app::App;

use super::Options;
use super::browser::Browser;

/// What one turn brought: times in microseconds, ascending.
#[derive(Default)]
pub struct Turn {
    pub home: Vec<u64>,
    pub profile: Vec<u64>,
    pub like: Vec<u64>,
    pub post: Vec<u64>,
    pub failures: usize,
    pub example: String,
}

impl Turn {
    pub fn requests(&self) -> usize {
        self.all().iter().map(|times| times.len()).sum()
    }

    fn all(&self) -> [&Vec<u64>; 4] {
        [&self.home, &self.profile, &self.like, &self.post]
    }

    fn add(&mut self, mut other: Turn) {
        self.home.append(&mut other.home);
        self.profile.append(&mut other.profile);
        self.like.append(&mut other.like);
        self.post.append(&mut other.post);
        self.failures += other.failures;
        if self.example.is_empty() {
            self.example = other.example;
        }
    }
}

pub async fn turn(
    port: u16,
    app: &App,
    options: &Options,
    seed: u64,
    length: Duration,
) -> anyhow::Result<Turn> {
    let mut people = tokio::task::JoinSet::new();
    for number in 0..options.clients {
        // The same people on both sides.
        let mut random = StdRng::seed_from_u64(seed << 32 | number as u64);
        let person = random.random_range(1..=options.people) as i64;
        let browser = Browser::open(app, port, person).await?;
        let (all, posts) = (options.people, options.posts);
        people.spawn(async move { one(browser, random, all, posts, length).await });
    }
    let mut turn = Turn::default();
    while let Some(done) = people.join_next().await {
        turn.add(done.context("a client panicked")?);
    }
    for times in [
        &mut turn.home,
        &mut turn.profile,
        &mut turn.like,
        &mut turn.post,
    ] {
        times.sort_unstable();
    }
    Ok(turn)
}

async fn one(
    mut browser: Browser,
    mut random: StdRng,
    people: u64,
    posts: u64,
    length: Duration,
) -> Turn {
    let mut turn = Turn::default();
    let end = Instant::now() + length;
    while Instant::now() < end {
        let start = Instant::now();
        let dice = random.random_range(0..100);
        let (outcome, times) = match dice {
            0..85 => (browser.page("/").await, &mut turn.home),
            85..90 => {
                let name = random.random_range(1..=people);
                (
                    browser.page(&format!("/@user_{name}")).await,
                    &mut turn.profile,
                )
            }
            90..97 => {
                // Posts are divided among authors as `fill` divides them.
                let post = random.random_range(1..=posts);
                let path = format!(
                    "/posts/{}/{post}/like",
                    super::fill::author_of(post, people)
                );
                (browser.call(Method::PUT, &path, "").await, &mut turn.like)
            }
            _ => {
                let body = "{\"body\": \"What a day in this town.\"}";
                (
                    browser.call(Method::POST, "/posts", body).await,
                    &mut turn.post,
                )
            }
        };
        match outcome {
            Ok(_) => times.push(start.elapsed().as_micros() as u64),
            Err(error) => {
                turn.failures += 1;
                turn.example = format!("{error:#}");
                // A connection that broke stays broken.
                return turn;
            }
        }
    }
    turn
}
