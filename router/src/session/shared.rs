//! What the sessions of one worker share. All of it is the worker's own: `Rc` and cells, no lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::sync::Notify;
use topology::ShardId;

use crate::backend::connect::Account;
use crate::backend::prepared::StatementIdentity;
use crate::config::Config;
use crate::control::{Control, Database, IdBlock};
use crate::error::RouterError;
use crate::gate::Gate;
use crate::metrics::WorkerMetrics;
use crate::parse::shape::Shape;
use crate::plan::{Isolation, SequenceName};
use crate::pool::Pools;
use crate::session::plans::PlanSpace;
use crate::settings::{Interner, Parameters, Settings};
use crate::standbys::{Standby, Standbys};
use crate::worker::{Peer, SessionId};

/// Numbers of prepared statements; server connections may pass between workers, so all workers
/// count together.
static NEXT_STATEMENT: AtomicU64 = AtomicU64::new(1);

pub struct WorkerState {
    pub index: usize,
    /// No settings at all: as a fresh server connection.
    plain: Rc<Settings>,
    pub config: Arc<Config>,
    pub control: Control,
    /// Of all workers.
    pub(super) gate: Arc<Gate>,
    pub pools: Pools,
    pub metrics: Arc<WorkerMetrics>,
    pub parameters: Rc<Interner<Parameters>>,
    pub settings: Interner<Settings>,
    pub sessions: RefCell<FxHashMap<SessionId, Rc<SessionShared>>>,
    /// The lexer's buffers; borrowed only between two awaits.
    pub shape: RefCell<Shape>,
    accounts: RefCell<HashMap<(String, String), Rc<Account>>>,
    /// Numbers given to accounts, those of standbys among them.
    account_count: Cell<u32>,
    /// By the account's number and the standby's address in memory, which stays while an account holds it.
    readers: RefCell<FxHashMap<(u32, usize), Rc<Account>>>,
    pub standbys: Arc<Standbys>,
    spaces: RefCell<HashMap<SpaceKey, Rc<PlanSpace>>>,
    statements: RefCell<StatementTable>,
    blocks: RefCell<HashMap<(String, SequenceName), IdBlock>>,
    /// What a new connection reports, by account number and settings: so that an idle client needs
    /// no server connection.
    pub greetings: RefCell<HashMap<(u32, Rc<Settings>), Greeting>>,
    turn: Cell<usize>,
    /// Counted up by the worker's tick: a clock that costs nothing to read.
    pub ticks: Cell<u32>,
    /// Statements that take longer are logged; the longest time there is, where none are.
    pub slow_above: Duration,
    /// Sessions that use more than one server connection now.
    pub spread: Cell<usize>,
}

/// What a client is told after log-in.
#[derive(Debug, Clone)]
pub struct Greeting {
    pub parameters: Rc<Parameters>,
    /// As `SHOW search_path` gives it.
    pub search_path: Rc<str>,
    pub isolation: Isolation,
    /// Of the router's own settings, those that have a value there.
    pub own: Rc<[Option<String>]>,
    /// Catalog version it was read under.
    pub version: u64,
}

/// Database and search path.
type SpaceKey = (String, Rc<[String]>);
/// By text, types of parameters, and catalog version.
type StatementTable = HashMap<(Box<str>, Box<[u32]>, u64), Rc<StatementIdentity>>;

impl WorkerState {
    pub fn new(
        index: usize,
        config: Arc<Config>,
        control: Control,
        pools: Pools,
        metrics: Arc<WorkerMetrics>,
        parameters: Rc<Interner<Parameters>>,
        plain: Rc<Settings>,
    ) -> Self {
        let standbys = Arc::clone(control.board().standbys());
        let slow_above = match config.log.slow_statement {
            Duration::ZERO => Duration::MAX,
            limit => limit,
        };
        Self {
            index,
            slow_above,
            config,
            gate: Arc::clone(control.gate()),
            control,
            pools,
            metrics,
            parameters,
            plain,
            settings: Interner::default(),
            sessions: RefCell::default(),
            shape: RefCell::default(),
            accounts: RefCell::default(),
            account_count: Cell::new(0),
            readers: RefCell::default(),
            standbys,
            spaces: RefCell::default(),
            statements: RefCell::default(),
            blocks: RefCell::default(),
            greetings: RefCell::default(),
            turn: Cell::new(index),
            ticks: Cell::new(0),
            spread: Cell::new(0),
        }
    }

    /// The settings of a fresh server connection.
    pub fn plain_settings(&self) -> Rc<Settings> {
        Rc::clone(&self.plain)
    }

    /// The account of a user on a database; `credentials` of the last log-in are kept.
    pub fn account(
        &self,
        user: &str,
        database: &str,
        credentials: crate::credentials::Credentials,
    ) -> Rc<Account> {
        let mut accounts = self.accounts.borrow_mut();
        let made = || Rc::new(Account::new(self.next_account(), user, database));
        let account = accounts
            .entry((user.to_owned(), database.to_owned()))
            .or_insert_with(made);
        account.credentials.replace(credentials);
        Rc::clone(account)
    }

    fn next_account(&self) -> u32 {
        let number = self.account_count.get();
        self.account_count.set(number.saturating_add(1));
        number
    }

    /// The same user's account at a standby.
    pub fn reader(&self, account: &Account, standby: &Arc<Standby>) -> Rc<Account> {
        const KEPT: usize = 10_000;
        let key = (account.number, Arc::as_ptr(standby).addr());
        let mut readers = self.readers.borrow_mut();
        if readers.len() > KEPT {
            readers.retain(|_, reader| Rc::strong_count(reader) > 1);
        }
        let made = || Rc::new(account.at(Arc::clone(standby), self.next_account()));
        Rc::clone(readers.entry(key).or_insert_with(made))
    }

    /// Counts on, so that several of a kind are taken in turn.
    pub fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// The plan space of a database as it is now, for one search path.
    pub fn space(&self, database: &Database, search_path: &Rc<[String]>) -> Rc<PlanSpace> {
        let key = (database.name().to_owned(), Rc::clone(search_path));
        let mut spaces = self.spaces.borrow_mut();
        if let Some(space) = spaces.get(&key)
            && space.state.version == database.version()
        {
            return Rc::clone(space);
        }
        let capacity = self.config.limits.plan_cache;
        let space = Rc::new(PlanSpace::new(
            database.state(),
            Rc::clone(search_path),
            capacity,
        ));
        spaces.insert(key, Rc::clone(&space));
        space
    }

    /// One identity for equal texts and types under one version of the catalog: after a change of
    /// its tables a statement that is prepared anew must not meet a server's plan of before.
    pub fn statement(&self, text: &str, types: &[u32], version: u64) -> Rc<StatementIdentity> {
        const SWEEP_ABOVE: usize = 10_000;
        // Bulk loads, seldom repeated: the table would hold many of them for long.
        const SHARED_TEXT_BYTES: usize = 16 * 1024;
        if text.len() > SHARED_TEXT_BYTES {
            return self.own_statement(text, types);
        }
        let mut table = self.statements.borrow_mut();
        let key = (Box::from(text), Box::from(types), version);
        if let Some(known) = table.get(&key) {
            return Rc::clone(known);
        }
        if table.len() > SWEEP_ABOVE {
            table.retain(|_, identity| Rc::strong_count(identity) > 1);
        }
        let identity = self.own_statement(text, types);
        table.insert(key, Rc::clone(&identity));
        identity
    }

    /// An identity that nobody shares.
    pub fn own_statement(&self, text: &str, types: &[u32]) -> Rc<StatementIdentity> {
        let number = NEXT_STATEMENT.fetch_add(1, Ordering::Relaxed);
        Rc::new(StatementIdentity {
            number,
            text: text.into(),
            types: types.into(),
            server_name: format!("o{number}").into_bytes().into(),
        })
    }

    /// The next id of a sequence, from this worker's block; a new block is leased when it is empty.
    pub async fn next_id(
        &self,
        database: &Arc<Database>,
        sequence: &SequenceName,
    ) -> Result<i64, RouterError> {
        let key = (database.name().to_owned(), sequence.clone());
        let epoch = database.sequence_epoch();
        if let Some(block) = self.blocks.borrow_mut().get_mut(&key)
            && block.epoch == epoch
            && let Some(id) = block.take()
        {
            return Ok(id);
        }
        let count = self.config.limits.id_block;
        let mut block = self.control.lease_ids(database, sequence, count).await?;
        let id = block.take().ok_or_else(|| {
            RouterError::new(
                "55000",
                format!("no id was leased for sequence {}", sequence.name),
            )
        })?;
        self.blocks.borrow_mut().insert(key, block);
        Ok(id)
    }

    /// The next `count` ids, put behind those in `ids`.
    pub async fn next_ids(
        &self,
        database: &Arc<Database>,
        sequence: &SequenceName,
        count: usize,
        ids: &mut std::collections::VecDeque<i64>,
    ) -> Result<(), RouterError> {
        let key = (database.name().to_owned(), sequence.clone());
        let wanted = ids.len() + count;
        while ids.len() < wanted {
            let epoch = database.sequence_epoch();
            if let Some(block) = self.blocks.borrow_mut().get_mut(&key) {
                while block.epoch == epoch && ids.len() < wanted {
                    let Some(id) = block.take() else { break };
                    ids.push_back(id);
                }
            }
            if ids.len() < wanted {
                let missing = u32::try_from(wanted - ids.len()).unwrap_or(u32::MAX);
                let size = missing.max(self.config.limits.id_block);
                let block = self.control.lease_ids(database, sequence, size).await?;
                self.blocks.borrow_mut().insert(key.clone(), block);
            }
        }
        Ok(())
    }

    /// Shards in turn, for statements that any shard can run. One that was out of reach just now is passed over, unless all are.
    pub fn any_shard(&self, shards: &[ShardId]) -> ShardId {
        let turn = self.next_turn();
        let mut in_turn =
            (0..shards.len()).map(|step| shards[turn.wrapping_add(step) % shards.len()]);
        let living = in_turn.find(|shard| self.pools.seems_up(*shard));
        living.unwrap_or(shards[turn % shards.len()])
    }
}

/// Of [`WorkerState::ticks`].
pub const TICK: Duration = Duration::from_millis(100);

/// Why a session is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopReason {
    #[default]
    Shutdown,
    /// `limits.idle_client_timeout`
    IdleTooLong,
    /// `limits.idle_in_transaction_timeout`
    IdleInTransaction,
}

/// A server connection that a cancel request must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelTarget {
    pub shard: ShardId,
    pub process_id: u32,
    pub secret: SmallVec<[u8; 4]>,
}

/// [`SessionShared::status`] of a session that waits for a server connection.
pub const WAITING: u8 = b'W';

/// A commit in two phases.
#[derive(Debug, Clone)]
pub struct TwoPhase {
    pub gid: String,
    /// `preparing` or `committing`.
    pub stage: &'static str,
}

/// What the worker may see of a session: for SHOW CLIENTS and for cancel requests.
pub struct SessionShared {
    pub id: SessionId,
    pub user: Rc<str>,
    pub database: Rc<str>,
    pub peer: Peer,
    pub tls: bool,
    pub application_name: RefCell<Rc<str>>,
    pub connected_at: Instant,
    /// The transaction's status byte, 0 while a statement runs, [`WAITING`] while it waits for a
    /// server connection.
    pub status: Cell<u8>,
    /// Since when a transaction is open, one around a single statement not counted.
    pub transaction_since: Cell<Option<Instant>>,
    /// The commit under way in two phases.
    pub two_phase: RefCell<Option<TwoPhase>>,
    /// Server connections with a statement of this session.
    pub targets: RefCell<SmallVec<[CancelTarget; 1]>>,
    /// Cancel requests on their way; connections are not given back meanwhile.
    pub cancels_under_way: Cell<u32>,
    pub cancel_done: Notify,
    /// A cancel request has come: heard while the session waits for a server connection.
    pub cancelled: Notify,
    /// Cancel requests that have come so far: one may come when no shard is at work.
    pub cancels: Cell<u64>,
    /// The worker asks the session to end (shutdown, or idle for too long).
    pub stop: Notify,
    /// Why it is asked to.
    pub stop_reason: Cell<StopReason>,
    /// The worker's tick at which the session began to wait for its client.
    pub waits_since: Cell<u32>,
    /// The worker's tick at which it got its client's last message.
    pub busy_since: Cell<u32>,
    /// It waits until its database lets go of what moves.
    pub held: Cell<bool>,
    /// As long as something moves, an open transaction of it has to wait, too.
    pub shut: Cell<bool>,
    /// COPY FROM STDIN is under way.
    pub copying: Cell<bool>,
    /// The session was chosen to end a deadlock, and its statement is being cancelled: what is said of it.
    pub deadlock: RefCell<Option<Box<str>>>,
}

impl SessionShared {
    /// Nothing that it has begun is on `shard`, or may still come there.
    pub fn is_away_from(&self, shard: ShardId) -> bool {
        let at_work = matches!(self.status.get(), 0 | WAITING) && !self.held.get();
        let is_on = |target: &CancelTarget| target.shard == shard;
        !at_work && !self.copying.get() && !self.targets.borrow().iter().any(is_on)
    }

    /// Shards with a server connection in use by the session.
    pub fn shards(&self) -> Vec<ShardId> {
        let targets = self.targets.borrow();
        targets.iter().map(|target| target.shard).collect()
    }

    /// Its client has been silent for longer, `ticks` being the worker's now, with a transaction open.
    pub fn is_idle_in_transaction(&self, ticks: u32, limit: Duration) -> bool {
        let waited = TICK * ticks.wrapping_sub(self.waits_since.get());
        matches!(self.status.get(), b'T' | b'E') && waited > limit
    }

    /// Waits until no cancel request is on its way to a connection of this session.
    pub async fn cancels_delivered(&self) {
        while self.cancels_under_way.get() > 0 {
            self.cancel_done.notified().await;
        }
    }
}

/// Cancel requests to connections of a session are on their way for as long as this lives.
pub struct CancelsUnderWay(Rc<SessionShared>);

impl CancelsUnderWay {
    pub fn of(session: Rc<SessionShared>) -> Self {
        let under_way = &session.cancels_under_way;
        under_way.set(under_way.get() + 1);
        Self(session)
    }
}

impl Drop for CancelsUnderWay {
    fn drop(&mut self) {
        let under_way = &self.0.cancels_under_way;
        under_way.set(under_way.get() - 1);
        self.0.cancel_done.notify_waiters();
    }
}
