//! The standbys of all shards, and how old what each of them shows may be.
//!
//! Written by the control thread, which measures; read by workers that look for a standby to read from. Must never know:
//! statements, sockets' protocols. A standby's age is told by the router's clock alone: it *is as of* the last moment before
//! which the primary had nothing that the standby has not replayed. So it holds whether or not anything is written, and a
//! standby that cannot be measured grows old by itself.

mod history;

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use socket2::Socket;
use topology::ShardId;

pub use history::{History, end_of_records};

use crate::config::ShardConfig;

/// A moment of this process's own clock, in microseconds. Zero is before all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    pub fn now() -> Self {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let micros = ORIGIN.elapsed().as_micros();
        // 584,000 years; the first microsecond belongs to the second.
        Self(u64::try_from(micros).unwrap_or(u64::MAX).max(1))
    }

    /// The moment so long before this one.
    pub fn before(self, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    pub fn elapsed(self) -> Duration {
        Duration::from_micros(Self::now().0.saturating_sub(self.0))
    }
}

/// What a reader asks of a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// All that was there at this moment must be seen.
    pub as_of: Moment,
    /// Bytes of WAL that it may be behind.
    pub bytes: u64,
}

/// One standby of a shard.
#[derive(Debug)]
pub struct Standby {
    /// The shard with this host alone.
    pub host: ShardConfig,
    /// [`Moment`]; 0: never measured, or no standby.
    as_of: AtomicU64,
    /// Bytes behind the primary at the last measurement.
    bytes: AtomicU64,
    /// It did not take a connection: not to be tried before the next measurement.
    is_out: AtomicBool,
    is_paused: AtomicBool,
    is_primary: AtomicBool,
    /// How often a reader was sent here.
    reads: AtomicU64,
    /// Of the connections that read here, to be cut where the server hangs.
    links: Mutex<FxHashMap<u64, Socket>>,
    next_link: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Standby {
    pub fn new(host: ShardConfig) -> Self {
        Self {
            host,
            as_of: AtomicU64::new(0),
            bytes: AtomicU64::new(u64::MAX),
            is_out: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            is_primary: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            links: Mutex::default(),
            next_link: AtomicU64::new(0),
            fault: Mutex::new(Some("not yet measured".into())),
        }
    }

    pub fn fits(&self, need: Need) -> bool {
        let as_of = self.as_of.load(Ordering::Acquire);
        as_of >= need.as_of.0.max(1)
            && self.bytes.load(Ordering::Relaxed) <= need.bytes
            && !self.is_out.load(Ordering::Relaxed)
    }

    /// It shows all that was there at this moment, or it was promoted and shows all there is.
    pub fn has_reached(&self, moment: Moment) -> bool {
        let as_of = self.as_of.load(Ordering::Acquire);
        as_of >= moment.0 || self.is_primary.load(Ordering::Relaxed)
    }

    /// A measurement: it is a standby and answers.
    pub fn measured(&self, as_of: Option<Moment>, bytes: u64, paused: bool) {
        self.bytes.store(bytes, Ordering::Relaxed);
        if let Some(as_of) = as_of {
            self.as_of.fetch_max(as_of.0, Ordering::AcqRel);
        }
        self.is_paused.store(paused, Ordering::Relaxed);
        self.is_primary.store(false, Ordering::Relaxed);
        self.is_out.store(false, Ordering::Relaxed);
        *self.fault() = None;
    }

    /// It cannot be measured. What it showed before stays true of what it was as of then.
    pub fn failed(&self, why: String) {
        self.is_out.store(true, Ordering::Relaxed);
        *self.fault() = Some(why);
    }

    /// What admins are to know of it besides.
    pub fn note(&self, what: &str) {
        *self.fault() = Some(what.to_owned());
    }

    /// It is the primary.
    pub fn is_primary(&self) {
        self.is_no_standby("is the primary");
        self.is_primary.store(true, Ordering::Relaxed);
    }

    /// It is not to be read from, for this reason.
    pub fn is_no_standby(&self, why: &str) {
        self.as_of.store(0, Ordering::Release);
        self.is_primary.store(false, Ordering::Relaxed);
        *self.fault() = Some(why.to_owned());
    }

    /// A reader could not connect: others need not try before the next measurement.
    pub fn put_out(&self) {
        self.is_out.store(true, Ordering::Relaxed);
    }

    pub fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps a second handle of a reader's socket as long as the link lives.
    pub fn link(self: &Arc<Self>, socket: Socket) -> Link {
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        self.links().insert(number, socket);
        Link {
            standby: Arc::clone(self),
            number,
        }
    }

    /// It hangs: its readers would wait for as long. They are told that their connection is lost.
    pub fn cut(&self) -> usize {
        let links = self.links();
        for socket in links.values() {
            // One that is closed already needs nothing.
            let _ = socket.shutdown(Shutdown::Both);
        }
        links.len()
    }

    /// For admins.
    pub fn seen(&self) -> Seen {
        let as_of = Moment(self.as_of.load(Ordering::Acquire));
        let bytes = self.bytes.load(Ordering::Relaxed);
        Seen {
            lag: (as_of.0 > 0).then(|| as_of.elapsed()),
            bytes: (bytes < u64::MAX).then_some(bytes),
            is_paused: self.is_paused.load(Ordering::Relaxed),
            is_primary: self.is_primary.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            fault: self.fault().clone(),
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, FxHashMap<u64, Socket>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What admins see of a standby.
#[derive(Debug, Clone)]
pub struct Seen {
    /// None: never known.
    pub lag: Option<Duration>,
    pub bytes: Option<u64>,
    pub is_paused: bool,
    pub is_primary: bool,
    pub reads: u64,
    pub fault: Option<String>,
}

impl Seen {
    /// One word.
    pub fn state(&self) -> &'static str {
        match () {
            () if self.is_primary => "primary",
            () if self.fault.is_some() => "down",
            () if self.is_paused => "paused",
            () => "standby",
        }
    }
}

/// Of one connection of a reader; see [`Standby::link`].
#[derive(Debug)]
pub struct Link {
    standby: Arc<Standby>,
    number: u64,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.standby.links().remove(&self.number);
    }
}

type OfShard = Arc<[Arc<Standby>]>;

/// Those of all shards; one for the whole process.
#[derive(Debug, Default)]
pub struct Standbys {
    known: RwLock<FxHashMap<ShardId, OfShard>>,
}

impl Standbys {
    /// All hosts of a shard that may be standbys, the primary among them.
    pub fn of(&self, shard: ShardId) -> Option<OfShard> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&shard).map(Arc::clone)
    }

    pub fn put(&self, shard: ShardId, hosts: OfShard) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(shard, hosts);
    }

    pub fn remove(&self, shard: ShardId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&shard);
    }

    /// One that fits; `turn` has readers take them in turn.
    pub fn pick(&self, shard: ShardId, need: Need, turn: usize) -> Option<Arc<Standby>> {
        let hosts = self.of(shard)?;
        let count = hosts.len();
        let mut in_turn = (0..count).map(|step| &hosts[(turn + step) % count]);
        in_turn.find(|standby| standby.fits(need)).map(Arc::clone)
    }

    /// All, for admins.
    pub fn all(&self) -> Vec<Arc<Standby>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known
            .values()
            .flat_map(|hosts| hosts.iter())
            .cloned()
            .collect();
        all.sort_by(|a, b| {
            let key = |standby: &Standby| {
                (
                    standby.host.id,
                    standby.host.host.clone(),
                    standby.host.port,
                )
            };
            key(a).cmp(&key(b))
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(host: &str) -> Arc<Standby> {
        Arc::new(Standby::new(ShardConfig {
            id: ShardId(1),
            host: host.into(),
            port: 5432,
            weight: 1.0,
            patroni: None,
        }))
    }

    fn need(as_of: u64, bytes: u64) -> Need {
        Need {
            as_of: Moment(as_of),
            bytes,
        }
    }

    #[test]
    fn only_what_was_measured_and_is_fresh_enough_fits() {
        let one = standby("a");
        assert!(!one.fits(need(0, u64::MAX)), "never measured");
        one.measured(Some(Moment(100)), 10, false);
        assert!(one.fits(need(100, 10)));
        assert!(!one.fits(need(101, 10)), "too old");
        assert!(!one.fits(need(100, 9)), "too far behind");
        one.put_out();
        assert!(!one.fits(need(100, 10)), "it took no connection");
        one.measured(None, 5, false);
        assert!(one.fits(need(100, 10)), "what it was as of stays");
        one.is_no_standby("is the primary");
        assert!(!one.fits(need(0, u64::MAX)));
    }

    #[test]
    fn readers_go_round_those_that_fit() {
        let all = Standbys::default();
        let (a, b, c) = (standby("a"), standby("b"), standby("c"));
        a.measured(Some(Moment(5)), 0, false);
        c.measured(Some(Moment(5)), 0, false);
        all.put(ShardId(1), vec![a, b, c].into());
        let picked = |turn| {
            all.pick(ShardId(1), need(1, 0), turn)
                .map(|s| s.host.host.clone())
        };
        let picked: Vec<_> = (0..3).map(|turn| picked(turn).unwrap()).collect();
        assert_eq!(picked, ["a", "c", "c"]);
        assert!(all.pick(ShardId(2), need(1, 0), 0).is_none());
    }
}
