//! From a finished handshake to a session that is ready for its first query.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;
use wire::backend::{Severity, write};

use super::extended::Extended;
use super::fault::Fault;
use super::settings::{Followed, SHOW_FOLLOWED, SHOW_OWN, expand_search_path, own_settings};
use super::shared::{Greeting, SessionShared, WorkerState};
use super::slots::Slots;
use super::state::Session;
use super::transaction::Transaction;
use crate::cancel::CancelHandle;
use crate::config::CrossShardReads;
use crate::control::Database;
use crate::error::RouterError;
use crate::handshake::Handshaken;
use crate::settings::{Settings, startup_statement};
use crate::worker::Peer;

/// Opens the session and tells the client that it is ready. The client has been told of a failure.
pub async fn open(
    worker: Rc<WorkerState>,
    handshaken: Box<Handshaken>,
    cancel: CancelHandle,
    peer: Peer,
) -> Option<(Box<Session>, BytesMut)> {
    let received = handshaken.received.clone();
    let Handshaken {
        stream,
        user,
        database,
        parameters,
        credentials,
        seat,
        ..
    } = *handshaken;
    let mut out = BytesMut::new();
    let database = match open_database(&worker, &database).await {
        Ok(database) => database,
        Err(error) => {
            super::answer::error_response(&mut out, Severity::Fatal, &error);
            return goodbye(stream, out).await;
        }
    };
    let account = worker.account(&user, database.name(), credentials);
    let shared = Rc::new(SessionShared {
        id: cancel.session(),
        user: Rc::from(user.as_str()),
        database: Rc::from(database.name()),
        peer,
        tls: stream.is_tls(),
        application_name: RefCell::new(Rc::from("")),
        connected_at: std::time::Instant::now(),
        status: Cell::new(b'I'),
        held: Cell::new(false),
        shut: Cell::new(false),
        copying: Cell::new(false),
        transaction_since: Cell::new(None),
        two_phase: RefCell::default(),
        targets: RefCell::default(),
        cancels_under_way: Cell::new(0),
        cancel_done: Notify::new(),
        cancelled: Notify::new(),
        cancels: Cell::new(0),
        stop: Notify::new(),
        stop_reason: Cell::default(),
        waits_since: Cell::new(worker.ticks.get()),
        busy_since: Cell::new(worker.ticks.get()),
        deadlock: RefCell::default(),
    });
    let entries = parameters.iter().map(|(name, value)| {
        let name = name.to_lowercase();
        let statement = startup_statement(&name, value);
        (name, statement)
    });
    let base = worker.settings.intern(Settings {
        entries: entries.collect(),
    });
    let path: Rc<[String]> = Rc::from([]);
    let metrics = worker.metrics.database(database.name());
    let mut session = Box::new(Session {
        space: worker.space(&database, &path),
        shared,
        client: stream,
        out,
        account,
        database,
        settings: Rc::clone(&base),
        base,
        told: Rc::default(),
        transaction: Transaction::default(),
        default_isolation: Default::default(),
        consistent_reads: worker.config.transactions.cross_shard_reads
            == CrossShardReads::Consistent,
        reads: super::reads::Reads::of(&worker.config.reads),
        has_own_settings: false,
        held: Vec::new(),
        pinned: false,
        temporaries: HashSet::new(),
        cursors: Default::default(),
        extended: Extended::default(),
        copy: None,
        slots: Slots::new(),
        released: 0,
        passing: 0,
        rewrites_rows: false,
        hold_output: false,
        held_complete: None,
        serving: false,
        failed: false,
        utf8: true,
        dumps: false,
        conforming_strings: true,
        remainder: None,
        parts: Vec::new(),
        metrics,
        cancel: None,
        _seat: seat,
        last_ids: Default::default(),
        last_id: None,
        worker,
    });
    match session.greet(&cancel).await {
        Ok(()) => {
            session.enlist(cancel);
            Some((session, received))
        }
        Err(fault) => {
            session.refuse(fault).await;
            None
        }
    }
}

/// CREATE DATABASE copies template1, with all that is in it, and fails while anybody is connected.
async fn open_database(worker: &WorkerState, name: &str) -> Result<Arc<Database>, RouterError> {
    if matches!(name, "template0" | "template1") {
        let text = format!("database \"{name}\" cannot be reached through the router");
        return Err(RouterError::unsupported("template-database", text)
            .detail("What the router keeps in a database would be copied into every new one.")
            .hint("Connect to each shard directly, or to database \"postgres\"."));
    }
    worker.control.open_database(name).await
}

async fn goodbye(
    mut stream: crate::stream::Stream,
    out: BytesMut,
) -> Option<(Box<Session>, BytesMut)> {
    let _ = stream.send(&out).await;
    stream.close().await;
    None
}

impl Session {
    /// ParameterStatus, BackendKeyData, ReadyForQuery.
    async fn greet(&mut self, cancel: &CancelHandle) -> Result<(), Fault> {
        let greeting = self.greeting().await?;
        let path = expand_search_path(&greeting.search_path, &self.account.user);
        self.space = self.worker.space(&self.database, &path);
        self.default_isolation = greeting.isolation;
        if !greeting.own.is_empty() {
            self.has_own_settings = true;
            self.use_own_settings(&greeting.own)?;
        }
        self.tell(&greeting.parameters);
        let key = cancel.key();
        write::backend_key_data(&mut self.out, key.process_id, &key.secret);
        self.answer_ready().await
    }

    /// What a server connection with these settings reports: remembered, or asked of a shard, which
    /// also proves that the user may log in there.
    async fn greeting(&mut self) -> Result<Greeting, Fault> {
        let key = (self.account.number, Rc::clone(&self.settings));
        let version = self.database.version();
        let known = self.worker.greetings.borrow().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known);
        }
        let index = self.first_branch().await?;
        let server = &mut self.transaction.branches[index].server;
        let rows = server.query(SHOW_FOLLOWED, &self.worker.parameters).await?;
        let followed = Followed::of(&rows);
        let own = server.query(SHOW_OWN, &self.worker.parameters).await?;
        let greeting = Greeting {
            parameters: Rc::clone(&server.parameters),
            search_path: Rc::from(followed.search_path),
            isolation: followed.isolation,
            own: own_settings(own),
            version,
        };
        self.release().await;
        let mut greetings = self.worker.greetings.borrow_mut();
        const KEPT: usize = 1000;
        if greetings.len() >= KEPT {
            greetings.clear();
        }
        greetings.insert(key, greeting.clone());
        Ok(greeting)
    }

    /// The home shard if it can be had, else any other: people on other shards go on.
    async fn first_branch(&mut self) -> Result<usize, Fault> {
        let home = self.home();
        let fault = match self.branch(home).await {
            Ok(index) => return Ok(index),
            Err(Fault::Router(error)) => Fault::Router(error),
            Err(other) => return Err(other),
        };
        let others = self.space.state.map.shards().to_vec();
        for shard in others.into_iter().filter(|shard| *shard != home) {
            if let Ok(index) = self.branch(shard).await {
                return Ok(index);
            }
        }
        Err(fault)
    }

    fn enlist(&mut self, cancel: CancelHandle) {
        let shared = Rc::clone(&self.shared);
        self.cancel = Some(cancel);
        self.worker.sessions.borrow_mut().insert(shared.id, shared);
        self.worker.metrics.clients.increment();
    }

    /// The log-in has failed after all: FATAL.
    async fn refuse(mut self: Box<Self>, fault: Fault) {
        match fault {
            Fault::Router(error) => {
                super::answer::error_response(&mut self.out, Severity::Fatal, &error);
            }
            Fault::Fatal(error) => {
                super::answer::error_response(&mut self.out, Severity::Fatal, &error);
            }
            Fault::Shard(bytes) => self.out.extend_from_slice(&bytes),
            Fault::ClientGone(_) | Fault::AlreadyTold => {}
        }
        let _ = self.flush().await;
        self.release().await;
        self.client.close().await;
    }
}
