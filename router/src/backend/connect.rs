//! Opening a server connection: dial, log in, read what it reports.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use schema::Admission;
use socket2::SockRef;
use topology::ShardId;

use super::login::{LoggedIn, LoginError, login};
use super::{QueryError, Server};
use crate::cancel::deliver;
use crate::config::{Config, ShardConfig};
use crate::credentials::Credentials;
use crate::dial::{DialError, Dialer};
use crate::error::RouterError;
use crate::failover::{Attempt, is_starting_or_ending};
use crate::settings::{Interner, Parameters, Settings};
use crate::standbys::Standby;
use crate::stream::Stream;

/// A user on a database, as one worker knows it.
#[derive(Debug)]
pub struct Account {
    /// Unique on its worker.
    pub number: u32,
    pub user: String,
    pub database: String,
    /// What the last client of this user has proved.
    pub credentials: Rc<RefCell<Credentials>>,
    /// Connections are to this standby, and never to a primary.
    pub standby: Option<Arc<Standby>>,
}

impl Account {
    pub fn new(number: u32, user: &str, database: &str) -> Self {
        let (user, database) = (user.to_owned(), database.to_owned());
        Self {
            number,
            user,
            database,
            credentials: Rc::default(),
            standby: None,
        }
    }

    /// The same user on the same database of a standby.
    pub fn at(&self, standby: Arc<Standby>, number: u32) -> Self {
        Self {
            number,
            user: self.user.clone(),
            database: self.database.clone(),
            credentials: Rc::clone(&self.credentials),
            standby: Some(standby),
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

impl ConnectError {
    /// The shard is down, or starting or ending: nothing was sent to it, and another one may do as well.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Router(error) => error.sqlstate.starts_with("08"),
            Self::Refused(message) => refusal_passes(message),
        }
    }
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
    /// This router's number.
    router: u32,
    intern: Rc<Interner<Parameters>>,
    plain: Rc<Settings>,
}

impl Connector {
    /// Errors: the TLS files of the configuration cannot be used.
    pub fn new(
        config: Arc<Config>,
        router: u32,
        intern: Rc<Interner<Parameters>>,
        plain: Rc<Settings>,
    ) -> Result<Self, DialError> {
        let dialer = Dialer::new(&config.cluster)?;
        Ok(Self {
            config,
            dialer,
            router,
            intern,
            plain,
        })
    }

    /// Dials and logs in as `account`, and is let in by what this router knows of itself and the shard.
    pub async fn connect(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        admission: Admission,
    ) -> Result<Server, ConnectError> {
        if let Some(standby) = &account.standby {
            return self.connect_to_standby(standby, account, admission).await;
        }
        let cluster = &self.config.cluster;
        let place = cluster.shards.find(shard);
        let place = place.ok_or_else(|| unknown_shard(shard))?;
        let several = place.each_host().len() > 1;
        let primaries = self.dialer.primaries();
        let attempt = |host| self.attempt(host, account, admission, several);
        primaries
            .find(&place, cluster.failover_timeout, attempt)
            .await
    }

    async fn connect_to_standby(
        &self,
        standby: &Arc<Standby>,
        account: &Rc<Account>,
        admission: Admission,
    ) -> Result<Server, ConnectError> {
        let host = &standby.host;
        let dialed = self.dialer.dial(host).await;
        let mut stream = dialed.map_err(|error| unreachable_shard(host.id, &error))?;
        let mut found = match self.log_in(&mut stream, account).await {
            Ok(found) if is_standby(&found) => found,
            Ok(_) => return Err(no_standby_any_more(host.id).into()),
            Err(error) => return Err(refused(error, &account.user)),
        };
        // The client talks to the whole cluster, which takes writes.
        for (_, value) in found
            .parameters
            .iter_mut()
            .filter(|(name, _)| name == IN_HOT_STANDBY)
        {
            "off".clone_into(value);
        }
        let socket = stream
            .tcp()
            .and_then(|tcp| SockRef::from(tcp).try_clone().ok());
        let link = socket.map(|socket| standby.link(socket));
        let mut server = self.server(stream, host.id, account, found);
        server.link = link;
        self.admitted(server, admission, true).await
    }

    /// Dials and logs in at one host; `several`: a standby will not do.
    async fn attempt(
        &self,
        host: ShardConfig,
        account: &Rc<Account>,
        admission: Admission,
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
            Ok(found) => {
                let standby = is_standby(&found);
                let server = self.server(stream, host.id, account, found);
                match self.admitted(server, admission, standby).await {
                    Ok(server) => Attempt::Primary(server),
                    Err(error) => Attempt::Final(error),
                }
            }
            Err(error) if passes(&error) => Attempt::Elsewhere(refused(error, &account.user)),
            Err(error) => Attempt::Final(refused(error, &account.user)),
        }
    }

    /// A router that does not know where rows are now is not let in by the shard (`oskol.admit`), nor where the shard lacks
    /// what the cluster has done.
    async fn admitted(
        &self,
        mut server: Server,
        admission: Admission,
        is_standby: bool,
    ) -> Result<Server, ConnectError> {
        let limit = self.config.cluster.connect_timeout;
        let sql = schema::sql::admit(self.router, &admission, is_standby);
        let admitted = server.query(&sql, &self.intern);
        match tokio::time::timeout(limit, admitted).await {
            Ok(Ok(_)) => {}
            Ok(Err(QueryError::Refused(bytes))) => return Err(ConnectError::Refused(bytes)),
            Ok(Err(QueryError::Server(error))) => {
                return Err(unreachable(server.shard, error.to_string()).into());
            }
            Err(_) => {
                let why = format!(
                    "it did not let the router in within {} ms",
                    limit.as_millis()
                );
                return Err(unreachable(server.shard, why).into());
            }
        }
        server.life = admission.life;
        Ok(server)
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
    unreachable(shard, error.to_string())
}

fn unreachable(shard: ShardId, why: String) -> RouterError {
    RouterError::new("08001", format!("shard {shard} cannot be reached"))
        .detail(why)
        .hint("Rows on other shards can still be used; SHOW SHARDS in the admin database tells which are up.")
}

/// Since version 14 a server says so at the log-in.
fn is_standby(found: &LoggedIn) -> bool {
    let mut values = found.parameters.iter();
    values.any(|(name, value)| name == IN_HOT_STANDBY && value == "on")
}

const IN_HOT_STANDBY: &str = "in_hot_standby";

/// Another host, or the same one a little later, may answer otherwise.
fn passes(error: &LoginError) -> bool {
    match error {
        LoginError::Io(_) | LoginError::TimedOut(_) => true,
        LoginError::Refused(message) => refusal_passes(message),
        _ => false,
    }
}

/// The server starts, recovers or shuts down.
pub fn refusal_passes(message: &[u8]) -> bool {
    let said = message.get(wire::header::LENGTH..);
    let said = said.and_then(|body| wire::backend::ErrorResponse::parse(body).ok());
    said.is_some_and(|error| is_starting_or_ending(error.sqlstate()))
}

fn no_primary(shard: ShardId) -> RouterError {
    RouterError::new("08001", format!("no host of shard {shard} is a primary"))
        .detail("Those that answer are standbys (cluster.failover_timeout has passed).")
        .hint("Rows on other shards can still be used; promote a standby, or see what its failover manager says.")
}

fn no_standby_any_more(shard: ShardId) -> RouterError {
    RouterError::new(
        "08001",
        format!("a host of shard {shard} is no standby any more"),
    )
}

fn refused(error: LoginError, user: &str) -> ConnectError {
    match error {
        LoginError::Refused(bytes) => ConnectError::Refused(bytes),
        other => ConnectError::Router(other.to_router_error(user)),
    }
}
