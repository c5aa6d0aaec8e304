//! The command line, which is the whole configuration. Every option may come from the environment instead.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// A social network on a PostgreSQL connection string.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What is logged, to standard error: info, debug, or a filter such as "info,social_app=debug".
    #[arg(long, env = "SOCIAL_LOG", default_value = "info", global = true)]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(args_override_self = true)]
    /// Migrate, then serve pages, the API and media until Ctrl-C.
    Serve(Config),
    /// Apply the migrations that the database has not seen.
    Migrate {
        #[arg(env = "DATABASE_URL", hide_env_values = true)]
        url: String,
    },
    /// Fill an empty database with a lively small town.
    Seed(SeedOptions),
    /// Show background jobs, and those that were given up with what was wrong.
    Jobs {
        #[arg(env = "DATABASE_URL", hide_env_values = true)]
        url: String,
        /// Let a dead job, OWNER/ID as listed, be tried again.
        #[arg(long, value_name = "OWNER/ID", value_parser = job_name)]
        retry: Option<(i64, i64)>,
        /// Remove a dead job.
        #[arg(long, value_name = "OWNER/ID", value_parser = job_name, conflicts_with = "retry")]
        forget: Option<(i64, i64)>,
    },
    /// Count the rows of every table.
    Counts {
        #[arg(env = "DATABASE_URL", hide_env_values = true)]
        url: String,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Config {
    /// postgres://user:password@host:port/database; passfile=FILE among its parameters is read as libpq does.
    #[arg(env = "DATABASE_URL", hide_env_values = true)]
    pub url: String,
    /// Address and port for browsers and programs.
    #[arg(long, env = "SOCIAL_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where pictures and videos are kept: a directory, or s3://bucket/path (credentials from AWS_* in the environment).
    #[arg(long, env = "SOCIAL_MEDIA", default_value = "social-media")]
    pub media: String,
    /// Cookies are sent over HTTPS only: set it where a proxy in front speaks HTTPS.
    #[arg(long, env = "SOCIAL_SECURE_COOKIES")]
    pub secure_cookies: bool,
    /// The client's address is the last one of X-Forwarded-For: set it where a proxy in front writes that header.
    #[arg(long, env = "SOCIAL_BEHIND_PROXY")]
    pub behind_proxy: bool,
    /// Connections to the database.
    #[arg(long, env = "SOCIAL_POOL_SIZE", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..))]
    pub pool_size: u16,
    /// Connections from browsers and programs at the same time; more wait to be accepted.
    #[arg(long, env = "SOCIAL_MAX_CONNECTIONS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Followers from which on an account's posts are read by its followers rather than written to each of them.
    #[arg(long, env = "SOCIAL_FAN_IN_FROM", default_value_t = 5000)]
    pub fan_in_from: i64,
    /// Background jobs that run at the same time; 0: this process runs none.
    #[arg(long, env = "SOCIAL_WORKERS", default_value_t = 4)]
    pub workers: u16,
    /// How often each person's open pages look for news that other processes made, in milliseconds.
    #[arg(long, env = "SOCIAL_LIVE_INTERVAL", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(50..))]
    pub live_interval: u64,
    /// No rate limits: for load tests only.
    #[arg(long, env = "SOCIAL_UNLIMITED")]
    pub unlimited: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SeedOptions {
    #[command(flatten)]
    pub config: Config,
    /// People of the town.
    #[arg(long, env = "SOCIAL_PEOPLE", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub people: u32,
    /// The same seed makes the same town.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Posts with a picture that is drawn, and people with a face; 0: none.
    #[arg(long, env = "SOCIAL_PICTURES", default_value_t = 60)]
    pub pictures: u32,
    /// Do nothing where there are people already; otherwise that is an error.
    #[arg(long)]
    pub if_empty: bool,
}

fn job_name(text: &str) -> Result<(i64, i64), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(owner, id)| Some((owner.parse().ok()?, id.parse().ok()?)));
    numbers.ok_or_else(|| "a job is named OWNER/ID, two numbers".to_owned())
}
