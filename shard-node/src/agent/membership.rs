//! Whether a server belongs to a cluster, kept in its place from one start to the next.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::AtPath;
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub struct Membership {
    /// `membership.json` of the server's place.
    pub path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Joined,
    /// Does not join again by itself.
    Left,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    pub shard: u16,
    /// As it was announced.
    pub name: String,
}

impl Membership {
    /// None: never joined.
    pub fn read(&self) -> Result<Option<Record>> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("cannot read", &self.path),
        };
        let record = serde_json::from_str(&text).map_err(|why| Error::Membership {
            path: self.path.clone(),
            why: why.to_string(),
        })?;
        Ok(Some(record))
    }

    pub fn write(&self, record: &Record) -> Result<()> {
        // It has no maps and no floats, which alone can fail.
        let text = serde_json::to_string_pretty(record).unwrap_or_default();
        let unfinished = self.path.with_extension("unfinished");
        fs::write(&unfinished, text + "\n").at("cannot write", &unfinished)?;
        fs::rename(&unfinished, &self.path).at("cannot rename", &unfinished)
    }

    pub fn forget(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("cannot remove", &self.path)
            }
            _ => Ok(()),
        }
    }
}
