//! Opening a server connection: dial, log in, read what it reports.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use topology::ShardId;

use super::Server;
use super::login::{LoggedIn, LoginError, login};
use crate::cancel::deliver;
use crate::config::{Config, ShardConfig};
use crate::credentials::Credentials;
use crate::dial::{DialError, Dialer};
use crate::error::RouterError;
use crate::failover::{Attempt, is_starting_or_ending};
use crate::settings::{Interner, Parameters, Settings};
use crate::stream::Stream;

/// A user on a database, as one worker knows it.
#[derive(Debug)]
pub struct Account {
    /// Unique on its worker.
    pub number: u32,
    pub user: String,
    pub database: String,
    /// What the last client of this user has proved.
    pub credentials: RefCell<Credentials>,
}

impl Account {
    pub fn new(number: u32, user: &str, database: &str) -> Self {
        let (user, database) = (user.to_owned(), database.to_owned());
        Self {
            number,
            user,
            database,
            credentials: RefCell::default(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    Router(RouterError),
    /// The shard's ErrorResponse to the log-in, the whole message.
    Refused(Bytes),
}

impl From<RouterError> for ConnectError {
    fn from(error: RouterError) -> Self {
        Self::Router(error)
    }
}

/// Opens connections to the shards of one cluster.
#[derive(Debug)]
pub struct Connector {
    config: Arc<Config>,
    dialer: Dialer,
    intern: Rc<Interner<Parameters>>,
    plain: Rc<Settings>,
}

impl Connector {
    /// Errors: the TLS files of the configuration cannot be used.
    pub fn new(
        config: Arc<Config>,
        intern: Rc<Interner<Parameters>>,
        plain: Rc<Settings>,
    ) -> Result<Self, DialError> {
        let dialer = Dialer::new(&config.cluster)?;
        Ok(Self {
            config,
            dialer,
            intern,
            plain,
        })
    }

    /// Dials and logs in as `account`.
    pub async fn connect(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
    ) -> Result<Server, ConnectError> {
        let cluster = &self.config.cluster;
        let place = cluster.shards.find(shard);
        let place = place.ok_or_else(|| unknown_shard(shard))?;
        let several = place.each_host().len() > 1;
        let primaries = self.dialer.primaries();
        let attempt = |host| self.attempt(host, account, several);
        primaries
            .find(&place, cluster.failover_timeout, attempt)
            .await
    }

    /// Dials and logs in at one host; `several`: a standby will not do.
    async fn attempt(
        &self,
        host: ShardConfig,
        account: &Rc<Account>,
        several: bool,
    ) -> Attempt<Server, ConnectError> {
        let mut stream = match self.dialer.dial(&host).await {
            Ok(stream) => stream,
            Err(error) => return Attempt::Elsewhere(unreachable_shard(host.id, &error).into()),
        };
        match self.log_in(&mut stream, account).await {
            Ok(found) if several && is_standby(&found) => {
                Attempt::Elsewhere(no_primary(host.id).into())
            }
            Ok(found) => Attempt::Primary(self.server(stream, host.id, account, found)),
            Err(error) if passes(&error) => Attempt::Elsewhere(refused(error, &account.user)),
            Err(error) => Attempt::Final(refused(error, &account.user)),
        }
    }

    async fn log_in(
        &self,
        stream: &mut Stream,
        account: &Rc<Account>,
    ) -> Result<LoggedIn, LoginError> {
        let credentials = account.credentials.borrow().clone();
        let settings = self.server_settings();
        let settings: Vec<_> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let (user, database) = (&account.user, &account.database);
        let limit = self.config.cluster.connect_timeout;
        login(stream, user, database, &settings, &credentials, limit).await
    }

    /// Asks a shard to cancel what one of its server processes runs; waits until it was told. One
    /// that cannot be reached has nothing to cancel.
    pub async fn cancel(&self, shard: ShardId, process_id: u32, secret: &[u8]) {
        let cluster = &self.config.cluster;
        let Some(place) = cluster.shards.find(shard) else {
            return;
        };
        // The other hosts know no such process and secret.
        for host in place.each_host() {
            if let Err(error) = self.cancel_at(&host, process_id, secret).await {
                tracing::warn!(%shard, %error, "a cancel request was not delivered");
            }
        }
    }

    async fn cancel_at(
        &self,
        host: &ShardConfig,
        process_id: u32,
        secret: &[u8],
    ) -> Result<(), String> {
        let stream = self.dialer.dial(host).await.map_err(|e| e.to_string())?;
        deliver(
            stream,
            process_id,
            secret,
            self.config.cluster.connect_timeout,
        )
        .await
        .map_err(|e| e.to_string())
    }

    /// Limits that PostgreSQL itself enforces, as startup parameters.
    fn server_settings(&self) -> Vec<(&'static str, String)> {
        let limits = &self.config.limits;
        let timeouts = [("statement_timeout", limits.statement_timeout)];
        let set = timeouts.into_iter().filter(|(_, limit)| !limit.is_zero());
        set.map(|(name, limit)| (name, limit.as_millis().to_string()))
            .collect()
    }

    fn server(
        &self,
        stream: Stream,
        shard: ShardId,
        account: &Rc<Account>,
        logged_in: LoggedIn,
    ) -> Server {
        let statements = self.config.pool.prepared_statements;
        let mut server = Server::new(stream, shard, Rc::clone(account), statements);
        server.process_id = logged_in.process_id;
        server.secret = logged_in.secret;
        server.inbuf = logged_in.leftover;
        let values = logged_in.parameters.into_iter().collect();
        server.parameters = self.intern.intern(Parameters { values });
        server.settings = Rc::clone(&self.plain);
        server
    }
}

fn unknown_shard(shard: ShardId) -> RouterError {
    RouterError::new(
        "08001",
        format!("shard {shard} is not a shard of the cluster"),
    )
    .hint("Add it with oskol shard add; SHOW SHARDS in the admin database lists those that are known.")
}

fn unreachable_shard(shard: ShardId, error: &DialError) -> RouterError {
    RouterError::new("08001", format!("shard {shard} cannot be reached"))
        .detail(error.to_string())
        .hint("Rows on other shards can still be used; SHOW SHARDS in the admin database tells which are up.")
}

/// Since version 14 a server says so at the log-in.
fn is_standby(found: &LoggedIn) -> bool {
    let mut values = found.parameters.iter();
    values.any(|(name, value)| name == "in_hot_standby" && value == "on")
}

/// Another host, or the same one a little later, may answer otherwise.
fn passes(error: &LoginError) -> bool {
    match error {
        LoginError::Io(_) | LoginError::TimedOut(_) => true,
        LoginError::Refused(message) => {
            let said = message.get(wire::header::LENGTH..);
            let said = said.and_then(|body| wire::backend::ErrorResponse::parse(body).ok());
            said.is_some_and(|error| is_starting_or_ending(error.sqlstate()))
        }
        _ => false,
    }
}

fn no_primary(shard: ShardId) -> RouterError {
    RouterError::new("08001", format!("no host of shard {shard} is a primary"))
        .detail("Those that answer are standbys (cluster.failover_timeout has passed).")
        .hint("Rows on other shards can still be used; promote a standby, or see what its failover manager says.")
}

fn refused(error: LoginError, user: &str) -> ConnectError {
    match error {
        LoginError::Refused(bytes) => ConnectError::Refused(bytes),
        other => ConnectError::Router(other.to_router_error(user)),
    }
}
