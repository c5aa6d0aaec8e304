//! What Patroni says of one shard: who leads, and which other members there are.
//!
//! Takes answers of its REST interface (`GET /cluster`); gives addresses. The control thread asks (`control::patroni`);
//! whoever dials a shard reads. Must never know: sockets, PostgreSQL.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// What was said longer ago is not gone by: the hosts of the configuration are asked themselves, as without Patroni.
const FRESH: Duration = Duration::from_secs(5);

/// Host and port of a PostgreSQL server.
pub type Address = (String, u16);

#[derive(Debug, Default)]
pub struct Patroni {
    /// `host:port` of the REST interfaces, as configured.
    pub endpoints: Vec<String>,
    said: RwLock<Option<Said>>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub leader: Option<Address>,
    pub members: Vec<Address>,
    /// Members that are not to be read from (tag `noloadbalance`).
    pub spared: Vec<Address>,
}

#[derive(Debug)]
struct Said {
    cluster: Cluster,
    at: Instant,
}

impl Patroni {
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            said: RwLock::default(),
        }
    }

    pub fn say(&self, cluster: Cluster) {
        let at = Instant::now();
        *self.said.write().unwrap_or_else(PoisonError::into_inner) = Some(Said { cluster, at });
    }

    /// Who leads. `None`: nobody, as far as is known, or Patroni has not answered of late.
    pub fn leader(&self) -> Option<Address> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        let said = said.as_ref().filter(|said| said.at.elapsed() < FRESH)?;
        said.cluster.leader.clone()
    }

    /// All members of the last answer, however old.
    pub fn members(&self) -> Vec<Address> {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        said.as_ref()
            .map_or_else(Vec::new, |said| said.cluster.members.clone())
    }

    pub fn is_spared(&self, host: &str, port: u16) -> bool {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(name, number): &Address| name == host && *number == port;
        said.as_ref()
            .is_some_and(|said| said.cluster.spared.iter().any(is_it))
    }
}

#[derive(Deserialize)]
struct Answer {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    role: String,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tags {
    noloadbalance: bool,
}

impl Cluster {
    /// From the body of `GET /cluster`.
    ///
    /// # Errors
    /// It is not what Patroni answers, or two members lead.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut cluster = Self {
            leader: None,
            members: Vec::new(),
            spared: Vec::new(),
        };
        for member in answer.members {
            // A member without an address is about to come or go.
            let (Some(host), Some(port)) = (member.host, member.port) else {
                continue;
            };
            // "master" until Patroni 3; the leader of a standby cluster takes no writes.
            if matches!(member.role.as_str(), "leader" | "master" | "primary")
                && cluster.leader.replace((host.clone(), port)).is_some()
            {
                return Err("two members lead".to_owned());
            }
            if member.tags.noloadbalance {
                cluster.spared.push((host.clone(), port));
            }
            cluster.members.push((host, port));
        }
        Ok(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_patroni_3_is_read() {
        let body = br#"{"members": [
            {"name": "a", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni", "host": "10.0.0.1",
             "port": 5432, "timeline": 2},
            {"name": "b", "role": "sync_standby", "state": "streaming", "host": "10.0.0.2", "port": 5433, "lag": 0,
             "tags": {"noloadbalance": true, "other": 1}},
            {"name": "c", "role": "replica", "state": "start failed"}], "scope": "s"}"#;
        let cluster = Cluster::parse(body).expect("readable");
        assert_eq!(cluster.leader, Some(("10.0.0.1".to_owned(), 5432)));
        assert_eq!(cluster.members.len(), 2);
        assert_eq!(cluster.spared, [("10.0.0.2".to_owned(), 5433)]);
    }

    #[test]
    fn what_is_no_such_answer_is_told() {
        let two = br#"{"members": [{"role": "leader", "host": "a", "port": 1}, {"role": "leader", "host": "b", "port": 1}]}"#;
        for body in [&b"<html>"[..], b"{}", two] {
            assert!(Cluster::parse(body).is_err());
        }
    }

    #[test]
    fn only_a_fresh_leader_counts() {
        let patroni = Patroni::new(Vec::new());
        assert_eq!(patroni.leader(), None);
        let leader = ("a".to_owned(), 1);
        patroni.say(Cluster {
            leader: Some(leader.clone()),
            members: vec![leader.clone()],
            spared: Vec::new(),
        });
        assert_eq!(patroni.leader(), Some(leader.clone()));
        patroni.said.write().unwrap().as_mut().unwrap().at -= FRESH;
        assert_eq!((patroni.leader(), patroni.members()), (None, vec![leader]));
    }
}
