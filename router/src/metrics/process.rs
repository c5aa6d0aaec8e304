//! The process's own figures, from Linux' /proc; absent elsewhere.

/// (resident bytes, CPU seconds of user and system together).
pub fn read() -> Option<(u64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    parse(&stat)
}

/// proc(5): the fields after the command name in parentheses start with the third, `state`.
fn parse(stat: &str) -> Option<(u64, f64)> {
    /// The kernel shows times to user space in hundredths of a second on every architecture we build for.
    const TICKS_PER_SECOND: f64 = 100.0;
    const PAGE: u64 = 4096;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    Some((number(24)? * PAGE, ticks as f64 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 15 16 17 18 19 20 3 22";
        assert_eq!(super::parse(stat), Some((3 * 4096, 2.0)));
    }
}
