//! SET, RESET, SHOW, DISCARD: the session's settings on whatever connection it gets.

use std::rc::Rc;

use schema::oids::Direction;

use super::execute::Invocation;
use super::fault::Fault;
use super::oids::gives_binary_rows;
use super::reads::{MAX_LAG, READ_FROM, Reads};
use super::relay::Stopped;
use super::state::Session;
use super::transaction::{LogEntry, SettingChange, State};
use crate::config::CrossShardReads;
use crate::error::RouterError;
use crate::plan::Isolation;
use crate::settings::{CHARACTERISTICS, Entries, Settings, quote_literal, split_identifiers};

impl Session {
    /// Brings a leased connection to this session's settings.
    pub(super) async fn apply_settings(&mut self, index: usize) -> Result<(), Fault> {
        let wanted = Rc::clone(&self.settings);
        let server = &mut self.transaction.branches[index].server;
        if let Some(sql) = wanted.change_from(&server.settings)
            && let Err(error) = server.query(&sql, &self.worker.parameters).await
        {
            server.broken = true;
            return Err(error.into());
        }
        server.settings = wanted;
        Ok(())
    }

    /// ParameterStatus for what the connection reports and the client does not know yet.
    pub(super) fn tell_parameters(&mut self, index: usize) {
        let reported = Rc::clone(&self.transaction.branches[index].server.parameters);
        self.tell(&reported);
    }

    pub(super) fn tell(&mut self, reported: &Rc<crate::settings::Parameters>) {
        if Rc::ptr_eq(reported, &self.told) {
            return;
        }
        for (name, value) in reported.differing(&self.told) {
            wire::backend::write::parameter_status(
                &mut self.out,
                name.as_bytes(),
                value.as_bytes(),
            );
        }
        self.told = Rc::clone(reported);
        self.utf8 = self.client_encoding_is_utf8();
        let strings = self.told.values.get("standard_conforming_strings");
        self.conforming_strings = strings.is_none_or(|value| value == "on");
        if let Some(name) = reported.values.get("application_name")
            && **self.shared.application_name.borrow() != **name
        {
            self.dumps = name == super::dump::APPLICATION;
            self.shared
                .application_name
                .replace(Rc::from(name.as_str()));
        }
    }

    /// `SET name`: PostgreSQL checks it on one shard, or on all of the transaction.
    pub(super) async fn set_command(
        &mut self,
        name: &str,
        local: bool,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if local && self.transaction.state == State::Idle {
            return self.run_anywhere(text, invocation).await;
        }
        let change = SettingChange::Set {
            name: name.to_owned(),
            statement: text.to_owned(),
        };
        self.change_settings(name, local, text, change, invocation)
            .await
    }

    pub(super) async fn reset_command(
        &mut self,
        name: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let change = SettingChange::Reset(name.to_owned());
        let text = match self.base.entries.get(name) {
            Some(statement) => format!("RESET {name};{statement}"),
            None => invocation.text().to_owned(),
        };
        if text != invocation.text() && matches!(invocation, Invocation::Extended { .. }) {
            let checked = SettingChange::Reset(name.to_owned());
            return self
                .change_settings(name, false, invocation.text(), checked, invocation)
                .await;
        }
        self.change_settings(name, false, invocation.text(), change, invocation)
            .await
    }

    pub(super) async fn reset_all_command(
        &mut self,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let change = SettingChange::ResetAll;
        self.change_settings("search_path", false, invocation.text(), change, invocation)
            .await
    }

    /// Runs a statement that changes settings and records what it has changed.
    async fn change_settings(
        &mut self,
        name: &str,
        local: bool,
        text: &str,
        change: SettingChange,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.run_on_all_joined(text, invocation).await?;
        if self.transaction.state != State::Idle {
            self.transaction
                .log
                .push(LogEntry::Statement(text.to_owned()));
            if !local {
                let length = self.transaction.log.len();
                self.transaction.settings.push((length, change));
            }
        } else {
            let ran_everywhere = matches!(change, SettingChange::Set { .. });
            self.keep_settings(vec![(0, change)]);
            self.adopt_settings(ran_everywhere).await?;
        }
        if is_followed(name) {
            self.followed_changed().await?;
        }
        Ok(())
    }

    /// The connections in hand have run the change themselves; a RESET may need the startup value.
    async fn adopt_settings(&mut self, ran_everywhere: bool) -> Result<(), Fault> {
        for index in 0..self.transaction.branches.len() {
            if ran_everywhere {
                self.transaction.branches[index].server.settings = Rc::clone(&self.settings);
            }
            self.apply_settings(index).await?;
            self.tell_parameters(index);
        }
        Ok(())
    }

    /// COMMIT keeps what was set in the transaction.
    pub(super) fn keep_settings(&mut self, changes: Vec<(usize, SettingChange)>) {
        if changes.is_empty() {
            return;
        }
        let entries = changed(self.settings.entries.clone(), &self.base.entries, changes);
        self.settings = self.worker.settings.intern(Settings { entries });
    }

    /// The connections of a committed transaction have what was set in it: whoever gets them next
    /// must know. RESET takes them to the server's own value, not to that of the startup packet.
    pub(super) fn note_settings_of_branches(&mut self, changes: &[(usize, SettingChange)]) {
        if changes.is_empty() {
            return;
        }
        for branch in &mut self.transaction.branches {
            let server = &mut branch.server;
            let before = server.settings.entries.clone();
            let entries = changed(before, &Entries::default(), changes.to_vec());
            server.settings = self.worker.settings.intern(Settings { entries });
        }
    }

    /// `SELECT set_config('name', $n, local)`.
    pub(super) async fn set_from_parameter(
        &mut self,
        name: &str,
        local: bool,
        value: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let text = format!(
            "SELECT pg_catalog.set_config({}, {}, {local})",
            quote_literal(name),
            quote_literal(value)
        );
        let change = SettingChange::Set {
            name: name.to_owned(),
            statement: text.clone(),
        };
        if self.transaction.state == State::Idle && local {
            return self.run_anywhere(invocation.text(), invocation).await;
        }
        self.run_on_all_joined(invocation.text(), invocation)
            .await?;
        if self.transaction.state != State::Idle {
            self.transaction.log.push(LogEntry::Statement(text));
            let length = self.transaction.log.len();
            if !local {
                self.transaction.settings.push((length, change));
            }
        } else {
            let ran_everywhere = matches!(change, SettingChange::Set { .. });
            self.keep_settings(vec![(0, change)]);
            self.adopt_settings(ran_everywhere).await?;
        }
        if is_followed(name) {
            self.followed_changed().await?;
        }
        Ok(())
    }

    /// Runs on one shard with the reply for the client, then quietly on all others that have joined.
    pub(super) async fn run_on_all_joined(
        &mut self,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let first = self.joined_anywhere_without_snapshot().await?;
        self.forward_text(first, text, invocation).await?;
        for index in 0..self.transaction.branches.len() {
            if index != first {
                let server = &mut self.transaction.branches[index].server;
                server.query(text, &self.worker.parameters).await?;
            }
        }
        Ok(())
    }

    /// Runs on any shard, with the reply for the client.
    pub(super) async fn run_anywhere(
        &mut self,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let index = self.joined_anywhere_without_snapshot().await?;
        self.forward_text(index, text, invocation).await?;
        Ok(())
    }

    /// Settings that the router follows may be others: ask a connection that has run the change.
    pub(super) async fn followed_changed(&mut self) -> Result<(), Fault> {
        if self.transaction.state != State::Idle {
            self.transaction.followed_touched = true;
        }
        let index = self.joined_anywhere_without_snapshot().await?;
        let followed = Followed::of(&self.run_quietly(index, SHOW_FOLLOWED).await?);
        self.use_search_path(&followed.search_path);
        self.default_isolation = followed.isolation;
        self.read_own_settings(index).await
    }

    /// Settings of the router's own, which the servers know only where they were set.
    async fn read_own_settings(&mut self, index: usize) -> Result<(), Fault> {
        let entries = &self.settings.entries;
        let is_set = self.has_own_settings || OWN.iter().any(|name| entries.contains_key(*name));
        let touched = self.transaction.log.iter().any(|entry| {
            matches!(entry, LogEntry::Statement(text) if text.to_ascii_lowercase().contains("oskol."))
        });
        let own = match is_set || touched {
            true => own_settings(self.run_quietly(index, SHOW_OWN).await?),
            false => Rc::default(),
        };
        self.use_own_settings(&own)
    }

    /// `own`: the row of [`SHOW_OWN`], or nothing, where none of them is set.
    pub(super) fn use_own_settings(&mut self, own: &[Option<String>]) -> Result<(), Fault> {
        let value = |position: usize| own.get(position).and_then(Option::as_deref).map(str::trim);
        let config = &self.worker.config;
        self.consistent_reads = match value(0) {
            None | Some("") => config.transactions.cross_shard_reads == CrossShardReads::Consistent,
            Some("consistent") => true,
            Some("plain") => false,
            Some(other) => return Err(no_such_reads(other).into()),
        };
        self.reads = Reads::of(&config.reads).with(value(1), value(2))?;
        Ok(())
    }

    /// Plans from now on with this `search_path` setting.
    pub(super) fn use_search_path(&mut self, setting: &str) {
        let capacity = self.worker.config.limits.plan_cache;
        let path = expand_search_path(setting, &self.account.user);
        if let Some(private) = &self.transaction.private {
            let private = private.with_search_path(Rc::clone(&path), capacity);
            self.transaction.private = Some(Rc::new(private));
        }
        self.space = self.worker.space(&self.database, &path);
    }

    /// The transaction is over and had changed them: they may have gone back.
    pub(super) async fn read_followed_again(&mut self) {
        let read = self.followed_changed().await;
        if let Err(fault) = read {
            tracing::warn!(?fault, "cannot read settings after a transaction");
        }
    }

    /// Sends `text` in the client's own protocol and passes the reply on, without ReadyForQuery.
    pub(super) async fn forward_text(
        &mut self,
        index: usize,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<Stopped, Fault> {
        use super::slots::Slot;
        use wire::frontend::{StatementOrPortal, write};
        self.tell_collects(index);
        let space = self.transaction.private.as_ref().unwrap_or(&self.space);
        let server = &mut self.transaction.branches[index].server;
        match invocation {
            Invocation::Simple { .. } => {
                server.queue_query(text.as_bytes());
                self.slots.push_back(Slot::query(true));
            }
            Invocation::Extended { identity, bind, .. } => {
                server.prepared.unnamed = None;
                let oids = space.oids(server.shard);
                let types = identity.types.iter();
                let types = types
                    .map(|oid| oids.map_or(*oid, |map| map.type_oid(*oid, Direction::FromHome)));
                write::parse(&mut server.outbuf, b"", text.as_bytes(), types)?;
                bind.rewrite(&mut server.outbuf, b"", b"", &[])?;
                let asks = oids.is_some() && gives_binary_rows(bind);
                if asks {
                    write::describe(&mut server.outbuf, StatementOrPortal::Portal, b"");
                }
                write::execute(&mut server.outbuf, b"", 0);
                write::sync(&mut server.outbuf);
                self.slots.push_back(Slot::Parse {
                    number: 0,
                    hidden: true,
                });
                self.slots.push_back(Slot::Bind { hidden: true });
                if asks {
                    self.slots.push_back(Slot::DescribePortal { hidden: true });
                }
                self.slots.push_back(Slot::execute(false));
                self.slots.push_back(Slot::Sync { hidden: true });
            }
        }
        self.failed = false;
        let hold = std::mem::replace(&mut self.hold_output, true);
        let stopped = self.relay(index).await;
        self.hold_output = hold;
        let stopped = stopped?;
        if self.failed {
            if self.transaction.branches[index].server.status == b'E' {
                self.transaction.state = State::Failed;
            }
            return Err(Fault::AlreadyTold);
        }
        Ok(stopped)
    }
}

/// Settings after changes; `base`: what RESET goes back to.
fn changed(mut entries: Entries, base: &Entries, changes: Vec<(usize, SettingChange)>) -> Entries {
    for (_, change) in changes {
        match change {
            SettingChange::Set { name, statement } => {
                if name == "session_authorization" {
                    entries.remove("role");
                }
                let statement = match entries.remove(&name) {
                    // It sets one of several settings, and leaves the others.
                    Some(before) if name == CHARACTERISTICS && !before.ends_with(&statement) => {
                        format!("{before};{statement}")
                    }
                    _ => statement,
                };
                entries.insert(name, statement);
            }
            SettingChange::Reset(name) => {
                match base.get(&name) {
                    Some(statement) => entries.insert(name, statement.clone()),
                    None => entries.remove(&name),
                };
            }
            SettingChange::ResetAll => {
                let kept = |name: &str| matches!(name, "role" | "session_authorization");
                entries.retain(|name, _| kept(name));
                entries.extend(base.clone());
            }
        }
    }
    entries
}

/// Neither takes a snapshot.
pub(super) const SHOW_FOLLOWED: &str = "SHOW search_path;SHOW default_transaction_isolation";
const CROSS_SHARD_READS: &str = "oskol.cross_shard_reads";
/// The router's own.
const OWN: [&str; 3] = [CROSS_SHARD_READS, READ_FROM, MAX_LAG];
pub(super) const SHOW_OWN: &str = "SELECT pg_catalog.current_setting('oskol.cross_shard_reads', true),
    pg_catalog.current_setting('oskol.read_from', true), pg_catalog.current_setting('oskol.max_standby_lag', true)";

/// Settings of the server connections that the router goes by.
pub(super) struct Followed {
    pub search_path: String,
    pub isolation: Isolation,
}

impl Followed {
    /// From the rows of [`SHOW_FOLLOWED`].
    pub fn of(rows: &[Vec<Option<String>>]) -> Self {
        let mut values = rows.iter().map(|row| row.first().cloned().flatten());
        Self {
            search_path: values.next().flatten().unwrap_or_default(),
            isolation: Isolation::named(&values.next().flatten().unwrap_or_default()),
        }
    }
}

/// Whether a change of this setting changes what the router goes by.
fn is_followed(name: &str) -> bool {
    matches!(
        name,
        "search_path"
            | "role"
            | "session_authorization"
            | "schema"
            | "default_transaction_isolation"
            | CHARACTERISTICS
            | CROSS_SHARD_READS
            | READ_FROM
            | MAX_LAG
    )
}

fn no_such_reads(value: &str) -> RouterError {
    RouterError::new(
        "22023",
        format!("invalid value for parameter \"{CROSS_SHARD_READS}\": \"{value}\""),
    )
    .hint("Available values: plain, consistent.")
}

/// From the row of [`SHOW_OWN`]; nothing where none of them has a value.
pub(super) fn own_settings(rows: Vec<Vec<Option<String>>>) -> Rc<[Option<String>]> {
    let row = rows.into_iter().next().unwrap_or_default();
    let is_set = |value: &Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    match row.iter().any(is_set) {
        true => row.into(),
        false => Rc::default(),
    }
}

/// The first column of the first row.
pub(super) fn first_value(rows: &[Vec<Option<String>>]) -> Option<String> {
    rows.first()?.first()?.clone()
}

/// The schemas of a `search_path` setting, with `$user` in its place.
pub(super) fn expand_search_path(setting: &str, user: &str) -> Rc<[String]> {
    let names = split_identifiers(setting).into_iter();
    names
        .map(|name| {
            if name == "$user" {
                user.to_owned()
            } else {
                name
            }
        })
        .collect()
}
