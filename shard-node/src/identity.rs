//! A copied data directory becomes a server of its own: another system identifier, which routers tell
//! servers apart by, and replication too.
//!
//! PostgreSQL has no program for it. The identifier is the first field of `global/pg_control`
//! (`ControlFileData` in PostgreSQL's `catalog/pg_control.h`), whose last field is the CRC-32C of all
//! before it; `pg_resetwal` then starts the WAL anew under it.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use crate::error::AtPath;
use crate::{Error, Result, ShardNode};

/// Where the CRC may be: the struct has grown from version to version.
const CRC_OFFSETS: std::ops::Range<usize> = 200..500;

impl ShardNode {
    /// `directory`: a data directory that no server uses, cleanly shut down.
    pub(crate) fn become_another(&self, directory: &Path) -> Result<()> {
        let path = directory.join("global/pg_control");
        let mut control = fs::read(&path).at("cannot read", &path)?;
        // Seeded at random by the standard library.
        let identifier = RandomState::new().hash_one(&self.data_directory);
        if !rename(&mut control, identifier) {
            let output = "the checksum of the copy's pg_control was not found".to_owned();
            return Err(Error::Program {
                program: "cp".to_owned(),
                output,
            });
        }
        fs::write(&path, control).at("cannot write", &path)?;
        let program = self.binaries.program("pg_resetwal");
        self.owner
            .run(&program, [Path::new("--force"), Path::new("-D"), directory])
    }
}

/// Puts in another identifier and the checksum that goes with it. False: this is no control file.
fn rename(control: &mut [u8], identifier: u64) -> bool {
    let crc = CRC_OFFSETS.step_by(4).find(|offset| {
        let found = control.get(*offset..offset + 4);
        found.is_some_and(|found| found == crc32c(&control[..*offset]).to_ne_bytes())
    });
    let Some(crc) = crc else {
        return false;
    };
    control[..8].copy_from_slice(&identifier.to_ne_bytes());
    let sum = crc32c(&control[..crc]).to_ne_bytes();
    control[crc..crc + 4].copy_from_slice(&sum);
    true
}

/// Castagnoli's CRC, bit by bit: it is for a few hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (if sum & 1 == 1 { POLYNOMIAL } else { 0 })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, appendix B.4: 32 bytes of zeros, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_control_file_gets_another_identifier_and_its_checksum() {
        let mut control = vec![7; 512];
        let sum = crc32c(&control[..288]).to_ne_bytes();
        control[288..292].copy_from_slice(&sum);
        assert!(rename(&mut control, 42));
        assert_eq!(control[..8], 42u64.to_ne_bytes());
        assert_eq!(control[288..292], crc32c(&control[..288]).to_ne_bytes());
        assert!(!rename(&mut [0; 512], 42));
    }
}
