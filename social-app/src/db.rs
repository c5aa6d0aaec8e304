//! Connections to the database: a pool, and the few ways in which statements are sent.

pub mod migrate;
mod passfile;

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};

use crate::Error;

/// Longest wait for a connection, and to make one.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// Longest run of one statement.
const STATEMENT_TIMEOUT: &str = "-c statement_timeout=15s";

/// Of one more than there may be servers to ask in turn.
const PREPARE_TRIES: u32 = 5;

pub type Parameters<'a> = [&'a (dyn ToSql + Sync)];

/// Connects when it is first used.
pub fn pool(url: &str, size: usize) -> anyhow::Result<Pool> {
    let mut config = parse(url)?;
    if config.get_options().is_none() {
        config.options(STATEMENT_TIMEOUT);
    }
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Ok(Pool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(CONNECTION_WAIT))
        .create_timeout(Some(CONNECTION_WAIT))
        .runtime(Runtime::Tokio1)
        .build()?)
}

/// One connection of its own; it ends with the client.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let connecting = parse(url)?;
    let (client, connection) = connecting
        .connect(NoTls)
        .await
        .context("cannot connect to the database")?;
    tokio::spawn(async move {
        // Its error is the next statement's error too.
        let _ = connection.await;
    });
    Ok(client)
}

fn parse(url: &str) -> anyhow::Result<tokio_postgres::Config> {
    let (url, passfile) = passfile::split(url);
    let mut config = tokio_postgres::Config::from_str(&url)
        .context("the database's connection string is not understood")?;
    if let (Some(passfile), None) = (passfile, config.get_password()) {
        let password = passfile::password(&passfile, &config)?;
        config.password(password);
    }
    config.connect_timeout(CONNECTION_WAIT);
    config.application_name("social-app");
    Ok(config)
}

/// Types of the parameters of each statement text of this program, as PostgreSQL has inferred them once.
/// At most [`TYPES_KEPT`]; of more the types are asked for again each time.
static TYPES: RwLock<BTreeMap<String, Arc<[Type]>>> = RwLock::new(BTreeMap::new());

/// Some times what this program has.
const TYPES_KEPT: usize = 2_000;

/// Prepared once for each connection, with the types of its parameters declared: whoever stands between us and the rows
/// then knows the value of a parameter that is used more than once.
///
/// Preparing changes nothing, so it is tried again where it failed for want of a server: another one may answer.
async fn prepare(client: &impl GenericClient, sql: &str) -> Result<Statement, Error> {
    let mut tries = 0;
    loop {
        match prepare_once(client, sql).await {
            Err(error)
                if tries < PREPARE_TRIES
                    && error.sqlstate().is_some()
                    && error.is_unavailable() =>
            {
                tries += 1
            }
            done => return done,
        }
    }
}

async fn prepare_once(client: &impl GenericClient, sql: &str) -> Result<Statement, Error> {
    let known = TYPES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(sql)
        .cloned();
    let types = match known {
        Some(types) => types,
        None => {
            let inferred: Arc<[Type]> = client.prepare(sql).await?.params().into();
            let mut all = TYPES.write().unwrap_or_else(PoisonError::into_inner);
            if all.len() < TYPES_KEPT {
                all.insert(sql.to_owned(), Arc::clone(&inferred));
            }
            inferred
        }
    };
    Ok(client.prepare_typed_cached(sql, &types).await?)
}

/// Every statement that this process has sent so far, with the types of its parameters.
pub fn statements() -> Vec<(String, Vec<Type>)> {
    let all = TYPES.read().unwrap_or_else(PoisonError::into_inner);
    all.iter()
        .map(|(sql, types)| (sql.clone(), types.to_vec()))
        .collect()
}

/// All rows. The statement is prepared once for each connection.
pub async fn all(
    client: &impl GenericClient,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Vec<Row>, Error> {
    let statement = prepare(client, sql).await?;
    Ok(client.query(&statement, parameters).await?)
}

/// The first row, if there is one.
pub async fn maybe(
    client: &impl GenericClient,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Option<Row>, Error> {
    Ok(all(client, sql, parameters).await?.into_iter().next())
}

/// The first row, or [`Error::NotFound`].
pub async fn one(
    client: &impl GenericClient,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Row, Error> {
    maybe(client, sql, parameters).await?.ok_or(Error::NotFound)
}

/// How many rows were written.
pub async fn run(
    client: &impl GenericClient,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<u64, Error> {
    let statement = prepare(client, sql).await?;
    Ok(client.execute(&statement, parameters).await?)
}
