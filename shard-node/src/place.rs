//! The directory that one server has for itself: named, or the first free one of many beside each other.
//!
//! ```text
//! PLACE/data/    the data directory        PLACE/run/            the Unix socket
//! PLACE/log/     the server's logs         PLACE/membership.json whether it belongs to a cluster
//! PLACE/lock     held while in use
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::AtPath;
use crate::{Error, Result};

/// More servers than that do not share one volume.
const PLACES: u16 = 1000;

/// Holds the directory's lock while it lives. The kernel lets go of it when the process dies, in a container too.
#[derive(Debug)]
pub struct Place {
    pub directory: PathBuf,
    /// Of many; from 1.
    pub number: Option<u16>,
    _lock: Flock<fs::File>,
}

impl Place {
    /// `directory` itself, made where there is none.
    pub fn open(directory: &Path) -> Result<Place> {
        match try_open(directory, None)? {
            Some(place) => Ok(place),
            None => Err(Error::InUse {
                path: directory.to_owned(),
            }),
        }
    }

    /// The lowest of `BASE/1`, `BASE/2`, ... that no other process uses. Processes that share a volume, such as replicas
    /// of one container, then find data that a replica before them has left.
    pub fn claim(base: &Path) -> Result<Place> {
        for number in 1..=PLACES {
            let directory = base.join(number.to_string());
            if let Some(place) = try_open(&directory, Some(number))? {
                return Ok(place);
            }
        }
        Err(Error::NoPlace {
            path: base.to_owned(),
            limit: PLACES,
        })
    }
}

/// None: another process holds it.
fn try_open(directory: &Path, number: Option<u16>) -> Result<Option<Place>> {
    fs::create_dir_all(directory).at("cannot make the directory", directory)?;
    let directory = directory.canonicalize().at("cannot find", directory)?;
    let path = directory.join("lock");
    let file = fs::File::create(&path).at("cannot write", &path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Place {
            directory,
            number,
            _lock: lock,
        })),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_claimed_from_the_lowest_and_given_back() {
        let base = tempfile::tempdir().unwrap();
        let first = Place::claim(base.path()).unwrap();
        let second = Place::claim(base.path()).unwrap();
        assert_eq!((first.number, second.number), (Some(1), Some(2)));
        assert!(matches!(
            Place::open(&first.directory),
            Err(Error::InUse { .. })
        ));
        drop(first);
        assert_eq!(Place::claim(base.path()).unwrap().number, Some(1));
    }
}
