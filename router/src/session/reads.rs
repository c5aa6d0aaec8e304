//! Reading from standbys, where the session asks for it (`oskol.read_from`): which statements do, and which standby.
//!
//! A statement outside a transaction block goes to a standby if it only reads, and so does a READ COMMITTED transaction that
//! is READ ONLY: as a whole, but for statements that only a primary can run. Everything else goes to the primary, as if
//! nothing were asked: above READ COMMITTED, and for consistent reads, the shards' snapshots are of one moment only there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::ShardId;

use super::fault::Fault;
use super::state::Session;
use super::transaction::{Source, State};
use crate::backend::Server;
use crate::config::{ReadFrom, ReadsConfig, units};
use crate::error::RouterError;
use crate::plan::{Action, Isolation, Plan, PlanContext};
use crate::standbys::{Moment, Need, Standby};

pub(super) const READ_FROM: &str = "oskol.read_from";
pub(super) const MAX_LAG: &str = "oskol.max_standby_lag";
/// Where only a standby will do: one that is about to catch up is waited for so long.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// What a session asks of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    pub from: ReadFrom,
    max_lag: Duration,
    max_bytes: u64,
}

impl Reads {
    pub fn of(config: &ReadsConfig) -> Self {
        Self {
            from: config.from,
            max_lag: config.max_lag,
            max_bytes: match config.max_lag_bytes {
                0 => u64::MAX,
                bytes => bytes,
            },
        }
    }

    /// With the values of the session's settings; `None` and empty texts are those of the configuration.
    pub fn with(self, from: Option<&str>, lag: Option<&str>) -> Result<Self, RouterError> {
        let given = |text: Option<&'_ str>| {
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let mut reads = self;
        if let Some(text) = given(from) {
            let mut names = ReadFrom::NAMES.iter();
            let named = names.find(|(name, _)| name.eq_ignore_ascii_case(&text));
            reads.from = named.ok_or_else(|| no_such_source(&text))?.1;
        }
        for text in given(lag).iter().flat_map(|text| text.split(',')) {
            match lag_bound(text.trim()) {
                Some(Bound::Time(time)) => reads.max_lag = time,
                Some(Bound::Bytes(bytes)) => reads.max_bytes = bytes,
                None => return Err(no_such_lag(text)),
            }
        }
        Ok(reads)
    }
}

enum Bound {
    Time(Duration),
    Bytes(u64),
}

/// As PostgreSQL types such settings, `5s`, `64MB`, `1000` (ms), or as our configuration does.
fn lag_bound(text: &str) -> Option<Bound> {
    if let Ok(milliseconds) = text.parse() {
        return Some(Bound::Time(Duration::from_millis(milliseconds)));
    }
    if let Some(time) = units::duration(text) {
        return Some(Bound::Time(time));
    }
    let binary = match text
        .strip_suffix('B')
        .filter(|rest| rest.ends_with(['k', 'M', 'G']))
    {
        Some(rest) => format!("{}iB", rest.replace('k', "K")),
        None => text.to_owned(),
    };
    units::size(&binary).map(|bytes| Bound::Bytes(bytes as u64))
}

impl Session {
    /// This session or transaction reads at standbys.
    #[inline]
    pub(super) fn asks_standbys(&self) -> bool {
        self.reads.from != ReadFrom::Primary || self.transaction.reads_standby.get()
    }

    /// Decides, before a statement is sent anywhere, where it reads. `text`: its own, or one of the plan's shape.
    pub(super) fn choose_source(&self, plan: &Plan, text: &str) {
        if !self.asks_standbys() {
            return;
        }
        if matches!(plan.action, Action::Session(_)) {
            // It goes where the transaction is.
            if self.transaction.reads_standby.get() {
                self.transaction.source.set(Source::Standby);
            }
            return;
        }
        self.choose(self.may_run_on_standby(plan, text));
    }

    pub(super) fn may_run_on_standby(&self, plan: &Plan, text: &str) -> bool {
        if !self.temporaries.is_empty() || self.pinned {
            return false;
        }
        let space = self.current_space();
        plan.may_run_on_standby(
            text,
            &PlanContext {
                snapshot: space.snapshot(),
                search_path: &space.existing_path,
                temporary: &|_| false,
                rules: &self.worker.config.tables,
                database: self.database.name(),
                clock_in_parameters: false,
            },
        )
    }

    /// `fits`: a standby may run what comes.
    pub(super) fn choose(&self, fits: bool) {
        let plain =
            self.transaction_isolation() == Isolation::ReadCommitted && !self.consistent_reads;
        let transaction = &self.transaction;
        let source = transaction.source.get();
        if transaction.reads_standby.get() {
            let source = if fits {
                Source::Standby
            } else {
                Source::Primary
            };
            return transaction.source.set(source);
        }
        let begins = match transaction.state {
            State::Idle => transaction.branches.is_empty(),
            State::Open => {
                !transaction.implicit && source == Source::Undecided && transaction.is_read_only()
            }
            State::Failed => false,
        };
        if fits && plain && begins {
            transaction.source.set(Source::Standby);
            transaction
                .reads_standby
                .set(transaction.state == State::Open);
        } else if !fits || source == Source::Undecided {
            transaction.source.set(Source::Primary);
        }
    }

    fn transaction_isolation(&self) -> Isolation {
        match self.transaction.state {
            State::Idle => self.default_isolation,
            State::Open | State::Failed => self.transaction.isolation,
        }
    }

    /// What a standby must have seen: all of the time that the session allows it, and the catalog and shard map that
    /// statements are planned with.
    fn need(&self) -> Need {
        Need {
            as_of: Moment::now()
                .before(self.reads.max_lag)
                .max(self.database.changed()),
            bytes: self.reads.max_bytes,
        }
    }

    /// A connection to a standby of `shard`; where there is none that fits: to the primary, if that will do.
    pub(super) async fn server_for_reading(
        &mut self,
        shard: ShardId,
    ) -> Result<Box<Server>, Fault> {
        let since = Instant::now();
        loop {
            if let Some(standby) = self.fitting_standby(shard) {
                match self.server_of(shard, &standby).await {
                    Err(fault) if is_about_the_host(&fault) => standby.put_out(),
                    leased => return leased,
                }
            } else if self.reads.from == ReadFrom::PreferStandby {
                return match self.server_at_hand(shard) {
                    Some(server) => Ok(server),
                    None => self.server_waited_for(shard).await,
                };
            } else if since.elapsed() > PATIENCE {
                return Err(self.no_standby(shard).into());
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A transaction goes on at a standby, after tables or the shard map may have changed: no lock of its own has kept them.
    pub(super) fn check_standby(&self, index: usize) -> Result<(), Fault> {
        let standby = &self.transaction.branches[index].server.account.standby;
        match standby {
            Some(_) if !self.database.is_confirmed() => Err(cut_off().into()),
            Some(standby) if !standby.has_reached(self.database.changed()) => {
                Err(has_changed().into())
            }
            _ => Ok(()),
        }
    }

    fn fitting_standby(&self, shard: ShardId) -> Option<Arc<Standby>> {
        if !self.database.is_confirmed() {
            return None;
        }
        let turn = self.worker.next_turn();
        self.worker.standbys.pick(shard, self.need(), turn)
    }

    async fn server_of(
        &mut self,
        shard: ShardId,
        standby: &Arc<Standby>,
    ) -> Result<Box<Server>, Fault> {
        let account = self.worker.reader(&self.account, standby);
        standby.count_read();
        match self.worker.pools.take_idle(shard, &account) {
            Some(server) => Ok(server),
            None => self.server_of_account(shard, &account).await,
        }
    }

    /// A shard for what any shard can run: one with a standby that fits, else one with a standby.
    pub(super) fn any_shard_to_read(&self, shards: &[ShardId]) -> ShardId {
        let (first, need) = (self.worker.next_turn(), self.need());
        let standbys = &self.worker.standbys;
        let in_turn = (0..shards.len()).map(|step| shards[(first + step) % shards.len()]);
        let mut with_some = in_turn
            .clone()
            .filter(|shard| standbys.of(*shard).is_some());
        let mut fitting = in_turn.filter(|shard| standbys.pick(*shard, need, 0).is_some());
        fitting
            .next()
            .or_else(|| with_some.next())
            .unwrap_or(shards[first % shards.len()])
    }

    fn no_standby(&self, shard: ShardId) -> RouterError {
        if !self.database.is_confirmed() {
            return cut_off();
        }
        let hosts = self.worker.standbys.of(shard);
        let told: Vec<String> = hosts
            .iter()
            .flat_map(|hosts| hosts.iter())
            .map(|standby| told(standby))
            .collect();
        let detail = match told.is_empty() {
            true => "The configuration names one host of the shard only.".to_owned(),
            false => format!("{}.", told.join("; ")),
        };
        RouterError::new("08001", format!("no standby of shard {shard} is fresh enough"))
            .detail(detail)
            .hint("Raise oskol.max_standby_lag, or SET oskol.read_from = 'prefer_standby' to read from the primary meanwhile.")
    }
}

/// Where a standby stands, for messages.
fn told(standby: &Standby) -> String {
    let seen = standby.seen();
    let place = format!("{}:{}", standby.host.host, standby.host.port);
    match (seen.fault, seen.lag) {
        (Some(fault), _) => format!("{place}: {fault}"),
        (None, Some(lag)) => {
            let bytes = seen.bytes.unwrap_or_default();
            format!("{place} is {} ms and {bytes} bytes behind", lag.as_millis())
        }
        (None, None) => format!("{place} has not caught up since it is measured"),
    }
}

/// Another host may do better. What a pool's limit or the client's own cancel says does not depend on the host.
fn is_about_the_host(fault: &Fault) -> bool {
    match fault {
        Fault::Router(error) => !matches!(error.sqlstate, "53300" | "57014"),
        Fault::Shard(_) => true,
        _ => false,
    }
}

fn cut_off() -> RouterError {
    RouterError::new(
        "57P03",
        "this router cannot reach the home shard, and does not know whether rows have moved",
    )
    .detail("A standby would be read by a shard map that may be out of date.")
    .hint(
        "Connect to another router, or try again once the home shard can be reached from this one.",
    )
}

fn has_changed() -> RouterError {
    RouterError::new(
        "40001",
        "tables or the shard map have changed, and the transaction's standby is not there yet",
    )
    .hint("Run the transaction again.")
}

fn no_such_source(value: &str) -> RouterError {
    RouterError::new(
        "22023",
        format!("invalid value for parameter \"{READ_FROM}\": \"{value}\""),
    )
    .hint("Available values: primary, prefer_standby, standby.")
}

fn no_such_lag(value: &str) -> RouterError {
    RouterError::new(
        "22023",
        format!("invalid value for parameter \"{MAX_LAG}\": \"{value}\""),
    )
    .hint("A time such as 5s, a size such as 16MB, or both parted by a comma.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads() -> Reads {
        Reads {
            from: ReadFrom::Primary,
            max_lag: Duration::from_secs(10),
            max_bytes: u64::MAX,
        }
    }

    #[test]
    fn bounds_are_read_as_postgresql_and_the_configuration_type_them() {
        let bounds = |text: &str| {
            reads()
                .with(None, Some(text))
                .map(|r| (r.max_lag.as_millis(), r.max_bytes))
        };
        assert_eq!(bounds("250"), Ok((250, u64::MAX)));
        assert_eq!(bounds("2s, 16MB"), Ok((2_000, 16 << 20)));
        assert_eq!(bounds("64kB"), Ok((10_000, 64 << 10)));
        assert_eq!(bounds("1GiB"), Ok((10_000, 1 << 30)));
        assert_eq!(bounds(""), Ok((10_000, u64::MAX)));
        for wrong in ["soon", "5 parsecs", "-1s", "2s,"] {
            assert!(bounds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_have_three_names() {
        let from = |text| reads().with(Some(text), None).map(|reads| reads.from);
        assert_eq!(from("Prefer_Standby"), Ok(ReadFrom::PreferStandby));
        assert_eq!(from(""), Ok(ReadFrom::Primary));
        assert!(from("replica").is_err());
    }
}
