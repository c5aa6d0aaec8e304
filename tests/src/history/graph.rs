//! Dependencies between transactions, and a shortest way round among them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    WriteWrite,
    WriteRead,
    ReadWrite,
    Session,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteWrite => "ww",
            Self::WriteRead => "wr",
            Self::ReadWrite => "rw",
            Self::Session => "session",
        })
    }
}

/// An edge of the composed graph: one dependency, perhaps with an rw after it.
type Step = Vec<(Kind, usize)>;

/// Edges by the transaction that they leave.
pub(super) struct Graph(Vec<BTreeSet<(Kind, usize)>>);

impl Graph {
    pub(super) fn new(transactions: usize) -> Graph {
        Graph(vec![BTreeSet::new(); transactions])
    }

    pub(super) fn add(&mut self, from: usize, kind: Kind, to: usize) {
        if from != to {
            self.0[from].insert((kind, to));
        }
    }

    /// A cycle of edges of these kinds, the shortest through its first transaction.
    pub(super) fn cycle(&self, kinds: &[Kind]) -> Option<String> {
        let is_wanted = |edge: &&(Kind, usize)| kinds.contains(&edge.0);
        let steps = |from: usize| self.0[from].iter().filter(is_wanted).map(|e| vec![*e]);
        find(
            &(0..self.0.len())
                .map(|n| steps(n).collect())
                .collect::<Vec<_>>(),
        )
    }

    /// A cycle of dependencies with at most one rw after each: what snapshot isolation forbids.
    pub(super) fn snapshot_cycle(&self) -> Option<String> {
        let depends = |edge: &&(Kind, usize)| edge.0 != Kind::ReadWrite;
        let composed = |from: usize| {
            let mut steps: Vec<Step> = Vec::new();
            for first in self.0[from].iter().filter(depends) {
                steps.push(vec![*first]);
                let seconds = self.0[first.1].iter().filter(|edge| !depends(edge));
                steps.extend(seconds.map(|second| vec![*first, *second]));
            }
            steps
        };
        find(&(0..self.0.len()).map(composed).collect::<Vec<_>>())
    }
}

fn end(step: &Step) -> usize {
    step[step.len() - 1].1
}

/// What is left when all that has no way in is taken away again and again holds every cycle.
fn find(steps: &[Vec<Step>]) -> Option<String> {
    let mut ways_in = vec![0; steps.len()];
    for step in steps.iter().flatten() {
        ways_in[end(step)] += 1;
    }
    let mut free: Vec<usize> = (0..steps.len()).filter(|n| ways_in[*n] == 0).collect();
    let mut left = steps.len();
    while let Some(taken) = free.pop() {
        left -= 1;
        for step in &steps[taken] {
            ways_in[end(step)] -= 1;
            if ways_in[end(step)] == 0 {
                free.push(end(step));
            }
        }
    }
    if left == 0 {
        return None;
    }
    let candidates = (0..steps.len()).filter(|n| ways_in[*n] > 0);
    let shortest = candidates.filter_map(|start| around(steps, start));
    shortest.min_by_key(String::len)
}

/// The shortest way from `start` back to it.
fn around(steps: &[Vec<Step>], start: usize) -> Option<String> {
    let mut came: Vec<Option<(usize, &Step)>> = vec![None; steps.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for step in &steps[at] {
            let to = end(step);
            if came[to].is_none() {
                came[to] = Some((at, step));
                queue.push_back(to);
            }
        }
        if came[start].is_some() {
            break;
        }
    }
    let mut way = Vec::new();
    let mut at = start;
    loop {
        let (before, step) = came[at]?;
        way.push(
            step.iter()
                .map(|(kind, to)| format!(" -{kind}-> T{to}"))
                .collect::<String>(),
        );
        at = before;
        if at == start {
            break;
        }
    }
    way.reverse();
    Some(format!("T{start}{}", way.concat()))
}
