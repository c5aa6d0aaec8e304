//! Server connections of one worker: leasing, waiting, giving back.
//!
//! The limit per shard is for the whole process, so it is counted in atomics shared by the workers;
//! all else is a worker's own. Must never know: statements, clients' protocol.

mod figures;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use schema::Admission;
use tokio::sync::oneshot;
use topology::ShardId;

use crate::backend::Server;
use crate::backend::card::Card;
use crate::backend::connect::{Account, ConnectError, Connector};
use crate::config::Config;
use crate::error::RouterError;
use crate::metrics::{ShardMetrics, WorkerMetrics};
use crate::permits::{Permit, Permits, ReserveRight, Waiting};
use figures::Waits;

/// What somebody who waited is given.
enum Grant {
    Server(Box<Server>),
    /// Leave to open a connection.
    Permit(Permit),
    /// The same, and the right to the reserves.
    Reserved(Permit, ReserveRight),
}

/// What is in use when a database is about to be dropped is closed, not kept, when it comes back within this time.
/// DROP DATABASE itself waits 5 s for others to leave.
const LEAVING_FOR: Duration = Duration::from_secs(10);

/// Somebody waiting for a connection of one shard.
struct Waiter {
    account: Rc<Account>,
    /// It holds connections of other shards.
    holding: bool,
    grant: oneshot::Sender<Grant>,
    /// Counted among those that wait as long as it is in the queue.
    _waiting: Waiting,
}

/// One shard's connections on this worker.
struct ShardPool {
    /// By account number; most recently used last.
    #[expect(clippy::vec_box, reason = "moved between lists by pointer")]
    idle: FxHashMap<u32, Vec<Box<Server>>>,
    waiters: VecDeque<Waiter>,
    /// Connections given to waiters of this worker in a row, while others waited elsewhere.
    kept_in_a_row: usize,
    /// When a connection was last given up for another worker.
    yielded: Option<Instant>,
    /// Taken and not yet given back: for the figures only.
    leased: usize,
    metrics: Arc<ShardMetrics>,
}

/// All connections of one worker.
pub struct Pools {
    config: Arc<Config>,
    permits: Arc<Permits>,
    connector: Connector,
    shards: RefCell<FxHashMap<ShardId, ShardPool>>,
    metrics: Arc<WorkerMetrics>,
    /// Databases that are about to be dropped, and since when: connections to them are not kept.
    leaving: RefCell<Vec<(String, Instant)>>,
    /// Of all connections, idle or in use.
    cards: RefCell<Vec<Weak<Card>>>,
}

impl Pools {
    pub fn new(
        config: Arc<Config>,
        permits: Arc<Permits>,
        connector: Connector,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            config,
            permits,
            connector,
            shards: RefCell::default(),
            metrics,
            leaving: RefCell::default(),
            cards: RefCell::default(),
        }
    }

    /// The pool of a shard, made when it is first asked for.
    fn pool<'a>(
        &self,
        shards: &'a mut FxHashMap<ShardId, ShardPool>,
        shard: ShardId,
    ) -> &'a mut ShardPool {
        shards
            .entry(shard)
            .or_insert_with(|| ShardPool::new(self.metrics.shard(shard)))
    }

    fn shard_metrics(&self, shard: ShardId) -> Arc<ShardMetrics> {
        Arc::clone(&self.pool(&mut self.shards.borrow_mut(), shard).metrics)
    }

    /// An idle connection, without waiting: the hot path.
    pub fn take_idle(&self, shard: ShardId, account: &Account) -> Option<Box<Server>> {
        let mut shards = self.shards.borrow_mut();
        let pool = shards.get_mut(&shard)?;
        loop {
            let mut server = pool.idle.get_mut(&account.number)?.pop()?;
            pool.metrics.idle.decrement();
            if server.is_open() {
                pool.note_leased();
                return Some(server);
            }
            // Its server has ended: nobody's statement has to find that out.
            if let Some(permit) = close_quietly(server) {
                self.pass_on(pool, permit);
            }
        }
    }

    /// Asks a shard to cancel what one of its server processes runs; waits until it was told.
    pub async fn cancel(&self, shard: ShardId, process_id: u32, secret: &[u8]) {
        self.connector.cancel(shard, process_id, secret).await;
    }

    /// A connection to `shard` for `account`: idle, new (let in by `admission`), or waited for.
    ///
    /// `holding`: the caller holds other connections already; it then goes before those that hold
    /// none, and `right` to the reserves may be given to it, so that such callers do not wait in a
    /// circle. It is to be kept until the connections are given back.
    ///
    /// # Errors
    /// 53300 when the queue is full or the wait too long.
    pub async fn lease(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        admission: Admission,
        holding: bool,
        right: &mut Option<ReserveRight>,
    ) -> Result<Box<Server>, ConnectError> {
        if let Some(server) = self.take_idle(shard, account) {
            return Ok(server);
        }
        let permit = self
            .acquire_in_turn(shard)
            .or_else(|| self.evict_other(shard))
            .or_else(|| self.reserved(shard, holding, right));
        if let Some(permit) = permit {
            return self.open(shard, account, admission, permit).await;
        }
        match self.wait(shard, account, holding).await? {
            Grant::Server(server) => Ok(server),
            Grant::Permit(permit) => self.open(shard, account, admission, permit).await,
            Grant::Reserved(permit, given) => {
                *right = Some(given);
                self.open(shard, account, admission, permit).await
            }
        }
    }

    /// A permit, unless it was just left to another worker's waiters.
    fn acquire_in_turn(&self, shard: ShardId) -> Option<Permit> {
        if self.pool(&mut self.shards.borrow_mut(), shard).yields() {
            return None;
        }
        self.permits.acquire(shard)
    }

    /// A permit of the reserve, for a caller that has the right to it or can get it.
    fn reserved(
        &self,
        shard: ShardId,
        holding: bool,
        right: &mut Option<ReserveRight>,
    ) -> Option<Permit> {
        if holding && right.is_none() {
            *right = self.permits.reserve_right();
        }
        self.permits.acquire_reserved(shard, right.as_ref()?)
    }

    /// Whether what any shard can do may go to `shard`: it was not found out of reach just now, by any worker.
    pub fn seems_up(&self, shard: ShardId) -> bool {
        self.permits.seems_up(shard)
    }

    /// More connections of `shard` are open than its limit says: keep none of them.
    pub fn is_above_limit(&self, shard: ShardId) -> bool {
        self.permits.above_limit(shard)
    }

    async fn open(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        admission: Admission,
        permit: Permit,
    ) -> Result<Box<Server>, ConnectError> {
        let metrics = self.shard_metrics(shard);
        let connected = self.connector.connect(shard, account, admission).await;
        let unreachable = connected.as_ref().is_err_and(ConnectError::is_unreachable);
        // A standby tells nothing of its primary.
        if account.standby.is_none() {
            self.permits.note_reached(shard, !unreachable);
        }
        let connected = connected.inspect_err(|_| metrics.connections_failed.increment());
        let mut server = Box::new(connected?);
        server.permit = Some(permit);
        self.register(&mut server, metrics);
        self.pool(&mut self.shards.borrow_mut(), shard)
            .note_leased();
        Ok(server)
    }

    /// Closes the idle connection that was longest unused, of whatever account, for its permit.
    fn evict_other(&self, shard: ShardId) -> Option<Permit> {
        let mut shards = self.shards.borrow_mut();
        let pool = shards.get_mut(&shard)?;
        close_quietly(pool.take_oldest_idle()?)
    }

    async fn wait(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        holding: bool,
    ) -> Result<Grant, RouterError> {
        let metrics = self.shard_metrics(shard);
        let since = Instant::now();
        let outcome = {
            let _counted = Waits::counted_in(&metrics);
            self.wait_in_queue(shard, account, holding).await
        };
        match &outcome {
            Ok(_) => metrics.waited(since.elapsed()),
            Err(_) => metrics.checkouts_refused.increment(),
        }
        outcome
    }

    async fn wait_in_queue(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        holding: bool,
    ) -> Result<Grant, RouterError> {
        let granted = self.enqueue(shard, account, holding)?;
        let longest = self.config.pool.checkout_timeout;
        match tokio::time::timeout(longest, granted).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(_)) => Err(checkout_failed(shard, "the pool was closed")),
            Err(_) => Err(checkout_failed(
                shard,
                &format!("waited {longest:?} (pool.checkout_timeout)"),
            )),
        }
    }

    fn enqueue(
        &self,
        shard: ShardId,
        account: &Rc<Account>,
        holding: bool,
    ) -> Result<oneshot::Receiver<Grant>, RouterError> {
        let mut shards = self.shards.borrow_mut();
        let pool = self.pool(&mut shards, shard);
        pool.waiters.retain(|waiter| !waiter.grant.is_closed());
        if pool.waiters.len() >= self.config.pool.queue {
            return Err(checkout_failed(shard, "the queue is full (pool.queue)"));
        }
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter {
            account: Rc::clone(account),
            holding,
            grant,
            _waiting: self.permits.wait(shard),
        };
        if holding {
            pool.waiters.push_front(waiter);
        } else {
            pool.waiters.push_back(waiter);
        }
        Ok(granted)
    }

    /// Takes a connection back: to a waiter, to the idle list, or closed if it cannot be used again.
    pub fn give_back(&self, mut server: Box<Server>) {
        let shard = server.shard;
        server.idle_since = Instant::now();
        if let Some(card) = &server.card {
            card.give_back(server.idle_since);
        }
        let mut shards = self.shards.borrow_mut();
        let pool = self.pool(&mut shards, shard);
        pool.note_returned();
        if self.is_spent(&server) {
            if let Some(permit) = close_quietly(server) {
                self.pass_on(pool, permit);
            }
            return;
        }
        if self.is_others_turn(pool, shard) {
            pool.yielded = Some(Instant::now());
            close_quietly(server);
            return self.permits.ring();
        }
        if let Some(server) = hand_to_waiter(pool, server) {
            pool.metrics.idle.increment();
            pool.idle
                .entry(server.account.number)
                .or_default()
                .push(trimmed(server));
        }
    }

    /// Somebody waits on another worker, and nobody here, or those here were served long enough.
    fn is_others_turn(&self, pool: &mut ShardPool, shard: ShardId) -> bool {
        const KEPT_AT_MOST: usize = 4;
        pool.waiters.retain(|waiter| !waiter.grant.is_closed());
        pool.kept_in_a_row += 1;
        if self.permits.waiting(shard) <= pool.waiters.len() {
            pool.kept_in_a_row = 0;
            return false;
        }
        let turn = pool.waiters.is_empty() || pool.kept_in_a_row > KEPT_AT_MOST;
        if turn {
            pool.kept_in_a_row = 0;
        }
        turn
    }

    /// The connection is broken, out of step, too old, or above the limit.
    fn is_spent(&self, server: &Server) -> bool {
        !server.is_clean()
            || self.is_leaving(&server.account.database)
            || expired(server.idle_since, server.opened, self.config.pool.lifetime)
            || self.permits.above_limit(server.shard)
    }

    fn is_leaving(&self, database: &str) -> bool {
        let leaving = self.leaving.borrow();
        let mut leaving = leaving.iter();
        leaving.any(|(name, since)| name == database && since.elapsed() < LEAVING_FOR)
    }

    /// A permit is free: to the next waiter of this worker, else back to all.
    fn pass_on(&self, pool: &mut ShardPool, permit: Permit) {
        let shard = permit.shard();
        if self.permits.above_limit(shard) {
            return;
        }
        let mut grant = Grant::Permit(permit);
        while let Some(waiter) = pool.waiters.pop_front() {
            match waiter.grant.send(grant) {
                Ok(()) => return,
                Err(back) => grant = back,
            }
        }
        drop(grant);
        if self.permits.waiting(shard) > 0 {
            self.permits.ring();
        }
    }

    /// Until there may be something to [tend](Self::tend) to.
    pub async fn rung(&self) {
        self.permits.rung().await;
    }

    /// Gives what is free to those that wait, here or on another worker; to be called when the bell
    /// rings, and now and then.
    pub fn tend(&self) {
        self.make_room();
        self.wake_waiters();
    }

    /// Closes idle connections for as many as wait on other workers.
    fn make_room(&self) {
        let mut shards = self.shards.borrow_mut();
        let mut made = false;
        for (shard, pool) in shards.iter_mut() {
            let waiting = self.permits.waiting(*shard);
            for _ in 0..waiting.saturating_sub(pool.waiters.len()) {
                let Some(server) = pool.take_oldest_idle() else {
                    break;
                };
                close_quietly(server);
                pool.yielded = Some(Instant::now());
                made = true;
            }
        }
        if made {
            self.permits.ring();
        }
    }

    /// Lets waiters open connections with permits and rights that others have freed; to be called
    /// when a right was given back, and now and then, as other workers free them too.
    pub fn wake_waiters(&self) {
        let mut shards = self.shards.borrow_mut();
        for (shard, pool) in shards.iter_mut() {
            pool.waiters.retain(|waiter| !waiter.grant.is_closed());
            while !pool.waiters.is_empty() && !pool.yields() {
                let Some(permit) = self.permits.acquire(*shard) else {
                    break;
                };
                self.pass_on(pool, permit);
            }
            self.pass_rights_on(*shard, pool);
        }
    }

    /// Rights that are free: to those who wait while they hold connections. They stand in front.
    fn pass_rights_on(&self, shard: ShardId, pool: &mut ShardPool) {
        while pool.waiters.front().is_some_and(|waiter| waiter.holding) {
            let Some(right) = self.permits.reserve_right() else {
                return;
            };
            let Some(permit) = self.permits.acquire_reserved(shard, &right) else {
                return;
            };
            if let Some(waiter) = pool.waiters.pop_front() {
                // One that has just given up returns both.
                let _ = waiter.grant.send(Grant::Reserved(permit, right));
            }
        }
    }

    /// Closes connections that were idle too long; to be called now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        let limits = &self.config.pool;
        self.close_where(|server| {
            expired(now, server.idle_since, limits.idle_timeout)
                || expired(now, server.opened, limits.lifetime)
        });
    }

    /// Closes idle connections of one database (it is about to be dropped), or of all.
    pub fn close_idle(&self, database: Option<&str>) {
        let mut leaving = self.leaving.borrow_mut();
        leaving.retain(|(_, since)| since.elapsed() < LEAVING_FOR);
        leaving.extend(database.map(|name| (name.to_owned(), Instant::now())));
        drop(leaving);
        self.close_where(|server| database.is_none_or(|name| server.account.database == name));
    }

    fn close_where(&self, goes: impl Fn(&Server) -> bool) {
        let mut shards = self.shards.borrow_mut();
        for pool in shards.values_mut() {
            for servers in pool.idle.values_mut() {
                let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(servers)
                    .into_iter()
                    .partition(|server| goes(server));
                *servers = kept;
                for server in out {
                    pool.metrics.idle.decrement();
                    close_quietly(server);
                }
            }
            pool.idle.retain(|_, servers| !servers.is_empty());
        }
    }
}

/// For so long what was given up for another worker is not taken back.
const YIELDED_FOR: Duration = Duration::from_millis(20);

impl ShardPool {
    /// A connection was just given up for another worker.
    fn yields(&self) -> bool {
        self.yielded.is_some_and(|at| at.elapsed() < YIELDED_FOR)
    }

    /// The idle connection that was longest unused, of whatever account.
    fn take_oldest_idle(&mut self) -> Option<Box<Server>> {
        let oldest = self
            .idle
            .values_mut()
            .filter(|servers| !servers.is_empty())
            .min_by_key(|servers| servers[0].idle_since)?;
        self.metrics.idle.decrement();
        Some(oldest.remove(0))
    }
}

/// Gives `server` to the first waiter if it is of the same account, else its permit; returns the
/// server when nobody waits.
fn hand_to_waiter(pool: &mut ShardPool, mut server: Box<Server>) -> Option<Box<Server>> {
    while let Some(waiter) = pool.waiters.pop_front() {
        if waiter.grant.is_closed() {
            continue;
        }
        if waiter.account.number != server.account.number {
            let permit = close_quietly(server)?;
            let _ = waiter.grant.send(Grant::Permit(permit));
            return None;
        }
        match waiter.grant.send(Grant::Server(server)) {
            Ok(()) => {
                pool.note_leased();
                return None;
            }
            Err(Grant::Server(back)) => server = back,
            Err(Grant::Permit(_) | Grant::Reserved(..)) => return None,
        }
    }
    Some(server)
}

fn expired(now: Instant, since: Instant, limit: Duration) -> bool {
    !limit.is_zero() && now.saturating_duration_since(since) > limit
}

/// Keeps a read buffer for the next statement, unless a large result has blown it up.
fn trimmed(mut server: Box<Server>) -> Box<Server> {
    const KEPT_BYTES: usize = 64 * 1024;
    if server.inbuf.capacity() > KEPT_BYTES {
        server.inbuf = bytes::BytesMut::new();
    }
    server
}

/// Says Terminate and closes, without anybody waiting for it; returns the permit.
pub fn close_quietly(mut server: Box<Server>) -> Option<Permit> {
    let permit = server.permit.take();
    tokio::task::spawn_local(async move {
        let mut goodbye = bytes::BytesMut::new();
        wire::frontend::write::terminate(&mut goodbye);
        let _ = tokio::time::timeout(Duration::from_secs(1), server.stream.send(&goodbye)).await;
    });
    permit
}

fn checkout_failed(shard: ShardId, why: &str) -> RouterError {
    RouterError::new(
        "53300",
        format!("no server connection of shard {shard} is free"),
    )
    .detail(format!("{why}."))
    .hint("Raise pool.size (and max_connections on the shards), or send less at once.")
}
