//! Differences told: what was run, how small it can be made, what both sides said.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use super::compare::Difference;
use super::pair::{Answers, Manner, Pair, ROWS};
use super::sql::{self, Literals};
use super::tree::Statement;

/// Differences of one kind that are made smaller and told in full.
const TOLD_OF_A_KIND: usize = 12;

pub struct Report<'a> {
    /// Failures are appended here.
    file: &'a Path,
    told: HashMap<String, usize>,
}

/// A statement that differs.
pub struct Finding<'a> {
    pub seed: u64,
    /// Of the statement in its session.
    pub number: usize,
    pub whole: &'a Statement,
    pub small: &'a Statement,
    pub manner: Manner,
    pub difference: &'a Difference,
    /// What both sides said to the whole when it was first run.
    pub said: [Vec<String>; 2],
}

impl<'a> Report<'a> {
    pub fn new(file: &'a Path) -> Report<'a> {
        Report {
            file,
            told: HashMap::new(),
        }
    }

    /// Counts a difference; true where enough of its kind have been told.
    pub fn is_enough(&mut self, difference: &Difference) -> bool {
        let told = self.told.entry(format!("{difference:?}")).or_default();
        *told += 1;
        *told > TOLD_OF_A_KIND
    }

    /// Tells a difference on standard error and in the file.
    pub async fn tell(&self, pair: &mut Pair<'_>, finding: &Finding<'_>) {
        let text = finding.describe(pair).await;
        eprintln!("{text}");
        let file = OpenOptions::new().create(true).append(true).open(self.file);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}", self.file.display());
        }
    }
}

/// What both say to a text, and the cluster's plan.
pub async fn shown(pair: &mut Pair<'_>, sql: &str) -> String {
    let statement = Statement::Text(sql.to_owned());
    let manner = Manner {
        writes: true,
        ..Manner::PLAIN
    };
    let mut text = format!("==== {sql}\n");
    let answers = pair.answers(&statement, manner).await;
    tell_answers(&mut text, answers);
    text += "-- explain\n";
    for line in pair.lines(&format!("explain {sql}")).await {
        let _ = writeln!(text, "   {line}");
    }
    text
}

fn tell_answers(text: &mut String, answers: Answers) {
    let told = match answers {
        Answers::Both(cluster, oracle) => vec![
            ("cluster", cluster.shown(ROWS)),
            ("one PostgreSQL", oracle.shown(ROWS)),
        ],
        Answers::Refused(cluster) => vec![("cluster, now", cluster.shown(ROWS))],
        Answers::TooSlow => vec![("too slow, now", Vec::new())],
        Answers::Silence(silence) => vec![("cluster", vec![silence.to_string()])],
    };
    for (who, lines) in told {
        let _ = writeln!(text, "-- {who}");
        tell_lines(text, &lines);
    }
}

fn tell_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "   {line}");
    }
}

impl Finding<'_> {
    async fn describe(&self, pair: &mut Pair<'_>) -> String {
        let Finding {
            seed,
            number,
            manner,
            difference,
            ..
        } = self;
        let mut text = format!("==== seed {seed} statement {number}: {difference:?}\n");
        let small = sql::text(self.small, manner.literals);
        let whole = sql::text(self.whole, Literals::InText).sql;
        let _ = writeln!(text, "{}\n  {:?}", small.sql, manner.protocol);
        for (index, value) in small.parameters.iter().enumerate() {
            let _ = writeln!(
                text,
                "  ${} = {:?} {:?}",
                index + 1,
                value.value,
                value.type_
            );
        }
        let in_text = sql::text(self.small, Literals::InText).sql;
        if !matches!(difference, Difference::Silence(_)) {
            let answers = pair.answers_taken_back(self.small, *manner).await;
            tell_answers(&mut text, answers);
        }
        text += "-- explain\n";
        for line in pair.lines(&format!("explain {in_text}")).await {
            let _ = writeln!(text, "   {line}");
        }
        if self.whole != self.small {
            let _ = writeln!(text, "-- the whole\n{whole}");
        }
        for (who, lines) in ["cluster", "one PostgreSQL"].iter().zip(&self.said) {
            let _ = writeln!(text, "-- {who}, at first");
            tell_lines(&mut text, lines);
        }
        text + "\n"
    }
}
