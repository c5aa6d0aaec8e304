//! Dates and timestamps in PostgreSQL's ISO text, as numbers that sort alike.
//!
//! `2024-02-29`, `2024-02-29 12:00:00.5`, with `+05:30` for timestamptz, ` BC` at the end for years
//! before 1, `infinity` and `-infinity` in every DateStyle (`EncodeDateTime` in PostgreSQL's
//! `datetime.c`). Years have four digits or more, which no other DateStyle begins with.

/// Days from 2000-01-01, PostgreSQL's own epoch, in the proleptic Gregorian calendar; infinities at the ends.
pub fn date(text: &[u8]) -> Option<i64> {
    infinity(text).or_else(|| {
        let (text, before_christ) = era(text);
        let (days, rest) = days(text, before_christ)?;
        rest.is_empty().then_some(days)
    })
}

/// Microseconds from the same day, local time.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    infinity(text).or_else(|| {
        let (text, before_christ) = era(text);
        let (local, rest) = local_time(text, before_christ)?;
        rest.is_empty().then_some(local)
    })
}

/// Microseconds from the same day, UTC: the offset may change with daylight saving within a result.
pub fn timestamptz(text: &[u8]) -> Option<i64> {
    infinity(text).or_else(|| {
        let (text, before_christ) = era(text);
        let (local, rest) = local_time(text, before_christ)?;
        local.checked_sub(offset(rest)? * 1_000_000)
    })
}

fn infinity(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(i64::MAX),
        b"-infinity" => Some(i64::MIN),
        _ => None,
    }
}

fn era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC")
        .map_or((text, false), |rest| (rest, true))
}

fn local_time(text: &[u8], before_christ: bool) -> Option<(i64, &[u8])> {
    let (days, rest) = days(text, before_christ)?;
    let (seconds, rest) = clock(rest.strip_prefix(b" ")?)?;
    let (microseconds, rest) = fraction(rest)?;
    let seconds = days.checked_mul(86_400)?.checked_add(seconds)?;
    Some((
        seconds.checked_mul(1_000_000)?.checked_add(microseconds)?,
        rest,
    ))
}

fn days(text: &[u8], before_christ: bool) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // PostgreSQL's last year is 5874897.
    if !(4..=7).contains(&digits) {
        return None;
    }
    let (year, rest) = number(text, digits)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let year = if before_christ { 1 - year } else { year };
    Some((days_from_civil(year, month, day), rest))
}

/// Howard Hinnant's `days_from_civil`, shifted to 2000-01-01. Years begin in March here, so that the
/// leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 730_425
}

/// `HH:MM:SS`
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hours, rest) = number(text, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (seconds, rest) = number(rest.strip_prefix(b":")?, 2)?;
    Some((hours * 3_600 + minutes * 60 + seconds, rest))
}

/// `.5` is half a second; zeros at the end are not printed.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=6).contains(&digits) {
        return None;
    }
    let (value, rest) = number(text, digits)?;
    Some((value * 10_i64.pow(6 - digits as u32), rest))
}

/// `+05`, `-03:30` or `+00:53:28`, in seconds east.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (mut seconds, mut rest) = number(rest, 2).map(|(hours, rest)| (hours * 3_600, rest))?;
    for unit in [60, 1] {
        let Some(text) = rest.strip_prefix(b":") else {
            break;
        };
        let (value, after) = number(text, 2)?;
        seconds += value * unit;
        rest = after;
    }
    rest.is_empty().then_some(sign * seconds)
}

/// Exactly `digits` decimal digits.
fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    head.iter().all(u8::is_ascii_digit).then_some(())?;
    let value = head
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_sort_as_their_days() {
        let ascending = [
            "-infinity",
            "4713-01-01 BC",
            "0044-03-15 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "1999-12-31",
            "2000-01-01",
            "2000-02-28",
            "2000-02-29",
            "2000-03-01",
            "9999-12-31",
            "10000-01-01",
            "infinity",
        ];
        let days: Vec<i64> = ascending
            .iter()
            .map(|text| date(text.as_bytes()).unwrap())
            .collect();
        assert!(
            days.is_sorted() && days.windows(2).all(|pair| pair[0] < pair[1]),
            "{days:?}"
        );
        assert_eq!(
            date(b"0001-01-01").unwrap() - date(b"0001-12-31 BC").unwrap(),
            1
        );
        assert_eq!(date(b"2000-01-01"), Some(0));
        assert_eq!(date(b"1970-01-01"), Some(-10_957));
    }

    #[test]
    fn other_date_styles_are_not_read() {
        for text in [
            "02/29/2024",
            "29.02.2024",
            "02-29-2024",
            "Thu Feb 29 2024",
            "",
            "2024-2-29",
            "2024-02-29x",
        ] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        for text in [
            "2024-02-29",
            "Thu Feb 29 12:00:00 2024",
            "2024-02-29 12:00",
            "2024-02-29 12:00:00.",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        assert_eq!(timestamptz(b"2024-02-29 12:00:00"), None);
        assert_eq!(timestamptz(b"2024-02-29 12:00:00 CET"), None);
    }

    #[test]
    fn a_fraction_counts_whatever_its_length() {
        let at = |text: &str| timestamp(text.as_bytes()).unwrap();
        assert_eq!(
            at("2024-01-01 00:00:00.5") - at("2024-01-01 00:00:00"),
            500_000
        );
        assert_eq!(
            at("2024-01-01 00:00:00.51") - at("2024-01-01 00:00:00.5"),
            10_000
        );
        assert_eq!(
            at("2024-01-02 00:00:00") - at("2024-01-01 23:59:59.999999"),
            1
        );
    }

    #[test]
    fn the_last_timestamp_is_read_and_the_one_after_refused() {
        assert!(timestamp(b"294276-12-31 23:59:59.999999").is_some());
        assert_eq!(timestamp(b"5874897-12-31 23:59:59.999999"), None);
    }

    #[test]
    fn an_offset_moves_the_instant() {
        let at = |text: &str| timestamptz(text.as_bytes()).unwrap();
        assert_eq!(
            at("2024-01-01 12:00:00+00"),
            at("2024-01-01 17:30:00+05:30")
        );
        assert_eq!(at("2024-01-01 12:00:00+00"), at("2024-01-01 08:00:00-04"));
        assert_eq!(
            at("1890-01-01 00:53:28+00:53:28"),
            at("1890-01-01 00:00:00+00")
        );
        // The hour that daylight saving repeats: later by the clock of the world, earlier by the wall's.
        assert!(at("2024-10-27 02:10:00+01") > at("2024-10-27 02:50:00+02"));
    }
}
