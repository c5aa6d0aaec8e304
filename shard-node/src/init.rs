//! A new data directory: by `initdb`, or as a copy of one that was prepared.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::error::AtPath;
use crate::{Error, Result, SUPERUSER, ShardNode, settings};

const INITDB: [&str; 6] = [
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
    "--auth-local=scram-sha-256",
    "--auth-host=scram-sha-256",
];

#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// What the server keeps of the superuser's password (`pg_authid.rolpassword`), where it must be the same on
    /// several servers; none: made by the server.
    pub verifier: Option<String>,
    /// Further arguments of `initdb`.
    pub arguments: Vec<String>,
}

impl ShardNode {
    /// Whether there is a data directory, of the version of our programs.
    pub fn is_initialised(&self) -> Result<bool> {
        let path = self.data_directory.join("PG_VERSION");
        let Ok(found) = fs::read_to_string(&path) else {
            return match fs::read_dir(&self.data_directory)
                .map(|mut entries| entries.next().is_some())
            {
                Ok(true) => Err(Error::NotADataDirectory {
                    path: self.data_directory.clone(),
                }),
                _ => Ok(false),
            };
        };
        let wanted = self.binaries.major_version;
        if found.trim() == wanted.to_string() {
            return Ok(true);
        }
        Err(Error::OtherVersion {
            path: self.data_directory.clone(),
            found: found.trim().to_owned(),
            wanted,
        })
    }

    /// Makes the data directory: UTF-8, locale C.UTF-8 (the same order of text on every machine), data checksums,
    /// SCRAM for every connection. Works in a directory beside it and renames, so that a data directory is whole or
    /// absent.
    pub fn init(&self, options: &InitOptions) -> Result<()> {
        self.prepare_directories()?;
        let unfinished = self.unfinished()?;
        let password_file = self.log_directory.join(format!("{}.password", self.name));
        let made = self
            .write_password(&password_file, options)
            .and_then(|()| self.initdb(&unfinished, &password_file, &options.arguments));
        let removed = fs::remove_file(&password_file).at("cannot remove", &password_file);
        made.and(removed)?;
        settings::include(&unfinished)?;
        self.finish(&unfinished)
    }

    /// Makes the data directory where there is none; else takes the one that is there, whoever made it.
    pub fn make_or_adopt(&self, options: &InitOptions) -> Result<()> {
        if !self.is_initialised()? {
            return self.init(options);
        }
        self.prepare_directories()?;
        settings::include(&self.data_directory)
    }

    /// Makes the data directory as a copy of `template`, which no server may be using. The copy has the template's
    /// superuser password and a system identifier of its own. Meant for tests.
    pub fn copy_from(&self, template: &Path) -> Result<()> {
        self.prepare_directories()?;
        let unfinished = self.unfinished()?;
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "--no-target-directory"])
            .arg(template)
            .arg(&unfinished);
        let output = copy.output().map_err(|source| Error::Run {
            program: "cp".to_owned(),
            source,
        })?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Program {
                program: "cp".to_owned(),
                output,
            });
        }
        self.become_another(&unfinished)?;
        self.finish(&unfinished)
    }

    pub(crate) fn prepare_directories(&self) -> Result<()> {
        self.owner.make_directory(&self.log_directory, 0o700)?;
        self.owner.make_directory(&self.socket_directory, 0o755)
    }

    /// A new directory beside the data directory, emptied of an earlier try.
    fn unfinished(&self) -> Result<std::path::PathBuf> {
        let path = self.data_directory.with_extension("unfinished");
        if path.exists() {
            fs::remove_dir_all(&path).at("cannot remove what an earlier try left", &path)?;
        }
        self.owner.make_directory(&path, 0o700)?;
        self.owner.check_reach(&path)?;
        Ok(path)
    }

    fn finish(&self, unfinished: &Path) -> Result<()> {
        fs::rename(unfinished, &self.data_directory)
            .at("cannot rename to the data directory", unfinished)
    }

    fn initdb(&self, directory: &Path, password_file: &Path, more: &[String]) -> Result<()> {
        let mut arguments = vec![
            format!("--pgdata={}", directory.display()),
            format!("--username={SUPERUSER}"),
            format!("--pwfile={}", password_file.display()),
        ];
        arguments.extend(INITDB.map(str::to_owned));
        arguments.extend_from_slice(more);
        self.owner.run(&self.binaries.program("initdb"), arguments)
    }

    fn write_password(&self, path: &Path, options: &InitOptions) -> Result<()> {
        write_secret(path, options.verifier.as_ref().unwrap_or(&self.password))?;
        self.owner.give(path)
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).at("cannot write", path)?;
    writeln!(file, "{text}").at("cannot write", path)
}
