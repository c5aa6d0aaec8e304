//! Who waits for whom over all shards: cycles, and which session is to end them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use topology::ShardId;

use super::super::locks::{Blocker, Wait};
use super::Stalled;

/// A session, as all routers know it: router and number.
pub(super) type Global = (u32, u32);

/// One party of the waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Party {
    Session(Global),
    /// A backend of a session that uses one shard only, or of no router.
    Backend(ShardId, u32),
    Prepared(String),
}

/// A deadlock that no shard sees whole.
#[derive(Debug)]
pub(super) struct Deadlock<'a> {
    pub(super) victim: &'a Stalled,
    /// The circle, from the victim's own wait on.
    pub(super) waits: Vec<&'a Wait>,
}

/// The deadlocks among `waits`, one for each set of parties that wait for one another. Those that a shard sees whole
/// are left to it, as are sets that contain one: after it is broken they are looked at again.
pub(super) fn deadlocks<'a>(waits: &[&'a Wait], stalled: &'a [Stalled]) -> Vec<Deadlock<'a>> {
    let graph = Graph::new(waits, stalled);
    let circles = graph.circles();
    let found = circles
        .iter()
        .filter(|members| !graph.is_seen_by_a_shard(members));
    found
        .filter_map(|members| graph.deadlock(members, stalled))
        .collect()
}

struct Graph<'a> {
    /// By waiting party: the party waited for, and how.
    edges: BTreeMap<Party, Vec<(Party, &'a Wait)>>,
}

impl<'a> Graph<'a> {
    fn new(waits: &[&'a Wait], stalled: &[Stalled]) -> Self {
        let (mut backends, mut prepared) = (HashMap::new(), HashMap::new());
        for session in stalled {
            let party = Party::Session(session.id);
            backends.extend(session.backends.iter().map(|at| (*at, party.clone())));
            prepared.extend(session.gid.iter().map(|gid| (gid.as_str(), party.clone())));
        }
        let of_backend = |shard, process| {
            let known = backends.get(&(shard, process)).cloned();
            known.unwrap_or(Party::Backend(shard, process))
        };
        let mut edges: BTreeMap<Party, Vec<(Party, &Wait)>> = BTreeMap::new();
        for &wait in waits {
            let blocker = match &wait.blocker {
                Blocker::Backend(process) => of_backend(wait.shard, *process),
                Blocker::Prepared(gid) => {
                    let known = prepared.get(gid.as_str()).cloned();
                    known.unwrap_or_else(|| Party::Prepared(gid.clone()))
                }
            };
            let waiter = of_backend(wait.shard, wait.waiter);
            if waiter != blocker || !is_same_backend(wait) {
                edges.entry(waiter).or_default().push((blocker, wait));
            }
        }
        let mut graph = Self { edges };
        graph.drop_those_that_end();
        graph
    }

    /// Whoever waits only for parties that do not wait, or not for ever, is in no circle: a long queue for one row is
    /// gone after this.
    fn drop_those_that_end(&mut self) {
        let mut waiters: HashMap<Party, Vec<Party>> = HashMap::new();
        let mut left: HashMap<Party, usize> = HashMap::new();
        for (waiter, blockers) in &self.edges {
            left.insert(waiter.clone(), blockers.len());
            for (blocker, _) in blockers {
                waiters
                    .entry(blocker.clone())
                    .or_default()
                    .push(waiter.clone());
            }
        }
        let mut ended: Vec<Party> = waiters.keys().cloned().collect();
        ended.retain(|party| !left.contains_key(party));
        while let Some(party) = ended.pop() {
            self.edges.remove(&party);
            for waiter in waiters.remove(&party).into_iter().flatten() {
                let count = left.entry(waiter.clone()).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ended.push(waiter);
                }
            }
        }
    }

    fn next(&self, party: &Party) -> impl Iterator<Item = &(Party, &'a Wait)> {
        self.edges.get(party).into_iter().flatten()
    }

    /// Parties that each wait for all others of their set, directly or not.
    fn circles(&self) -> Vec<BTreeSet<Party>> {
        let mut reachable: BTreeMap<&Party, BTreeSet<Party>> = BTreeMap::new();
        for party in self.edges.keys() {
            reachable.insert(party, self.reachable(party));
        }
        let mut circles = BTreeSet::new();
        for (party, reached) in &reachable {
            if reached.contains(party) {
                let members = reached.iter().filter(|other| {
                    reachable
                        .get(other)
                        .is_some_and(|back| back.contains(*party))
                });
                circles.insert(members.cloned().collect::<BTreeSet<_>>());
            }
        }
        circles.into_iter().collect()
    }

    fn reachable(&self, from: &Party) -> BTreeSet<Party> {
        let mut reached = BTreeSet::new();
        let mut queue = VecDeque::from([from]);
        while let Some(party) = queue.pop_front() {
            for (blocker, _) in self.next(party) {
                if reached.insert(blocker.clone()) {
                    queue.push_back(blocker);
                }
            }
        }
        reached
    }

    /// Backends of one shard alone make a circle: that shard's own detector breaks it.
    fn is_seen_by_a_shard(&self, members: &BTreeSet<Party>) -> bool {
        let inside = members.iter().flat_map(|party| self.next(party));
        let waits: Vec<&Wait> = inside.map(|(_, wait)| *wait).collect();
        let alone = Graph::new(&waits, &[]);
        !alone.circles().is_empty()
    }

    fn deadlock(&self, members: &BTreeSet<Party>, stalled: &'a [Stalled]) -> Option<Deadlock<'a>> {
        let sessions = stalled
            .iter()
            .filter(|session| members.contains(&Party::Session(session.id)));
        // The youngest, but rather one that is not yet committing.
        let victim = sessions.max_by_key(|one| (one.gid.is_none(), one.since, one.id))?;
        let waits = self.circle_through(&Party::Session(victim.id), members)?;
        Some(Deadlock { victim, waits })
    }

    /// The shortest way from a party back to itself.
    fn circle_through(&self, start: &Party, members: &BTreeSet<Party>) -> Option<Vec<&'a Wait>> {
        let mut ways: BTreeMap<&Party, Vec<&'a Wait>> = BTreeMap::new();
        let mut queue = VecDeque::from([(start, Vec::new())]);
        while let Some((party, way)) = queue.pop_front() {
            let inside = self
                .next(party)
                .filter(|(blocker, _)| members.contains(blocker));
            for (blocker, wait) in inside {
                let mut longer = way.clone();
                longer.push(*wait);
                if blocker == start {
                    return Some(longer);
                }
                if !ways.contains_key(blocker) {
                    ways.insert(blocker, longer.clone());
                    queue.push_back((blocker, longer));
                }
            }
        }
        None
    }
}

fn is_same_backend(wait: &Wait) -> bool {
    wait.blocker == Blocker::Backend(wait.waiter)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wait(shard: u16, waiter: u32, blocker: u32) -> Wait {
        Wait {
            shard: ShardId(shard),
            waiter,
            blocker: Blocker::Backend(blocker),
            began: Some(1),
            waited: Duration::ZERO,
            lock: String::new(),
            database: String::new(),
            user: String::new(),
            statement: String::new(),
            statement_age: Duration::ZERO,
            blocker_user: None,
            blocker_state: None,
            blocker_statement: None,
            blocker_age: None,
        }
    }

    /// Session `number` of router 1 with backends `10 * shard + number`.
    fn session(number: u32, since: i64) -> Stalled {
        Stalled {
            id: (1, number),
            since,
            backends: (0..3)
                .map(|shard: u16| (ShardId(shard), u32::from(shard) * 10 + number))
                .collect(),
            gid: None,
        }
    }

    fn found(waits: &[Wait], stalled: &[Stalled]) -> Vec<(Global, usize)> {
        let waits: Vec<&Wait> = waits.iter().collect();
        let deadlocks = deadlocks(&waits, stalled);
        let found = deadlocks
            .iter()
            .map(|deadlock| (deadlock.victim.id, deadlock.waits.len()));
        found.collect()
    }

    #[test]
    fn the_younger_of_two_is_chosen() {
        let sessions = [session(1, 5), session(2, 9)];
        let circle = [wait(0, 1, 2), wait(1, 12, 11)];
        assert_eq!(found(&circle, &sessions), [((1, 2), 2)]);
        assert_eq!(found(&circle[..1], &sessions), []);
    }

    #[test]
    fn equal_ages_are_told_apart_by_number() {
        let sessions = [session(2, 5), session(1, 5)];
        assert_eq!(
            found(&[wait(0, 1, 2), wait(1, 12, 11)], &sessions),
            [((1, 2), 2)]
        );
    }

    #[test]
    fn a_circle_may_pass_through_a_session_of_one_shard() {
        let sessions = [session(1, 5), session(2, 9)];
        // 1 waits for a stranger on shard 0, who waits for 2.
        let circle = [wait(0, 1, 99), wait(0, 99, 2), wait(1, 12, 11)];
        assert_eq!(found(&circle, &sessions), [((1, 2), 3)]);
    }

    #[test]
    fn what_one_shard_sees_is_left_to_it() {
        let sessions = [session(1, 5), session(2, 9)];
        assert_eq!(found(&[wait(0, 1, 2), wait(0, 2, 1)], &sessions), []);
        let both = [wait(0, 1, 2), wait(0, 2, 1), wait(1, 12, 11)];
        assert_eq!(found(&both, &sessions), []);
    }

    #[test]
    fn a_prepared_transaction_is_its_session_and_not_chosen() {
        let mut committing = session(2, 9);
        committing.gid = Some("g".into());
        let sessions = [session(1, 5), committing];
        let mut for_prepared = wait(0, 1, 0);
        for_prepared.blocker = Blocker::Prepared("g".into());
        let circle = [for_prepared, wait(1, 12, 11)];
        assert_eq!(found(&circle, &sessions), [((1, 1), 2)]);
    }

    #[test]
    fn a_long_queue_is_no_circle() {
        let sessions: Vec<Stalled> = (1..9).map(|number| session(number, 1)).collect();
        let waits: Vec<Wait> = (2..9)
            .flat_map(|waiter| (1..waiter).map(move |blocker| wait(0, waiter, blocker)))
            .collect();
        assert_eq!(found(&waits, &sessions), []);
    }

    #[test]
    fn two_circles_without_a_common_party_are_two_deadlocks() {
        let sessions: Vec<Stalled> = (1..5)
            .map(|number| session(number, number.into()))
            .collect();
        let waits = [
            wait(0, 1, 2),
            wait(1, 12, 11),
            wait(0, 3, 4),
            wait(2, 24, 23),
        ];
        assert_eq!(found(&waits, &sessions), [((1, 2), 2), ((1, 4), 2)]);
    }
}
