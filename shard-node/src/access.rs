//! Who may log in from other machines: a block of ours at the end of `pg_hba.conf`. What stands above it is the
//! operator's and is met first.

use std::fs;
use std::net::IpAddr;

use crate::error::AtPath;
use crate::{Error, Result, SUPERUSER, ShardNode};

const BEGIN: &str = "# begin: written by oskol before each start, changes here are lost";
const END: &str = "# end: written by oskol";

/// Lets clients of `networks` log in by SCRAM, and replicate as superuser. None: takes the block away.
pub(crate) fn write(node: &ShardNode, networks: &[String]) -> Result<()> {
    for network in networks {
        check(network)?;
    }
    let path = node.data_directory.join("pg_hba.conf");
    let text = fs::read_to_string(&path).at("cannot read", &path)?;
    let changed = with_block(&text, networks);
    if changed == text {
        return Ok(());
    }
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, changed).at("cannot write", &unfinished)?;
    node.owner.give(&unfinished)?;
    fs::rename(&unfinished, &path).at("cannot rename", &unfinished)
}

fn with_block(text: &str, networks: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut ours = false;
    for line in text.lines() {
        match line {
            BEGIN => ours = true,
            END => ours = false,
            line if !ours => lines.push(line.to_owned()),
            _ => {}
        }
    }
    if !networks.is_empty() {
        lines.push(BEGIN.to_owned());
        for network in networks {
            lines.push(format!("host all all {network} scram-sha-256"));
            lines.push(format!(
                "host replication {SUPERUSER} {network} scram-sha-256"
            ));
        }
        lines.push(END.to_owned());
    }
    lines.join("\n") + "\n"
}

fn check(network: &str) -> Result<()> {
    let is_word = matches!(network, "all" | "samenet" | "samehost");
    if is_word || is_range(network) {
        return Ok(());
    }
    Err(Error::Network {
        text: network.to_owned(),
    })
}

/// `10.0.0.0/8`, `fd00::/8`.
fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_replaced_and_the_rest_is_kept() {
        let own = "local all all scram-sha-256\n";
        let first = with_block(own, &["samenet".to_owned()]);
        assert!(first.starts_with(own));
        assert!(
            first.contains("\nhost all all samenet scram-sha-256\n"),
            "{first}"
        );
        let second = with_block(&first, &["10.0.0.0/8".to_owned()]);
        assert!(second.contains("host replication postgres 10.0.0.0/8 scram-sha-256"));
        assert!(!second.contains("samenet"), "{second}");
        assert_eq!(with_block(&second, &[]), own);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for fine in ["samenet", "all", "10.0.0.0/8", "fd00::/8", "127.0.0.1/32"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "all trust",
            "host/8",
            "fd00::/129",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
