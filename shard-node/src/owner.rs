//! The operating system's user that PostgreSQL runs as: ourselves, or an ordinary user where we are root,
//! because PostgreSQL refuses to run as root. `setpriv` (util-linux) drops the rights and, as we hold no unsafe
//! code, also asks the kernel to signal the child when the thread that started it dies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

use crate::error::AtPath;
use crate::{Error, Result};

/// Users to run as where we are root, in order of preference.
const ORDINARY_USERS: [&str; 2] = ["postgres", "oskol"];

#[derive(Debug, Clone)]
pub struct Owner {
    pub name: String,
    uid: Uid,
    gid: Gid,
    /// We are root and give our rights up for this user.
    drops_rights: bool,
    setpriv: Option<PathBuf>,
}

impl Owner {
    /// The user to run PostgreSQL as.
    pub fn choose() -> Result<Owner> {
        let setpriv = find_setpriv();
        let us = Uid::effective();
        if !us.is_root() {
            let name = User::from_uid(us)
                .ok()
                .flatten()
                .map_or_else(|| us.to_string(), |user| user.name);
            return Ok(Owner {
                name,
                uid: us,
                gid: Gid::effective(),
                drops_rights: false,
                setpriv,
            });
        }
        let user = ORDINARY_USERS
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        let user = user.ok_or(Error::NoOrdinaryUser)?;
        if setpriv.is_none() {
            return Err(Error::NoSetpriv);
        }
        Ok(Owner {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            drops_rights: true,
            setpriv,
        })
    }

    /// Makes this process the user's, for good, where we are root. To be called before any thread is started.
    pub fn become_it(&mut self) -> Result<()> {
        if !self.drops_rights {
            return Ok(());
        }
        let name = std::ffi::CString::new(self.name.clone()).unwrap_or_default();
        let became = initgroups(&name, self.gid)
            .and_then(|()| setgid(self.gid))
            .and_then(|()| setuid(self.uid));
        became.map_err(|source| Error::Rights {
            user: self.name.clone(),
            source,
        })?;
        self.drops_rights = false;
        Ok(())
    }

    /// We are root, and files that we make are not this user's by themselves.
    pub fn is_another(&self) -> bool {
        self.drops_rights
    }

    /// Makes `directory` and gives it to this user, where it does not exist yet or is empty: a volume that was just
    /// made is root's.
    pub fn take_over_if_empty(&self, directory: &Path) -> Result<()> {
        let entries = fs::read_dir(directory).map(|mut entries| entries.next().is_some());
        match entries {
            Ok(true) => Ok(()),
            _ => self.make_directory(directory, 0o755),
        }
    }

    /// A command that runs as this user, with `/` as working directory, without input, in a process group of its own
    /// so that a terminal's Ctrl-C does not reach it before we want it to.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_that_dies(program, None)
    }

    /// As [`Owner::command`]; and the process gets `signal` (as `setpriv` names it) when the *thread* that starts
    /// it ends, however it ends (prctl(2), PR_SET_PDEATHSIG). Without `setpriv` only an orderly end stops it.
    pub fn command_that_dies(&self, program: impl AsRef<OsStr>, signal: Option<&str>) -> Command {
        let mut command = match &self.setpriv {
            Some(setpriv) if self.drops_rights || signal.is_some() => {
                let mut command = Command::new(setpriv);
                command
                    .args(self.setpriv_arguments(signal))
                    .arg("--")
                    .arg(program);
                command
            }
            _ => Command::new(program),
        };
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn setpriv_arguments(&self, signal: Option<&str>) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.drops_rights {
            arguments.extend([
                format!("--reuid={}", self.uid),
                format!("--regid={}", self.gid),
            ]);
            arguments.push("--init-groups".to_owned());
        }
        arguments.extend(signal.map(|name| format!("--pdeathsig={name}")));
        arguments
    }

    /// Runs `program` to its end; its output is the error's text where it fails.
    pub fn run<I, S>(&self, program: &Path, arguments: I) -> Result<()>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let name = program.display().to_string();
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .map_err(|source| Error::Run {
                program: name.clone(),
                source,
            })?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        Err(Error::Program {
            program: name,
            output: String::from_utf8_lossy(&text).trim().to_owned(),
        })
    }

    /// Makes `directory` (and those above it) and gives it to this user. `mode` as for chmod.
    pub fn make_directory(&self, directory: &Path, mode: u32) -> Result<()> {
        fs::create_dir_all(directory).at("cannot make the directory", directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))
            .at("cannot set the permissions of", directory)?;
        self.give(directory)
    }

    /// Gives a file or directory (not what is inside) to this user.
    pub fn give(&self, path: &Path) -> Result<()> {
        if !self.drops_rights {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .at("cannot change the owner of", path)
    }

    /// Checks that a directory in a place where everybody may write is this user's, and not a trap.
    pub fn check_owns(&self, directory: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(directory).at("cannot look at", directory)?;
        if metadata.is_dir() && metadata.uid() == self.uid.as_raw() {
            return Ok(());
        }
        Err(Error::SomebodyElses {
            path: directory.to_owned(),
            user: self.name.clone(),
        })
    }

    /// Checks, as this user, that `directory` can be entered.
    pub fn check_reach(&self, directory: &Path) -> Result<()> {
        let mut probe = self.command("test");
        let entered = probe
            .arg("-x")
            .arg(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match entered {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::Unreachable {
                path: directory.to_owned(),
                user: self.name.clone(),
            }),
            Err(source) => Err(Error::Run {
                program: "test".to_owned(),
                source,
            }),
        }
    }
}

fn find_setpriv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/bin".into(), "/bin".into()]);
    places
        .map(|place| place.join("setpriv"))
        .find(|file| file.exists())
}
