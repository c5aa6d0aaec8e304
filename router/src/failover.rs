//! Which of a shard's hosts is the primary, when there are several: found by asking, kept until it fails.
//!
//! Takes a way to try one host; gives what the first primary gave, waiting for one during a failover, within a bound.
//! Must never know: protocols, users, what a connection is for.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustc_hash::FxHashMap;
use topology::ShardId;

use crate::config::ShardConfig;

/// The last known primary has so long before the others are tried as well.
const HEAD_START: Duration = Duration::from_secs(1);
/// Between two rounds over all hosts while none of them is a primary.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What became of trying one host.
#[derive(Debug)]
pub enum Attempt<T, E> {
    Primary(T),
    /// A standby, or a server that is down: another host or a later try may do better.
    Elsewhere(E),
    /// It would be the same anywhere, such as a wrong password.
    Final(E),
}

/// SQLSTATEs of a server that starts, recovers or shuts down: admin_shutdown, crash_shutdown, cannot_connect_now.
pub fn is_starting_or_ending(sqlstate: &str) -> bool {
    matches!(sqlstate, "57P01" | "57P02" | "57P03")
}

/// The last known primaries of one thread or task group. Cheap to clone; clones share what is known.
#[derive(Debug, Clone, Default)]
pub struct Primaries {
    known: Arc<Mutex<FxHashMap<ShardId, Arc<Known>>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Index among the shard's hosts.
    last: Mutex<usize>,
    /// One looks at all hosts at a time; those who wait profit from what it finds.
    search: tokio::sync::Mutex<()>,
}

impl Primaries {
    /// Tries the hosts of `shard` until one is a primary. A shard of one host is tried once, as it is.
    ///
    /// `hold`: how long to go on while there is none.
    ///
    /// # Errors
    /// The last host's, where none became a primary in time; one that no other host could mend, at once.
    pub async fn find<T, E, F>(
        &self,
        shard: &ShardConfig,
        hold: Duration,
        attempt: impl Fn(ShardConfig) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Attempt<T, E>>,
    {
        let mut hosts = shard.each_host();
        if let [only] = &hosts[..] {
            return match attempt(only.clone()).await {
                Attempt::Primary(found) => Ok(found),
                Attempt::Elsewhere(error) | Attempt::Final(error) => Err(error),
            };
        }
        let (known, started, mut pause) = (self.known(shard.id), Instant::now(), FIRST_PAUSE);
        loop {
            let leader = shard.leader_among(&hosts);
            let last = leader.unwrap_or_else(|| known.get(hosts.len()));
            match tokio::time::timeout(HEAD_START, attempt(hosts[last].clone())).await {
                Ok(Attempt::Primary(found)) => {
                    known.set(last, shard);
                    return Ok(found);
                }
                Ok(Attempt::Final(error)) => return Err(error),
                Ok(Attempt::Elsewhere(_)) | Err(_) => {}
            }
            // Who has waited long enough looks for himself, once.
            let left = hold.saturating_sub(started.elapsed());
            let _one = tokio::time::timeout(left, known.search.lock()).await.ok();
            if leader.is_none() && known.get(hosts.len()) != last {
                // Somebody has found it meanwhile.
                continue;
            }
            match first_primary(&hosts, leader, &attempt).await {
                Attempt::Primary((at, found)) => {
                    known.set(at, shard);
                    return Ok(found);
                }
                Attempt::Final(error) => return Err(error),
                Attempt::Elsewhere(error) if started.elapsed() + pause > hold => return Err(error),
                Attempt::Elsewhere(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Patroni may have told of another one.
            hosts = shard.each_host();
        }
    }

    fn known(&self, shard: ShardId) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(shard).or_default())
    }
}

impl Known {
    /// The configuration may have become shorter.
    fn get(&self, hosts: usize) -> usize {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last < hosts { last } else { 0 }
    }

    fn set(&self, at: usize, shard: &ShardConfig) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != at {
            tracing::info!(shard = %shard.id, hosts = shard.host, number = at, "another host is the primary");
        }
        *last = at;
    }
}

/// All hosts at once; the first primary counts, with its index. Where Patroni says who leads no other one does: that it
/// takes writes yet is no reason to give it any.
async fn first_primary<T, E, F>(
    hosts: &[ShardConfig],
    leader: Option<usize>,
    attempt: &impl Fn(ShardConfig) -> F,
) -> Attempt<(usize, T), E>
where
    F: Future<Output = Attempt<T, E>>,
{
    let mut tries: FuturesUnordered<_> = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let trying = attempt(host.clone());
            async move { (at, trying.await) }
        })
        .collect();
    let mut failure = None;
    while let Some((at, outcome)) = tries.next().await {
        match outcome {
            Attempt::Primary(found) if leader.is_none_or(|leader| leader == at) => {
                return Attempt::Primary((at, found));
            }
            Attempt::Primary(_) => tracing::warn!(
                shard = %hosts[at].id, host = hosts[at].host, port = hosts[at].port,
                "a host says that it is the primary, and Patroni says that another one leads"
            ),
            // A standby that is starting may not know a role yet: the others may still be the primary.
            Attempt::Final(error) => failure = Some(Attempt::Final(error)),
            Attempt::Elsewhere(error) => {
                failure = failure.or(Some(Attempt::Elsewhere(error)));
            }
        }
    }
    failure.expect("a shard has at least one host: the configuration was checked")
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn shard(hosts: &str) -> ShardConfig {
        ShardConfig {
            id: ShardId(3),
            host: hosts.to_owned(),
            port: 5432,
            weight: 1.0,
            patroni: None,
        }
    }

    #[tokio::test]
    async fn the_primary_is_found_and_tried_first_from_then_on() {
        let (primaries, tried) = (Primaries::default(), RefCell::new(Vec::new()));
        let attempt = |host: ShardConfig| {
            tried.borrow_mut().push(host.host.clone());
            async move {
                match host.host.as_str() {
                    "b" => Attempt::Primary(host.port),
                    _ => Attempt::Elsewhere("a standby"),
                }
            }
        };
        let hosts = shard("a,b:6000,c");
        let found = primaries.find(&hosts, Duration::ZERO, attempt).await;
        assert_eq!(found, Ok(6000));
        tried.borrow_mut().clear();
        let again = primaries.find(&hosts, Duration::ZERO, attempt).await;
        assert_eq!((again, tried.take()), (Ok(6000), vec!["b".to_owned()]));
    }

    #[tokio::test]
    async fn a_promotion_is_waited_for_within_the_bound() {
        let (primaries, rounds) = (Primaries::default(), Cell::new(0));
        let attempt = |host: ShardConfig| {
            rounds.set(rounds.get() + 1);
            let promoted = rounds.get() > 8;
            async move {
                match promoted && host.host == "b" {
                    true => Attempt::Primary(()),
                    false => Attempt::Elsewhere(host.host),
                }
            }
        };
        let hosts = shard("a,b");
        let short = primaries.find(&hosts, Duration::ZERO, attempt).await;
        assert!(short.is_err());
        let held = primaries
            .find(&hosts, Duration::from_secs(3600), attempt)
            .await;
        assert_eq!(held, Ok(()));
    }

    /// Patroni says that `leader` leads.
    fn led_by(leader: (&str, u16), hosts: &str) -> ShardConfig {
        let patroni = crate::patroni::Patroni::new(Vec::new());
        let leader = (leader.0.to_owned(), leader.1);
        patroni.say(crate::patroni::Cluster {
            leader: Some(leader.clone()),
            members: vec![leader],
            spared: Vec::new(),
        });
        ShardConfig {
            patroni: Some(Arc::new(patroni)),
            ..shard(hosts)
        }
    }

    #[tokio::test]
    async fn who_leads_is_tried_first_even_if_no_list_names_it() {
        let tried = RefCell::new(Vec::new());
        let attempt = |host: ShardConfig| {
            tried.borrow_mut().push(host.host.clone());
            async move { Attempt::<_, ()>::Primary(host.port) }
        };
        let shard = led_by(("c", 7000), "a,b");
        let found = Primaries::default()
            .find(&shard, Duration::ZERO, attempt)
            .await;
        assert_eq!((found, tried.take()), (Ok(7000), vec!["c".to_owned()]));
    }

    #[tokio::test]
    async fn neither_patroni_nor_a_host_alone_makes_a_primary() {
        // Patroni says b, which says that it is a standby; a takes writes yet.
        let attempt = |host: ShardConfig| async move {
            match host.host.as_str() {
                "a" => Attempt::Primary(()),
                _ => Attempt::Elsewhere("a standby"),
            }
        };
        let shard = led_by(("b", 5432), "a,b");
        let found = Primaries::default()
            .find(&shard, Duration::ZERO, attempt)
            .await;
        assert_eq!(found, Err("a standby"));
    }

    #[tokio::test]
    async fn what_no_host_can_mend_is_told_at_once() {
        let tries = Cell::new(0);
        let attempt = |_| {
            tries.set(tries.get() + 1);
            async { Attempt::<(), _>::Final("wrong password") }
        };
        let primaries = Primaries::default();
        let found = primaries
            .find(&shard("a,b"), Duration::from_secs(3600), attempt)
            .await;
        assert_eq!((found, tries.get()), (Err("wrong password"), 1));
    }
}
