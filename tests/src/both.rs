//! One conversation held with the cluster and with one plain PostgreSQL, which must answer alike.

use crate::{Database, RawClient};

/// The same messages to the cluster and to the oracle, which must be answered alike.
pub struct Both {
    pub cluster: RawClient,
    pub oracle: RawClient,
}

impl Both {
    pub async fn connect(database: &Database<'_>) -> Both {
        Both {
            cluster: RawClient::connect(&database.url()).await,
            oracle: RawClient::connect(&database.oracle_url()).await,
        }
    }

    /// Says the same to both and returns both answers, up to `ready` ReadyForQuery messages.
    pub async fn say(
        &mut self,
        ready: usize,
        mut words: impl FnMut(&mut RawClient),
    ) -> (Vec<String>, Vec<String>) {
        words(&mut self.cluster);
        words(&mut self.oracle);
        let mut cluster = self.cluster.transcript(ready).await;
        let mut oracle = self.oracle.transcript(ready).await;
        drop_what_an_error_voids(&mut cluster);
        drop_what_an_error_voids(&mut oracle);
        (cluster, oracle)
    }

    /// A simple query, to which both answer the same.
    pub async fn query(&mut self, sql: &str) {
        self.agree(sql, 1, |client| {
            client.query(sql);
        })
        .await;
    }

    /// As [`Both::query`], but for the order of rows.
    pub async fn query_unordered(&mut self, sql: &str) {
        self.agree_unordered(sql, 1, |client| {
            client.query(sql);
        })
        .await;
    }

    /// Both answer the same, in the same order.
    pub async fn agree(&mut self, what: &str, ready: usize, words: impl FnMut(&mut RawClient)) {
        let (cluster, oracle) = self.say(ready, words).await;
        assert_eq!(cluster, oracle, "{what}");
    }

    /// Both answer the same but for the order of rows.
    pub async fn agree_unordered(
        &mut self,
        what: &str,
        ready: usize,
        words: impl FnMut(&mut RawClient),
    ) {
        let (mut cluster, mut oracle) = self.say(ready, words).await;
        sort_rows(&mut cluster);
        sort_rows(&mut oracle);
        assert_eq!(cluster, oracle, "{what}");
    }
}

/// The error of one shard may come before another has said anything: the description of a result
/// that never comes is of no worth.
fn drop_what_an_error_voids(notes: &mut Vec<String>) {
    let mut at = 1;
    while at < notes.len() {
        if notes[at].starts_with("error") && notes[at - 1].starts_with("columns") {
            notes.remove(at - 1);
        } else {
            at += 1;
        }
    }
}

/// Sorts each run of rows.
fn sort_rows(notes: &mut [String]) {
    for run in notes.chunk_by_mut(|one, other| one.starts_with("row") == other.starts_with("row")) {
        if run[0].starts_with("row") {
            run.sort();
        }
    }
}
