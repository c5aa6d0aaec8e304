//! Single values of the file: reads one, notes what is wrong with it, and goes on.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::Problem;
use crate::config::units;

/// Collects the problems; what it gives in place of a value that cannot be used does not matter.
pub(super) struct Reader<'a> {
    pub place: &'a str,
    pub problems: Vec<Problem>,
}

impl Reader<'_> {
    pub fn problem(
        &mut self,
        key: impl Display,
        wrong: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.problems.push(Problem {
            place: self.place.to_owned(),
            key: key.to_string(),
            wrong: wrong.into(),
            allowed: allowed.into(),
        });
    }

    pub fn duration(&mut self, key: &str, text: &str) -> Duration {
        units::duration(text).unwrap_or_else(|| {
            self.problem(
                key,
                format!("= {text:?} is not a duration"),
                units::DURATIONS,
            );
            Duration::ZERO
        })
    }

    pub fn positive_duration(&mut self, key: &str, text: &str) -> Duration {
        let value = self.duration(key, text);
        if value.is_zero() && units::duration(text).is_some() {
            self.problem(key, "is zero", "more than zero");
        }
        value
    }

    pub fn size(&mut self, key: &str, text: &str, least: usize, most: usize) -> usize {
        let allowed = || {
            format!(
                "{} from {} to {}",
                units::SIZES,
                units::print_size(least),
                units::print_size(most)
            )
        };
        match units::size(text) {
            Some(value) if (least..=most).contains(&value) => value,
            Some(_) => {
                self.problem(key, format!("= {text:?} is out of range"), allowed());
                least
            }
            None => {
                self.problem(key, format!("= {text:?} is not a size"), allowed());
                least
            }
        }
    }

    pub fn count(&mut self, key: &str, value: usize, least: usize, most: usize) -> usize {
        if !(least..=most).contains(&value) {
            self.problem(
                key,
                format!("= {value} is out of range"),
                format!("{least} to {most}"),
            );
        }
        value
    }

    pub fn choice<T: Copy>(&mut self, key: impl Display, text: &str, choices: &[(&str, T)]) -> T {
        let found = choices.iter().find(|(name, _)| *name == text);
        let (_, value) = found.unwrap_or_else(|| {
            let names: Vec<String> = choices
                .iter()
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            self.problem(key, format!("= {text:?} is not known"), names.join(", "));
            &choices[0]
        });
        *value
    }

    pub fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let allowed = "an IP address and a port, e.g. \"127.0.0.1:6432\" or \"[::]:6432\"";
            self.problem(key, format!("= {text:?} is not an address"), allowed);
        }
        address
    }

    /// A file that must be there if it is named.
    pub fn file(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        let path = optional(text).map(PathBuf::from)?;
        if let Err(error) = std::fs::File::open(&path) {
            self.problem(
                key,
                format!("= {text:?} cannot be read: {error}"),
                "a readable file",
            );
        }
        Some(path)
    }
}

/// An empty text means "none" throughout the file.
pub(super) fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
