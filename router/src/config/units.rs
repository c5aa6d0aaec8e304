//! Durations and sizes as people type them: `250ms`, `5s`, `10min`, `16MiB`.
//!
//! Takes and gives values; knows no key and no file.

use std::time::Duration;

/// What a duration may look like, for messages.
pub const DURATIONS: &str =
    "a whole number with a unit: ms, s, min, h or d, e.g. \"5s\"; \"0\" where zero means none";
/// What a size may look like, for messages.
pub const SIZES: &str = "a whole number with a unit: B, KiB, MiB or GiB, e.g. \"16MiB\"";

/// `5s` -> five seconds. `0` needs no unit. `None`: not a duration, or too long to be told.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds: u64 = match unit {
        "" if number == 0 => 1,
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// `16MiB` -> 16777216. `None`: not a size, or more than this machine can count.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

/// The way back, for `SHOW CONFIG`: the largest unit that divides the value.
pub fn print_duration(value: Duration) -> String {
    let milliseconds = value.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
        (1, "ms"),
    ];
    print(milliseconds, &units).unwrap_or_else(|| "0".to_owned())
}

/// As [`print_duration`], for bytes.
pub fn print_size(bytes: usize) -> String {
    let units = [
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1, "B"),
    ];
    print(bytes as u128, &units).unwrap_or_else(|| "0B".to_owned())
}

fn print(value: u128, units: &[(u128, &str)]) -> Option<String> {
    let (factor, unit) = units
        .iter()
        .find(|(factor, _)| value > 0 && value.is_multiple_of(*factor))?;
    Some(format!("{}{unit}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("10 min"), Some(Duration::from_secs(600)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in [
            "5",
            "",
            "s",
            "-1s",
            "1.5s",
            "5 sec",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!(size("16MiB"), Some(16 << 20));
        assert_eq!(size("1B"), Some(1));
        for wrong in ["16", "16MB", "16mib", "99999999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["250ms", "15s", "10min", "1h", "2d", "90s", "0"] {
            assert_eq!(print_duration(duration(text).unwrap()), text);
        }
        for text in ["16MiB", "1GiB", "1536KiB", "7B"] {
            assert_eq!(print_size(size(text).unwrap()), text);
        }
    }
}
