//! Where the server programs of PostgreSQL are, and of which version they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result};

/// Major version below which a shard is refused.
pub const OLDEST_VERSION: u32 = 15;

/// Where Debian and Ubuntu put each version: `<version>/bin`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A directory with `initdb`, `postgres` and `psql`, and their major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub directory: PathBuf,
    pub major_version: u32,
}

impl Binaries {
    /// The programs in `directory`; without it, the newest of Debian's directories, then those on PATH.
    pub fn find(directory: Option<&Path>) -> Result<Binaries> {
        let candidates =
            directory.map_or_else(default_directories, |chosen| vec![chosen.to_owned()]);
        let found = candidates
            .iter()
            .find(|place| place.join("initdb").exists() && place.join("postgres").exists());
        match found {
            Some(place) => Binaries::of(place),
            None => Err(Error::NoBinaries {
                looked_in: list(&candidates),
            }),
        }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn of(directory: &Path) -> Result<Binaries> {
        let postgres = directory.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .output()
            .map_err(|source| Error::Run {
                program: postgres.display().to_string(),
                source,
            })?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match major_version(&text) {
            Some(major) if major >= OLDEST_VERSION => Ok(Binaries {
                directory: directory.to_owned(),
                major_version: major,
            }),
            _ => Err(Error::TooOld {
                path: postgres,
                found: text,
            }),
        }
    }
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` gives 15.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL) ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn default_directories() -> Vec<PathBuf> {
    let mut versions: Vec<u32> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let debian = versions
        .into_iter()
        .map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).collect()
}

fn list(directories: &[PathBuf]) -> String {
    let names: Vec<String> = directories
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn the_major_version_is_read_from_release_and_development_versions() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }
}
