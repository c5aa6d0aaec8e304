//! When a session begins, ends and partly takes back transactions.

use super::dice::Dice;

/// The transaction that a session is in.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Live savepoints, where one is open.
    savepoints: Option<Vec<String>>,
    /// Only ROLLBACK, ROLLBACK TO and COMMIT are heard.
    pub failed: bool,
}

impl Transaction {
    pub fn is_open(&self) -> bool {
        self.savepoints.is_some()
    }

    /// A command of transaction control, if it is time for one.
    pub fn next_command(&self, dice: &mut Dice) -> Option<String> {
        let Some(savepoints) = &self.savepoints else {
            let begin = [
                "begin",
                "begin",
                "start transaction isolation level repeatable read",
            ];
            return dice.chance(5).then(|| (*dice.pick(&begin)).to_owned());
        };
        if self.failed {
            return Some(match dice.any(savepoints) {
                Some(name) if dice.chance(70) => format!("rollback to {name}"),
                _ => (*dice.pick(&["rollback", "commit"])).to_owned(),
            });
        }
        match dice.below(100) {
            0..9 => Some("commit".to_owned()),
            9..14 => Some("rollback".to_owned()),
            14..22 => Some(format!("savepoint s{}", savepoints.len())),
            22..27 => dice
                .any(savepoints)
                .map(|name| format!("rollback to {name}")),
            27..30 => dice.any(savepoints).map(|name| format!("release {name}")),
            _ => None,
        }
    }

    /// Notes a command that is about to run.
    pub fn track(&mut self, command: &str) {
        let words: Vec<_> = command.split(' ').collect();
        match (words.as_slice(), &mut self.savepoints) {
            (["begin" | "start", ..], _) => self.savepoints = Some(Vec::new()),
            (["commit" | "rollback"], _) => *self = Transaction::default(),
            (["savepoint", name], Some(savepoints)) => savepoints.push((*name).to_owned()),
            (["rollback", "to", name], Some(savepoints)) => {
                savepoints.truncate(position(savepoints, name) + 1);
            }
            (["release", name], Some(savepoints)) => {
                savepoints.truncate(position(savepoints, name))
            }
            _ => {}
        }
    }
}

/// Of the newest savepoint of this name.
fn position(savepoints: &[String], name: &str) -> usize {
    savepoints
        .iter()
        .rposition(|known| known == name)
        .unwrap_or(0)
}
