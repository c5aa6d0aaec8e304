//! `cluster.json`: what of a local cluster must not change from one start to the next.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LocalClusterOptions, SHARDS_BY_DEFAULT};
use crate::error::AtPath;
use crate::ports::{free_port, is_free};
use crate::{Error, Result};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    /// Of each shard, in order.
    pub ports: Vec<u16>,
}

impl Description {
    /// The kept one, or a new one.
    pub fn load_or_choose(directory: &Path, options: &LocalClusterOptions) -> Result<Description> {
        let path = path(directory);
        let Ok(text) = fs::read_to_string(&path) else {
            return Description::choose(options);
        };
        let kept: Description = serde_json::from_str(&text).map_err(|why| Error::Description {
            path: path.clone(),
            why: why.to_string(),
        })?;
        if let Some(wanted) = options.shards.filter(|wanted| *wanted != kept.ports.len()) {
            return Err(Error::OtherShardCount {
                path: directory.to_owned(),
                found: kept.ports.len(),
                wanted,
            });
        }
        Ok(kept)
    }

    fn choose(options: &LocalClusterOptions) -> Result<Description> {
        let mut ports: Vec<u16> = Vec::new();
        let mut preferred = options
            .first_port
            .map(|first| (first..=u16::MAX).filter(|port| is_free(*port)));
        while ports.len() < options.shards.unwrap_or(SHARDS_BY_DEFAULT) {
            let port = match preferred.as_mut().and_then(Iterator::next) {
                Some(port) => port,
                None => free_port()?,
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Ok(Description { ports })
    }

    /// Ports of servers that an earlier run left count as taken: stop those first.
    pub fn replace_taken_ports(&mut self) -> Result<()> {
        for number in 0..self.ports.len() {
            let old = self.ports[number];
            if !is_free(old) {
                let new = self.unused_port()?;
                tracing::warn!(shard = number, old, new, "the port is taken; using another");
                self.ports[number] = new;
            }
        }
        Ok(())
    }

    fn unused_port(&self) -> Result<u16> {
        loop {
            let port = free_port()?;
            if !self.ports.contains(&port) {
                return Ok(port);
            }
        }
    }

    pub fn save(&self, directory: &Path) -> Result<()> {
        let path = path(directory);
        let text = serde_json::to_string_pretty(self).map_err(|why| Error::Description {
            path: path.clone(),
            why: why.to_string(),
        })?;
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, text + "\n").at("cannot write", &unfinished)?;
        fs::rename(&unfinished, &path).at("cannot rename", &unfinished)
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("cluster.json")
}
