//! A temporary directory that the servers' user can enter, removed when this process is gone, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

/// In bytes, several times what the servers of one test program come to.
const PLENTY: u64 = 8 << 30;
/// Waits until our end of the pipe is closed, by us or by our death; the servers then are dying and may still write.
/// Logs of failed tests stay.
const JANITOR: &str = r#"
cat >/dev/null
tries=100
while [ "$tries" -gt 0 ]; do
    if [ -e "$1/failed" ]; then rm -rf "$1"/shards/shard-* "$1"/oracle/shard-* "$1"/spare-*/shard-*; else rm -rf "$1"; fi 2>/dev/null && exit
    tries=$((tries - 1))
    sleep 0.1
done
"#;

/// Databases come and go by the hundred, a few hundred files each: in memory, where there is plenty, unless TMPDIR says otherwise.
fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let plenty = std::env::var_os("TMPDIR").is_none()
        && statvfs(memory).is_ok_and(|found| {
            found.blocks_available() * found.fragment_size() >= PLENTY
                && access(memory, AccessFlags::W_OK).is_ok()
        });
    if plenty {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

pub(crate) struct Directory {
    path: PathBuf,
    /// Held open for the janitor.
    _janitor: ChildStdin,
}

impl Directory {
    pub fn new() -> Directory {
        let mut builder = tempfile::Builder::new();
        let directory = builder
            .prefix("oskol-test-")
            .disable_cleanup(true)
            .tempdir_in(base())
            .expect("a temporary directory");
        let path = directory.path().to_owned();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("the directory is ours");
        let mut janitor = Command::new("sh");
        janitor
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped());
        janitor
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let stdin = janitor
            .spawn()
            .expect("sh runs")
            .stdin
            .take()
            .expect("its input is a pipe");
        Directory {
            path,
            _janitor: stdin,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Prints the end of every log, and keeps the logs.
    pub fn report_failure(&self) {
        // Without the file the logs are removed with the rest; the print remains.
        let _ = std::fs::write(self.path.join("failed"), "");
        for log in [
            self.path.to_owned(),
            self.path.join("shards/log"),
            self.path.join("oracle/log"),
        ] {
            for entry in std::fs::read_dir(log).into_iter().flatten().flatten() {
                print_tail(&entry.path());
            }
        }
        eprintln!("--- logs are kept in {}", self.path.display());
    }
}

fn print_tail(path: &Path) {
    if path.extension().is_none_or(|extension| extension != "log") {
        return;
    }
    let text = std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- {}", path.display());
    lines[lines.len().saturating_sub(30)..]
        .iter()
        .for_each(|line| eprintln!("{line}"));
}
