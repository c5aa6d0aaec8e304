//! The statements of the admin database: `SHOW ...`, and those of [`super::operations`].

use std::sync::Arc;

use super::{AdminState, AdminTable, Column, Operation, show};
use crate::error::RouterError;
use wire::sqlstate;

/// One statement of the admin database.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Buckets,
    Clients,
    Config,
    Databases,
    Help,
    Locks,
    Pools,
    Servers,
    Shards,
    Standbys,
    Stats,
    Tables,
    Transactions,
    Version,
    Operate(Operation),
}

impl Command {
    pub const ALL: [Self; 14] = [
        Self::Buckets,
        Self::Clients,
        Self::Config,
        Self::Databases,
        Self::Help,
        Self::Locks,
        Self::Pools,
        Self::Servers,
        Self::Shards,
        Self::Standbys,
        Self::Stats,
        Self::Tables,
        Self::Transactions,
        Self::Version,
    ];

    /// The word behind SHOW.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Buckets => "BUCKETS",
            Self::Clients => "CLIENTS",
            Self::Config => "CONFIG",
            Self::Databases => "DATABASES",
            Self::Help => "HELP",
            Self::Locks => "LOCKS",
            Self::Pools => "POOLS",
            Self::Servers => "SERVERS",
            Self::Shards => "SHARDS",
            Self::Standbys => "STANDBYS",
            Self::Stats => "STATS",
            Self::Tables => "TABLES",
            Self::Transactions => "TRANSACTIONS",
            Self::Version => "VERSION",
            Self::Operate(_) => "",
        }
    }

    pub(super) fn purpose(&self) -> &'static str {
        match self {
            Self::Buckets => "where each hash bucket is",
            Self::Clients => "clients and what they do",
            Self::Config => "configuration in force",
            Self::Databases => "databases in use and their tables by placement",
            Self::Help => "this list",
            Self::Locks => "who waits for whose lock, on all shards",
            Self::Pools => "server connections and waiting clients, by shard",
            Self::Servers => "server connections, one by one",
            Self::Shards => "shards, their health and their share",
            Self::Standbys => "hosts of shards with several, and how far behind they are",
            Self::Stats => "traffic by database; avg_ columns are per second over the last minute",
            Self::Tables => "tables that are not local, and their shard keys",
            Self::Transactions => {
                "open transactions, those in doubt, and what became of those that clients were not told of"
            }
            Self::Version => "version of the router",
            Self::Operate(_) => "",
        }
    }

    /// None: nothing but white space, comments aside, and `;`.
    ///
    /// # Errors
    /// 42601: it is none of these statements.
    pub fn parse(text: &str) -> Result<Option<Self>, RouterError> {
        let typed: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c == ';')
            .filter(|word| !word.is_empty())
            .collect();
        let words: Vec<String> = typed.iter().map(|word| word.to_ascii_uppercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words.is_empty() {
            return Ok(None);
        }
        if let Some(operation) = Operation::parse(&words, &typed) {
            return Ok(Some(Self::Operate(operation)));
        }
        let found = match words.as_slice() {
            ["SHOW", name] => Self::ALL
                .into_iter()
                .find(|command| command.name() == *name),
            _ => None,
        };
        found.map(Some).ok_or_else(|| unknown(text))
    }

    /// What its table will look like.
    pub fn columns(&self) -> &'static [Column] {
        match self {
            Self::Buckets => show::cluster::BUCKETS,
            Self::Clients => show::sessions::CLIENTS,
            Self::Config => show::about::CONFIG,
            Self::Databases => show::catalog::DATABASES,
            Self::Help => show::about::HELP,
            Self::Locks => show::locks::LOCKS,
            Self::Pools => show::servers::POOLS,
            Self::Servers => show::servers::SERVERS,
            Self::Shards => show::cluster::SHARDS,
            Self::Standbys => show::standbys::STANDBYS,
            Self::Stats => show::stats::STATS,
            Self::Tables => show::catalog::TABLES,
            Self::Transactions => show::sessions::TRANSACTIONS,
            Self::Version => show::about::VERSION,
            Self::Operate(operation) => operation.columns(),
        }
    }

    /// # Errors
    /// A worker does not answer.
    pub async fn run(&self, state: &Arc<AdminState>) -> Result<AdminTable, RouterError> {
        let rows = match self {
            Self::Buckets => show::cluster::buckets(state),
            Self::Clients => show::sessions::clients(&state.reports().await?),
            Self::Config => show::about::config(&state.config),
            Self::Databases => show::catalog::databases(state),
            Self::Help => show::about::help(),
            Self::Locks => show::locks::locks(&state.reports().await?, &state.lock_waits().await?),
            Self::Pools => show::servers::pools(&state.config, &state.reports().await?),
            Self::Servers => show::servers::servers(&state.reports().await?),
            Self::Shards => show::cluster::shards(state),
            Self::Standbys => show::standbys::standbys(state),
            Self::Stats => show::stats::stats(state),
            Self::Tables => show::catalog::tables(state),
            Self::Transactions => {
                let (in_doubt, unknown) = (state.board.in_doubt(), state.board.unknown());
                show::sessions::transactions(&state.reports().await?, &in_doubt, &unknown)
            }
            Self::Version => show::about::version(),
            Self::Operate(operation) => state.operate(operation.clone()).await?,
        };
        Ok(AdminTable {
            columns: self.columns(),
            rows,
        })
    }
}

fn unknown(text: &str) -> RouterError {
    let names: Vec<&str> = Command::ALL.iter().map(|command| command.name()).collect();
    let shown: String = text.chars().take(60).collect();
    RouterError::new(
        sqlstate::SYNTAX_ERROR,
        format!("the admin database does not know: {}", shown.trim()),
    )
    .hint(format!(
        "It answers SHOW with one of {}; SHOW HELP lists what else it does.",
        names.join(", ")
    ))
}

/// Parses and runs one statement; none for an empty text.
///
/// # Errors
/// See [`Command::parse`] and [`Command::run`].
pub async fn run(text: &str, state: &Arc<AdminState>) -> Result<Option<AdminTable>, RouterError> {
    match Command::parse(text)? {
        None => Ok(None),
        Some(command) => command.run(state).await.map(Some),
    }
}
