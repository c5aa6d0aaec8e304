//! The program `social-app serve|migrate|seed|jobs|counts URL`: its arguments, its log.

use anyhow::Context as _;
use clap::Parser as _;

use crate::config::{Cli, Command};
use crate::{App, db, jobs, seed, server};

/// Reads the arguments of the process, and does what they say until it is done.
pub fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_new(&cli.log).context("--log is not a filter")?,
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(config) => server::serve(config, server::on_signal()).await,
        Command::Migrate { url } => {
            match db::migrate::migrate(&mut db::connect(&url).await?)
                .await?
                .as_slice()
            {
                [] => println!("nothing to do"),
                applied => println!("applied {}", applied.join(", ")),
            }
            Ok(())
        }
        Command::Seed(options) => seed::seed(&App::open(options.config.clone())?, &options).await,
        Command::Jobs { url, retry, forget } => {
            let pool = db::pool(&url, 1)?;
            jobs::dead::command(&pool, retry, forget).await
        }
        Command::Counts { url } => {
            for (table, rows) in db::migrate::counts(&db::connect(&url).await?).await? {
                println!("{rows:>10} {table}");
            }
            Ok(())
        }
    }
}
