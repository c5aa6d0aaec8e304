//! `bench social`: the social network under load, on one PostgreSQL and on four shards, in turns.
//!
//! Both have the same people, who follow one another by a power law, and the same posts. As many clients as asked for read
//! their home pages over HTTP, as browsers do, and like and write now and then. What counts is the time of a home page, and by which
//! plans the router answered its queries: none of them may ask all shards.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Parser as _};
use shard_node::Owner;
use social_app::App;
use social_app::config::{Cli, Command, Config};
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::Postgres;
use crate::statistics::{median, percentile};

mod browser;
mod crowd;
mod fill;
mod plans;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 100_000)]
    pub people: u64,
    #[arg(long, default_value_t = 2_000_000)]
    pub posts: u64,
    /// Whom each person follows, about.
    #[arg(long, default_value_t = 20)]
    pub follows: u64,
    /// Followers from which on an account's posts are read by its followers: 1 is fan-in for all, many is fan-out for all.
    #[arg(long, default_value_t = 5000)]
    pub fan_in_from: u64,
    /// People who are there at the same time.
    #[arg(long, default_value_t = 50)]
    pub clients: usize,
    /// Length of each turn.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Turns of each side.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

const SHARDS: usize = 4;
/// The application's connections, and the router's to each shard.
const POOL: usize = 24;

/// The application on one of the databases.
struct Side {
    title: &'static str,
    app: App,
    port: u16,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<anyhow::Result<()>>,
    turns: Vec<crowd::Turn>,
}

impl Side {
    async fn start(
        title: &'static str,
        database: &Endpoint,
        media: &str,
        fan_in_from: u64,
    ) -> anyhow::Result<Side> {
        let app = App::open(config(&database.url(), media, fan_in_from)?)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let stop = CancellationToken::new();
        let served = social_app::server::run(app.clone(), listener, stop.clone().cancelled_owned());
        Ok(Side {
            title,
            app,
            port,
            stop,
            served: tokio::spawn(served),
            turns: Vec::new(),
        })
    }
}

fn config(url: &str, media: &str, fan_in_from: u64) -> anyhow::Result<Config> {
    let (pool, fan_in_from) = (POOL.to_string(), fan_in_from.to_string());
    let arguments = [
        "social-app",
        "serve",
        url,
        "--unlimited",
        "--pool-size",
        &pool,
        "--media",
        media,
        "--fan-in-from",
        &fan_in_from,
    ];
    match Cli::try_parse_from(arguments)?.command {
        Command::Serve(config) => Ok(config),
        _ => anyhow::bail!("the application does not serve"),
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    // The application wants more than the one thread that the other measurements do with.
    let work = async move { measure(options).await };
    tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(work)
    })
    .await?
}

async fn measure(options: Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
    Owner::choose()?.make_directory(directory.path(), 0o755)?;
    eprintln!("starting PostgreSQL and Oskol on {SHARDS} shards");
    let plain = Postgres::start("plain", directory.path(), &[]).await?;
    let oskol = Oskol::start(directory.path(), SHARDS, POOL, 4 * POOL, &[]).await?;
    fill::fill(&plain.endpoint, &oskol.endpoint, &options).await?;
    let media = directory.path().join("media");
    let media = media
        .to_str()
        .context("the temporary directory's name is not UTF-8")?;
    let mut sides = [
        Side::start(
            "one PostgreSQL",
            &plain.endpoint,
            media,
            options.fan_in_from,
        )
        .await?,
        Side::start(
            "Oskol, 4 shards",
            &oskol.endpoint,
            media,
            options.fan_in_from,
        )
        .await?,
    ];
    let pages = plans::of_pages(&oskol, &sides[1]).await?;
    let turn = Duration::from_secs(options.seconds);
    for round in 0..=options.rounds {
        for side in &mut sides {
            let done = crowd::turn(side.port, &side.app, &options, round as u64, turn).await?;
            ensure!(
                done.failures == 0,
                "{}: {} requests failed: {}",
                side.title,
                done.failures,
                done.example
            );
            // The first round fills caches.
            if round > 0 {
                side.turns.push(done);
            }
        }
    }
    print(&options, &sides, &pages);
    for side in sides {
        side.stop.cancel();
        side.served.await??;
    }
    Ok(())
}

fn print(options: &Options, sides: &[Side], pages: &[plans::Page]) {
    println!(
        "{} people, {} posts, {} clients; medians of {} turns of {} s\n",
        options.people, options.posts, options.clients, options.rounds, options.seconds
    );
    println!(
        "| side | requests/s | home page p50 ms | p95 ms | p99 ms | like p99 ms | post p99 ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for side in sides {
        let each = |figure: &dyn Fn(&crowd::Turn) -> f64| median(side.turns.iter().map(figure));
        let home = |percent: f64| each(&|turn| percentile(&turn.home, percent) as f64 / 1e3);
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            side.title,
            each(&|turn| turn.requests() as f64 / options.seconds as f64),
            home(50.0),
            home(95.0),
            home(99.0),
            each(&|turn| percentile(&turn.like, 99.0) as f64 / 1e3),
            each(&|turn| percentile(&turn.post, 99.0) as f64 / 1e3),
        );
    }
    println!("\n| page | queries by plan of the router |\n|---|---|");
    for page in pages {
        println!("| {} | {} |", page.name, page.plans);
    }
}
