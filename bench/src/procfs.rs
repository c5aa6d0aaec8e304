//! What Linux says of a process: CPU time and memory. Linux manual, proc(5).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// CPU time of all threads, user and system. A thread that ended is no longer counted.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        total += thread_cpu_time(&task?.path())?;
    }
    Ok(total)
}

/// First field of `schedstat`: nanoseconds spent on the CPU; none of a thread that has ended since it was listed.
fn thread_cpu_time(task: &Path) -> anyhow::Result<Duration> {
    let text = match std::fs::read_to_string(task.join("schedstat")) {
        Err(_) if !task.exists() => return Ok(Duration::ZERO),
        text => text.context(
            "this kernel does not keep /proc/PID/task/TID/schedstat (CONFIG_SCHED_INFO)",
        )?,
    };
    let nanoseconds = text.split_whitespace().next().context("empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Resident memory that is the process's own (VmRSS less file mappings), in bytes.
pub fn private_memory(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no RssAnon in /proc/PID/status")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0u64;
        while cpu_time(std::process::id()).unwrap() < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn held_memory_is_seen() {
        let before = private_memory(std::process::id()).unwrap();
        let held = vec![1u8; 32 << 20];
        let after = private_memory(std::process::id()).unwrap();
        assert!(after - before > 24 << 20, "{before} {after} {}", held.len());
    }
}
