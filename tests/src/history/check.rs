//! From what clients saw to version orders, to dependencies, to what is forbidden.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::graph::{Graph, Kind};
use super::{End, Key, Level, Operation, Transaction, Value};

/// What a history shows.
#[derive(Debug, Default)]
pub struct Findings {
    pub transactions: usize,
    pub committed: usize,
    pub aborted: usize,
    pub unknown: usize,
    pub appends: usize,
    pub reads: usize,
    pub dependencies: usize,
    /// Name and account of each anomaly.
    pub anomalies: Vec<(&'static str, String)>,
}

impl Findings {
    pub fn names(&self) -> BTreeSet<&'static str> {
        self.anomalies.iter().map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "history: {} transactions ({} committed, {} aborted, {} unknown), {} appends, {} reads of lists, \
             {} dependencies, {} anomalies",
            self.transactions,
            self.committed,
            self.aborted,
            self.unknown,
            self.appends,
            self.reads,
            self.dependencies,
            self.anomalies.len()
        )?;
        for (name, account) in self.anomalies.iter().take(20) {
            write!(f, "\n  {name}: {account}")?;
        }
        Ok(())
    }
}

/// Checks `history` against `level`. `lists` are the lists as they are when all is over.
pub fn check(history: &[Transaction], lists: &BTreeMap<Key, Vec<Value>>, level: Level) -> Findings {
    let mut checker = Checker::new(history, lists);
    checker.count();
    checker.values();
    checker.ends();
    checker.reads();
    checker.cycles(level);
    checker.findings
}

/// Where a value is from.
#[derive(Clone, Copy)]
struct Writer {
    transaction: usize,
    key: Key,
    /// It is the transaction's last append to this key.
    is_last: bool,
}

struct Checker<'a> {
    history: &'a [Transaction],
    lists: &'a BTreeMap<Key, Vec<Value>>,
    writers: HashMap<Value, Writer>,
    /// Values that are in the lists at the end.
    there: BTreeSet<Value>,
    /// By transaction: it has committed, as far as anyone can tell.
    took_place: Vec<bool>,
    findings: Findings,
}

impl<'a> Checker<'a> {
    fn new(history: &'a [Transaction], lists: &'a BTreeMap<Key, Vec<Value>>) -> Self {
        let mut writers = HashMap::new();
        for (transaction, recorded) in history.iter().enumerate() {
            for (key, value) in appends(recorded) {
                let is_last = appends(recorded).rfind(|(k, _)| *k == key) == Some((key, value));
                let writer = Writer {
                    transaction,
                    key,
                    is_last,
                };
                let before = writers.insert(value, writer);
                assert!(before.is_none(), "values of a history are unique: {value}");
            }
        }
        let there: BTreeSet<Value> = lists.values().flatten().copied().collect();
        let took_place = |recorded: &Transaction| match recorded.end {
            End::Committed => true,
            End::Aborted => false,
            End::Unknown => appends(recorded).any(|(_, value)| there.contains(&value)),
        };
        let took_place = history.iter().map(took_place).collect();
        Self {
            history,
            lists,
            writers,
            there,
            took_place,
            findings: Findings::default(),
        }
    }

    fn found(&mut self, name: &'static str, account: String) {
        self.findings.anomalies.push((name, account));
    }

    fn count(&mut self) {
        let ends = |end: End| self.history.iter().filter(|t| t.end == end).count();
        let operations = || self.history.iter().flat_map(|t| &t.operations);
        let is_read = |operation: &&Operation| matches!(operation, Operation::Read(..));
        let reads = operations().filter(is_read).count();
        self.findings = Findings {
            transactions: self.history.len(),
            committed: ends(End::Committed),
            aborted: ends(End::Aborted),
            unknown: ends(End::Unknown),
            appends: operations().count() - reads,
            reads,
            ..Findings::default()
        };
    }

    /// Each value is where it was appended, once.
    fn values(&mut self) {
        let mut seen = BTreeSet::new();
        for (key, list) in self.lists {
            for value in list {
                if !seen.insert(value) {
                    self.found("doubled append", format!("{value} is twice in {key}"));
                }
                if self
                    .writers
                    .get(value)
                    .is_none_or(|writer| writer.key != *key)
                {
                    self.found(
                        "garbage",
                        format!("{value} in {key} was not appended there"),
                    );
                }
            }
        }
    }

    /// Acknowledged transactions are there, aborted ones not, unknown ones whole or not at all.
    fn ends(&mut self) {
        for (number, recorded) in self.history.iter().enumerate() {
            let is_there = |(_, value): &(Key, Value)| self.there.contains(value);
            let there = appends(recorded).filter(is_there).count();
            let all = appends(recorded).count();
            match recorded.end {
                End::Committed if there < all => {
                    self.found(
                        "lost append",
                        format!("T{number}: {there} of {all} are there"),
                    );
                }
                End::Aborted if there > 0 => {
                    self.found(
                        "aborted append",
                        format!("T{number}: {there} of {all} are there"),
                    );
                }
                End::Unknown if there > 0 && there < all => {
                    self.found(
                        "half done",
                        format!("T{number}: {there} of {all} are there"),
                    );
                }
                _ => {}
            }
        }
    }

    /// What committed transactions read, by itself.
    fn reads(&mut self) {
        for (number, recorded) in self.took_place() {
            let mut own: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
            for operation in &recorded.operations {
                match operation {
                    Operation::Append(key, value) => own.entry(*key).or_default().push(*value),
                    Operation::Read(key, list) => {
                        let own = own.get(key).map_or(&[][..], |own| own);
                        self.read(number, *key, list, own);
                    }
                }
            }
        }
    }

    fn read(&mut self, number: usize, key: Key, list: &[Value], own: &[Value]) {
        let place = format!("T{number} reads {list:?} of {key}");
        if !list.ends_with(own) {
            self.found("internal", format!("{place}, having appended {own:?}"));
        }
        if !self.list(key).starts_with(list) {
            let last = self.list(key).to_vec();
            self.found(
                "incompatible order",
                format!("{place}, which ends as {last:?}"),
            );
        }
        let others = &list[..list.len().saturating_sub(own.len())];
        for value in others {
            let Some(writer) = self.writers.get(value).copied() else {
                continue;
            };
            if !self.took_place[writer.transaction] {
                let account = format!("{place}; {value} is of T{}, aborted", writer.transaction);
                self.found("G1a", account);
            }
        }
        let last = others.last().and_then(|value| self.writers.get(value));
        if let Some(writer) = last.copied()
            && writer.transaction != number
            && !writer.is_last
        {
            self.found(
                "G1b",
                format!("{place}, between appends of T{}", writer.transaction),
            );
        }
    }

    fn cycles(&mut self, level: Level) {
        let graph = self.graph(level);
        let found = match level {
            Level::ReadCommitted => [
                ("G0", graph.cycle(&[Kind::WriteWrite])),
                ("G1c", graph.cycle(&[Kind::WriteWrite, Kind::WriteRead])),
            ],
            Level::RepeatableRead => [
                ("G1c", graph.cycle(&[Kind::WriteWrite, Kind::WriteRead])),
                ("G-single", graph.snapshot_cycle()),
            ],
        };
        for (name, cycle) in found {
            cycle.into_iter().for_each(|cycle| self.found(name, cycle));
        }
    }

    fn graph(&mut self, level: Level) -> Graph {
        let mut graph = Graph::new(self.history.len());
        for list in self.lists.values() {
            for pair in list.windows(2) {
                if let (Some(from), Some(to)) = (self.writer(pair[0]), self.writer(pair[1])) {
                    graph.add(from, Kind::WriteWrite, to);
                    self.findings.dependencies += 1;
                }
            }
        }
        let recorded: Vec<(usize, &Transaction)> = self.took_place().collect();
        let mut last_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (number, recorded) in recorded {
            for (key, list) in reads(recorded) {
                self.add_read(&mut graph, number, key, list);
            }
            let is_ordered = level == Level::RepeatableRead && recorded.end == End::Committed;
            if is_ordered && let Some(before) = last_of.insert(recorded.client, number) {
                graph.add(before, Kind::Session, number);
            }
        }
        graph
    }

    fn add_read(&mut self, graph: &mut Graph, number: usize, key: Key, list: &[Value]) {
        let last = list.iter().rev().filter_map(|value| self.writer(*value));
        // A list that ends with the reader's own appends was seen without them.
        if let Some(from) = { last }.find(|writer| *writer != number) {
            graph.add(from, Kind::WriteRead, number);
            self.findings.dependencies += 1;
        }
        let next = self.list(key).get(list.len()..).unwrap_or_default();
        let next = next.iter().find_map(|value| self.writer(*value));
        if let Some(to) = next {
            graph.add(number, Kind::ReadWrite, to);
            self.findings.dependencies += 1;
        }
    }

    fn took_place(&self) -> impl Iterator<Item = (usize, &'a Transaction)> + use<'a> {
        let took_place = self.took_place.clone();
        let history = self.history.iter().enumerate();
        history.filter(move |(number, _)| took_place[*number])
    }

    fn list(&self, key: Key) -> &'a [Value] {
        self.lists.get(&key).map_or(&[], |list| list)
    }

    fn writer(&self, value: Value) -> Option<usize> {
        let writer = self.writers.get(&value)?;
        self.took_place[writer.transaction].then_some(writer.transaction)
    }
}

fn appends(recorded: &Transaction) -> impl DoubleEndedIterator<Item = (Key, Value)> + '_ {
    recorded
        .operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Append(key, value) => Some((*key, *value)),
            Operation::Read(..) => None,
        })
}

fn reads(recorded: &Transaction) -> impl Iterator<Item = (Key, &[Value])> + '_ {
    recorded
        .operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Read(key, list) => Some((*key, &list[..])),
            Operation::Append(..) => None,
        })
}
