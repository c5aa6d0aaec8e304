//! Kills routers and shards at random, a moment apart, and starts them again.

use std::fmt;
use std::time::{Duration, Instant};

use shard_node::Stop;

use super::ground::{Ground, SHARDS};
use crate::block_on;
use crate::differential::dice::Dice;

/// Between what is started again and what is killed next.
const CALM: (i64, i64) = (300, 2500);
/// Until what was killed is started again.
const AWAY: (i64, i64) = (50, 1500);

/// What was killed, and how long transactions of then were left.
#[derive(Debug, Clone, Default)]
pub struct Kills {
    pub routers: usize,
    /// By immediate shutdown.
    pub shards_stopped: usize,
    /// By SIGKILL of the postmaster.
    pub shards_killed: usize,
    pub slowest_recovery: Duration,
}

impl Kills {
    pub fn count(&self) -> usize {
        self.routers + self.shards_stopped + self.shards_killed
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed: {} routers (SIGKILL), {} shards (immediate shutdown), {} shards (SIGKILL); \
             slowest recovery {:.1} s",
            self.routers,
            self.shards_stopped,
            self.shards_killed,
            self.slowest_recovery.as_secs_f64()
        )
    }
}

/// Blocks until `until`; then all runs again.
pub(super) fn run(ground: &Ground, seed: u64, until: Instant) -> Kills {
    let mut dice = Dice::new(seed);
    let mut kills = Kills::default();
    loop {
        let calm = pause(&mut dice, CALM);
        if Instant::now() + calm > until {
            return kills;
        }
        std::thread::sleep(calm);
        strike(ground, &mut dice, &mut kills);
        let recovery = block_on(old_ones_end(ground));
        kills.slowest_recovery = kills.slowest_recovery.max(recovery);
    }
}

fn pause(dice: &mut Dice, (low, high): (i64, i64)) -> Duration {
    Duration::from_millis(dice.between(low, high).unsigned_abs())
}

/// One router, one shard, or one of each at the same time.
fn strike(ground: &Ground, dice: &mut Dice, kills: &mut Kills) {
    let router = dice.chance(55).then(|| ground.routers()[dice.below(2)]);
    let shard = (router.is_none() || dice.chance(30)).then(|| dice.below(SHARDS));
    if let Some(router) = router {
        router.kill();
        kills.routers += 1;
    }
    if let Some(shard) = shard {
        if dice.chance(50) {
            ground.cluster.stop_shard(shard, Stop::Immediate);
            std::thread::sleep(pause(dice, AWAY));
            ground.cluster.start_shard(shard);
            kills.shards_stopped += 1;
        } else {
            ground.cluster.kill_shard(shard);
            kills.shards_killed += 1;
        }
    }
    if let Some(router) = router {
        std::thread::sleep(pause(dice, AWAY));
        router.start();
    }
}

/// Waits until nothing is prepared that was prepared before now; how long that took.
async fn old_ones_end(ground: &Ground) -> Duration {
    let begun = Instant::now();
    for shard in 0..SHARDS {
        let shard = ground.cluster.shard(shard).await;
        let now = shard.query_one("select clock_timestamp()::text", &[]).await;
        let Ok(now) = now.map(|row| row.get::<_, String>(0)) else {
            continue;
        };
        let left =
            format!("select count(*) from pg_prepared_xacts where prepared < timestamptz '{now}'");
        while begun.elapsed() < super::ground::LIMIT {
            let left = shard.query_one(&left, &[]).await;
            if left.is_ok_and(|row| row.get::<_, i64>(0) == 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    begun.elapsed()
}
