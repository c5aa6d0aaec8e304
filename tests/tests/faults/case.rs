//! One point, one victim: what is done, and what must hold afterwards.

use std::fmt;
use std::time::{Duration, Instant};

use shard_node::Stop;
use tests::{Direction, Router};

use crate::rig::{LIMIT, Rig, SHARDS};
use crate::table::Row;

/// The points of a commit on three shards, in order; see `router/src/fault_point.rs`.
pub const POINTS: [&str; 7] = [
    "prepared-0",
    "prepared-1",
    "prepared-2",
    "decision-sent",
    "finished-0",
    "finished-1",
    "finished-2",
];

pub const VICTIMS: [Victim; 13] = [
    Victim::Router,
    Victim::RouterAlone,
    Victim::RouterAndLead,
    Victim::Lead,
    Victim::Participant(1),
    Victim::Participant(2),
    Victim::LeadAndParticipant,
    Victim::Cut(0, Some(Direction::ToShard)),
    Victim::Cut(0, Some(Direction::ToRouter)),
    Victim::Cut(0, None),
    Victim::Cut(1, Some(Direction::ToShard)),
    Victim::Cut(1, Some(Direction::ToRouter)),
    Victim::Cut(1, None),
];

/// Bytes are lost for so long, unless the client is answered before.
const CUT: Duration = Duration::from_millis(800);

const PREPARED: &str = "select count(*) from pg_prepared_xacts";
/// Of prepared transactions, and of backends whose client has gone.
const LOCKED: &str =
    "select (select count(*) from pg_locks where pid is null and locktype <> 'spectoken')
    + (select count(*) from pg_stat_activity where state like 'idle in transaction%')";

/// What dies. Participants are counted from the lead, which is 0.
#[derive(Debug, Clone, Copy)]
pub enum Victim {
    /// Another router of the cluster lives.
    Router,
    /// There is no other router; the same is started again.
    RouterAlone,
    RouterAndLead,
    Lead,
    Participant(usize),
    LeadAndParticipant,
    /// Connections of a shard lose what goes one way for a while and are reset then; or are reset at once.
    Cut(usize, Option<Direction>),
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shard = |shard: &usize| match shard {
            0 => "lead".to_owned(),
            number => format!("participant {number}"),
        };
        match self {
            Self::Router => write!(f, "router, another lives"),
            Self::RouterAlone => write!(f, "router, started again"),
            Self::RouterAndLead => write!(f, "router and lead"),
            Self::Lead => write!(f, "lead"),
            Self::Participant(number) => write!(f, "{}", shard(number)),
            Self::LeadAndParticipant => write!(f, "lead and participant 1"),
            Self::Cut(number, Some(Direction::ToShard)) => {
                write!(f, "router -> {} lost", shard(number))
            }
            Self::Cut(number, Some(Direction::ToRouter)) => {
                write!(f, "{} -> router lost", shard(number))
            }
            Self::Cut(number, None) => write!(f, "connections to {} reset", shard(number)),
        }
    }
}

impl Victim {
    fn kills_router(self) -> bool {
        matches!(self, Self::Router | Self::RouterAlone | Self::RouterAndLead)
    }

    /// Shards that are shut down, counted from the lead.
    fn shards(self) -> &'static [usize] {
        match self {
            Self::RouterAndLead | Self::Lead => &[0],
            Self::Participant(1) => &[1],
            Self::Participant(_) => &[2],
            Self::LeadAndParticipant => &[0, 1],
            _ => &[],
        }
    }
}

/// What the client heard of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Committed,
    /// An error with this SQLSTATE.
    Refused(String),
    ConnectionLost,
    /// It still waits.
    Nothing,
}

impl From<tokio_postgres::Error> for Told {
    fn from(error: tokio_postgres::Error) -> Told {
        match error.code() {
            Some(code) => Told::Refused(code.code().to_owned()),
            None => Told::ConnectionLost,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => write!(f, "COMMIT"),
            Self::Refused(code) => write!(f, "{code}"),
            Self::ConnectionLost => write!(f, "connection lost"),
            Self::Nothing => write!(f, "NOTHING"),
        }
    }
}

pub struct Case {
    number: usize,
    pub point: &'static str,
    pub victim: Victim,
    lead: usize,
}

impl Case {
    pub fn new(number: usize, point: &'static str, victim: Victim) -> Case {
        let lead = number % SHARDS;
        Case {
            number,
            point,
            victim,
            lead,
        }
    }

    pub async fn run(&self, rig: &Rig) -> Row {
        let note = format!("case {}", self.number);
        self.set_up(rig);
        let router = rig.cluster.router();
        router.fault_points().arm(self.point);
        let transfer = rig.transfer(router, self.lead, &note);
        let (told, since) = tokio::join!(transfer, self.strike(rig));
        let (recovered, faults) = self.judge(rig, &told, since).await;
        let rows = format!("select count(*) from marks where note = '{note}'");
        Row {
            number: self.number,
            point: self.point.to_owned(),
            victim: self.victim.to_string(),
            told,
            rows: rig.on_each(&rows).await,
            recovered,
            faults,
        }
    }

    fn set_up(&self, rig: &Rig) {
        rig.cluster.start_router();
        match self.victim {
            Victim::RouterAlone => rig.second.stop(),
            _ => rig.second.start(),
        }
    }

    /// Waits for the point, does the harm there, and mends it. Gives the time from which on all ran again.
    async fn strike(&self, rig: &Rig) -> Instant {
        let points = rig.cluster.router().fault_points();
        points.reached(self.point).await;
        if let Victim::Cut(shard, direction) = self.victim {
            let proxy = rig.cluster.proxy(self.shard(shard));
            if let Some(direction) = direction {
                proxy.lose(direction);
                points.release(self.point);
                tokio::time::sleep(CUT).await;
            }
            proxy.heal();
            points.release(self.point);
            return Instant::now();
        }
        self.kill(rig);
        points.release(self.point);
        if !self.victim.kills_router() {
            // The router is to meet a shard that is away.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.start_again(rig)
    }

    fn kill(&self, rig: &Rig) {
        if self.victim.kills_router() {
            rig.cluster.kill_router();
        }
        for shard in self.victim.shards() {
            rig.cluster.stop_shard(self.shard(*shard), Stop::Immediate);
        }
    }

    fn start_again(&self, rig: &Rig) -> Instant {
        for shard in self.victim.shards() {
            rig.cluster.start_shard(self.shard(*shard));
        }
        let since = Instant::now();
        if matches!(self.victim, Victim::RouterAlone) {
            rig.cluster.start_router();
        }
        since
    }

    fn shard(&self, from_lead: usize) -> usize {
        (self.lead + from_lead) % SHARDS
    }

    /// Waits for recovery; gives how long it took, and what does not hold.
    async fn judge(&self, rig: &Rig, told: &Told, since: Instant) -> (Duration, Vec<String>) {
        let mut faults = Vec::new();
        if *told == Told::Nothing {
            faults.push("the client was told nothing".to_owned());
        }
        if rig.until_zero(PREPARED).await.is_none() {
            faults.push("prepared transactions are left".to_owned());
        }
        let recovered = since.elapsed();
        if rig.until_zero(LOCKED).await.is_none() {
            faults.push("locks are left".to_owned());
        }
        let routers = match self.victim {
            Victim::RouterAlone => vec![rig.cluster.router()],
            Victim::Router | Victim::RouterAndLead => vec![&rig.second],
            _ => vec![rig.cluster.router(), &rig.second],
        };
        for router in routers {
            faults.extend(self.next_fails(rig, router).await);
        }
        (recovered, faults)
    }

    /// Transactions on all shards work again, soon.
    async fn next_fails(&self, rig: &Rig, router: &Router) -> Option<String> {
        let deadline = Instant::now() + LIMIT;
        for attempt in 0.. {
            let note = format!("after {} {} {attempt}", self.number, router.port());
            let told = rig.transfer(router, self.lead + 1, &note).await;
            match told {
                Told::Committed => return None,
                told if Instant::now() > deadline => {
                    return Some(format!("the next transaction: {told}"));
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        None
    }
}
