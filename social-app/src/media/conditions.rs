//! Conditional requests: whether the caller has the newest already (RFC 9110, section 13).

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};

/// The state of what is asked for.
pub struct Validators {
    /// With its quotation marks; strong.
    pub etag: String,
    pub modified: SystemTime,
}

impl Validators {
    /// True: answer 304. If-None-Match is asked first, and where it is there If-Modified-Since is not.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(IF_NONE_MATCH) {
            let mut tags = headers
                .get_all(IF_NONE_MATCH)
                .iter()
                .filter_map(|value| value.to_str().ok());
            return tags.any(|tags| self.is_among(tags));
        }
        let since =
            text(headers, IF_MODIFIED_SINCE).and_then(|text| httpdate::parse_http_date(text).ok());
        since.is_some_and(|since| self.modified_second() <= since)
    }

    /// False: the range asked for is of something else, and the whole has to be sent.
    pub fn range_holds(&self, headers: &HeaderMap) -> bool {
        match text(headers, IF_RANGE) {
            None => !headers.contains_key(IF_RANGE),
            Some(tag) if tag.starts_with('"') => tag == self.etag,
            Some(date) => {
                httpdate::parse_http_date(date).is_ok_and(|date| date == self.modified_second())
            }
        }
    }

    /// As the header Last-Modified has it.
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    fn is_among(&self, tags: &str) -> bool {
        let mut tags = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag == self.etag)
    }

    /// HTTP's dates have no fractions.
    fn modified_second(&self) -> SystemTime {
        let since = self
            .modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators() -> Validators {
        Validators {
            etag: "\"abc\"".into(),
            modified: SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500),
        }
    }

    fn with(headers: &[(HeaderName, &str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn a_known_tag_or_date_is_not_sent_again() {
        assert_eq!(validators().last_modified(), MODIFIED);
        for (known, headers) in [
            (false, vec![]),
            (true, vec![(IF_NONE_MATCH, "\"abc\"")]),
            (true, vec![(IF_NONE_MATCH, "\"x\", W/\"abc\"")]),
            (true, vec![(IF_NONE_MATCH, "*")]),
            (false, vec![(IF_NONE_MATCH, "\"abcd\"")]),
            (true, vec![(IF_MODIFIED_SINCE, MODIFIED)]),
            (false, vec![(IF_MODIFIED_SINCE, BEFORE)]),
            (false, vec![(IF_MODIFIED_SINCE, "yesterday")]),
            (
                false,
                vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, MODIFIED)],
            ),
        ] {
            assert_eq!(validators().is_known(&with(&headers)), known, "{headers:?}");
        }
    }

    #[test]
    fn a_range_of_something_else_does_not_hold() {
        for (holds, headers) in [
            (true, vec![]),
            (true, vec![(IF_RANGE, "\"abc\"")]),
            (false, vec![(IF_RANGE, "\"x\"")]),
            (false, vec![(IF_RANGE, "W/\"abc\"")]),
            (true, vec![(IF_RANGE, MODIFIED)]),
            (false, vec![(IF_RANGE, BEFORE)]),
        ] {
            assert_eq!(
                validators().range_holds(&with(&headers)),
                holds,
                "{headers:?}"
            );
        }
    }
}
