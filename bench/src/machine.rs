//! The machine and the versions that a report was made with; figures mean nothing without them.

use std::process::Command;

use crate::programs;

pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub kernel: String,
    pub postgres: String,
    pub pgbouncer: String,
}

impl Machine {
    pub fn read() -> anyhow::Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            processor: processor_name(&cpuinfo)
                .unwrap_or("unknown processor")
                .to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            kernel: kernel.trim().to_owned(),
            postgres: version(&mut Command::new(programs::postgres()?.program("postgres"))),
            pgbouncer: match programs::pgbouncer() {
                Ok(program) => version(&mut Command::new(program)),
                Err(_) => "no PgBouncer".to_owned(),
            },
        })
    }
}

fn processor_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, name)| name)
}

/// First line of `--version`.
fn version(command: &mut Command) -> String {
    match command.arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or("unknown")
            .to_owned(),
        Err(error) => format!("unknown ({error})"),
    }
}
