//! `postmaster.pid` of a data directory, as `pg_ctl` reads it (src/include/utils/pidfile.h).

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// Lines of the file, counted from zero.
const STATUS_LINE: usize = 7;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub pid: Pid,
    /// `starting`, `stopping`, `ready` or `standby`; absent until the server writes it.
    status: Option<String>,
}

impl PidFile {
    /// Nothing where there is no such file, or a file that is being written.
    pub fn read(data_directory: &Path) -> Option<PidFile> {
        PidFile::parse(&fs::read_to_string(data_directory.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<PidFile> {
        let mut lines = text.lines();
        // A single-user server writes its process id negative.
        let pid = lines
            .next()?
            .trim()
            .parse::<i32>()
            .ok()?
            .checked_abs()
            .filter(|pid| *pid > 0)?;
        let status = lines
            .nth(STATUS_LINE - 1)
            .map(|line| line.trim().to_owned());
        Some(PidFile {
            pid: Pid::from_raw(pid),
            status,
        })
    }

    /// The server accepts connections.
    pub fn is_ready(&self) -> bool {
        matches!(self.status.as_deref(), Some("ready" | "standby"))
    }
}

#[cfg(test)]
mod tests {
    use super::PidFile;

    #[test]
    fn a_server_is_ready_once_its_pid_file_says_so() {
        let lines = "4242\n/data\n1700000000\n5433\n/run\n127.0.0.1\n  1 2\n";
        assert!(!PidFile::parse(lines).unwrap().is_ready());
        assert!(
            !PidFile::parse(&format!("{lines}starting\n"))
                .unwrap()
                .is_ready()
        );
        assert!(
            PidFile::parse(&format!("{lines}ready   \n"))
                .unwrap()
                .is_ready()
        );
    }

    #[test]
    fn a_half_written_pid_file_is_none() {
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("0"), None);
        assert_eq!(PidFile::parse("-17").unwrap().pid.as_raw(), 17);
    }
}
