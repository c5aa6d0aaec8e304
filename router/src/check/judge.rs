//! What a shard must have, and what it should. Pure.

use super::{Finding, ShardFacts, place};
use crate::config::{ClientAuth, Config, ShardConfig};
use crate::dial::address;

/// Connections that a router needs on a shard beside its pool: management, cancels, recovery.
pub const MANAGEMENT_CONNECTIONS: usize = 10;

/// Clocks that differ by more make timestamps of one transaction differ visibly.
const CLOCK_TOLERANCE_SECONDS: f64 = 1.0;

/// One finding for each thing that is asked of a shard.
pub fn judge(facts: &ShardFacts, config: &Config, shard: &ShardConfig) -> Vec<Finding> {
    let place = place(shard);
    let judge = Judge {
        facts,
        config,
        place: &place,
    };
    vec![
        Finding::ok(
            &place,
            format!("{} accepts {:?}", address(shard), config.cluster.user),
        ),
        judge.version(),
        judge.superuser(),
        judge.primary(),
        judge.prepared_transactions(),
        judge.wal_level(),
        judge.connections(),
        judge.encoding(),
        judge.setting(
            "standard_conforming_strings",
            &facts.standard_conforming_strings,
            "on",
        ),
        judge.setting("default_transaction_read_only", &facts.read_only, "off"),
        judge.passwords(),
        judge.durability(),
        judge.clock(),
    ]
}

struct Judge<'a> {
    facts: &'a ShardFacts,
    config: &'a Config,
    place: &'a str,
}

impl Judge<'_> {
    fn ok(&self, text: impl Into<String>) -> Finding {
        Finding::ok(self.place, text)
    }

    fn warn(&self, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::warn(self.place, text, remedy)
    }

    fn wrong(&self, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::wrong(self.place, text, remedy)
    }

    fn version(&self) -> Finding {
        let version = self.facts.version;
        let text = format!("PostgreSQL {}.{}", version / 10_000, version % 10_000);
        if version >= 150_000 {
            self.ok(text)
        } else {
            self.wrong(text, "upgrade to 15 or newer")
        }
    }

    fn superuser(&self) -> Finding {
        let user = &self.config.cluster.user;
        if self.facts.superuser {
            return self.ok(format!("{user:?} is a superuser"));
        }
        let remedy = format!("run ALTER ROLE \"{user}\" SUPERUSER there");
        self.wrong(format!("{user:?} is no superuser"), remedy)
    }

    fn primary(&self) -> Finding {
        if !self.facts.in_recovery {
            return self.ok("is a primary");
        }
        self.wrong(
            "is a standby in recovery",
            "name the primary in cluster.shards, or promote it",
        )
    }

    fn prepared_transactions(&self) -> Finding {
        let value = self.facts.max_prepared_transactions;
        let wanted = self.config.pool.size;
        let text = format!("max_prepared_transactions = {value}");
        let remedy = format!(
            "set max_prepared_transactions = {} and restart it",
            wanted.max(64)
        );
        match usize::try_from(value) {
            Ok(1..) if value as usize >= wanted => self.ok(text),
            Ok(1..) => self.warn(format!("{text} is below pool.size = {wanted}"), remedy),
            _ => self.wrong(text, remedy),
        }
    }

    fn wal_level(&self) -> Finding {
        let text = format!("wal_level = {}", self.facts.wal_level);
        if self.facts.wal_level == "logical" {
            return self.ok(text);
        }
        self.wrong(text, "set wal_level = logical and restart it")
    }

    fn connections(&self) -> Finding {
        let all = self.facts.max_connections;
        let usable = usize::try_from(all - self.facts.reserved_connections).unwrap_or(0);
        let needed = self.config.pool.size + MANAGEMENT_CONNECTIONS;
        let text = format!(
            "max_connections = {all}, {} of them for superusers; this router needs {needed}",
            self.facts.reserved_connections
        );
        if usable >= needed {
            return self.ok(text);
        }
        let least = needed + usize::try_from(self.facts.reserved_connections).unwrap_or(0);
        let remedy =
            format!("set max_connections to {least} or more for each router, or lower pool.size");
        self.wrong(text, remedy)
    }

    fn encoding(&self) -> Finding {
        let text = format!("encoding {}", self.facts.encoding);
        if self.facts.encoding == "UTF8" {
            return self.ok(text);
        }
        self.wrong(text, "initialise the server with initdb --encoding=UTF8")
    }

    fn setting(&self, name: &str, value: &str, wanted: &str) -> Finding {
        let text = format!("{name} = {value}");
        if value == wanted {
            self.ok(text)
        } else {
            self.wrong(text, format!("set {name} = {wanted}"))
        }
    }

    fn passwords(&self) -> Finding {
        let value = &self.facts.password_encryption;
        let text = format!("password_encryption = {value}");
        if value == "scram-sha-256" {
            return self.ok(text);
        }
        let remedy = "set password_encryption = 'scram-sha-256' and set the passwords anew";
        match self.config.client_auth {
            ClientAuth::ScramSha256 => self.wrong(text, remedy),
            ClientAuth::Trust => self.warn(text, remedy),
        }
    }

    fn durability(&self) -> Finding {
        let (fsync, commit) = (&self.facts.fsync, &self.facts.synchronous_commit);
        let text = format!("fsync = {fsync}, synchronous_commit = {commit}");
        if fsync == "on" && commit != "off" {
            return self.ok(text);
        }
        self.warn(
            text,
            "a crash may lose half of a two-phase commit: set both to on",
        )
    }

    fn clock(&self) -> Finding {
        let offset = self.facts.clock_offset;
        let text = format!("clock differs from this machine's by {:.3} s", offset.abs());
        if offset.abs() <= CLOCK_TOLERANCE_SECONDS {
            return self.ok(text);
        }
        self.warn(text, "let a time service set both clocks")
    }
}
