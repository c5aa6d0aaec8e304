//! The verdicts by file, as a table; and what is wrong, in full.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::judge::Verdict;
use crate::run::Told;

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    same: usize,
    free: usize,
    refused: usize,
    after: usize,
    different: usize,
}

#[derive(Default)]
pub struct Report {
    files: Vec<(String, Counts)>,
    refusals: BTreeMap<String, usize>,
    different: String,
    /// Every statement that was not the same.
    log: String,
}

impl Report {
    pub fn add(&mut self, file: &str, told: Vec<Told>) {
        let mut counts = Counts::default();
        for one in told {
            let count = match &one.verdict {
                Verdict::Refused(id) => {
                    *self.refusals.entry(id.clone()).or_default() += 1;
                    &mut counts.refused
                }
                Verdict::Different(_) => &mut counts.different,
                Verdict::Same | Verdict::Free if one.after_refusal => &mut counts.after,
                Verdict::Same => &mut counts.same,
                Verdict::Free => &mut counts.free,
            };
            *count += 1;
            self.note(file, &one);
        }
        self.files.push((file.to_owned(), counts));
    }

    fn note(&mut self, file: &str, one: &Told) {
        let Told {
            line,
            sql,
            verdict,
            answers,
            ..
        } = one;
        if *verdict == Verdict::Same {
            return;
        }
        let mut text = format!("{file}:{line}: {verdict:?}\n{sql}\n");
        if !matches!(verdict, Verdict::Refused(_)) {
            text += answers;
            text += "\n\n";
        }
        if matches!(verdict, Verdict::Different(_)) {
            self.different += &text;
        }
        self.log += &text;
    }

    /// Prints the table. Panics where anything differs.
    pub fn finish(self) {
        let table = self.table();
        if let Ok(path) = std::env::var("REGRESSION_REPORT") {
            let written = std::fs::write(&path, format!("{table}\n{}", self.log));
            written.unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        println!("{table}");
        assert!(self.different.is_empty(), "{}\n{table}", self.different);
    }

    fn table(&self) -> String {
        let mut table = String::from(
            "file            |  same |  free | refused | after a refusal | different\n\
             ----------------|-------|-------|---------|-----------------|----------\n",
        );
        let mut line = |name: &str, counts: &Counts| {
            let Counts {
                same,
                free,
                refused,
                after,
                different,
            } = counts;
            let written = writeln!(
                table,
                "{name:15} | {same:5} | {free:5} | {refused:7} | {after:15} | {different:9}"
            );
            written.expect("a String takes everything");
        };
        let mut all = Counts::default();
        for (name, counts) in &self.files {
            line(name, counts);
            all.same += counts.same;
            all.free += counts.free;
            all.refused += counts.refused;
            all.after += counts.after;
            all.different += counts.different;
        }
        line("all", &all);
        for (id, count) in &self.refusals {
            let written = writeln!(table, "refused {count:4} {id}");
            written.expect("a String takes everything");
        }
        table
    }
}
