//! Lines of text and csv format: where they end (PostgreSQL's `CopyReadLineText`), which is the header,
//! which the end marker.

use memchr::{memchr, memchr2, memchr3};

use super::{CopyError, CopyKey, Step, csv, text};
use crate::plan::{CopyFormat, CopyOptions};

/// How the stream ends its lines; its first line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Newline,
    CarriageReturn,
    Both,
}

#[derive(Debug)]
pub struct Lines {
    delimiter: u8,
    null: Vec<u8>,
    csv: Option<Quoting>,
    line_end: Option<LineEnd>,
    header: bool,
    /// Bytes of the line at hand that have been looked at.
    scanned: usize,
    /// The place looked at is inside csv quotes.
    quoted: bool,
    /// The last byte looked at was a csv escape inside quotes.
    escaped: bool,
}

/// Quote characters of csv.
#[derive(Debug, Clone, Copy)]
pub struct Quoting {
    pub quote: u8,
    pub escape: u8,
}

/// What a line end candidate is.
enum Candidate {
    End(usize),
    More,
    /// Data: go on after it.
    Data,
}

impl Lines {
    pub fn new(options: &CopyOptions) -> Self {
        let quoting = Quoting {
            quote: options.quote,
            escape: options.escape,
        };
        Self {
            delimiter: options.delimiter,
            null: options.null.clone().into_bytes(),
            csv: (options.format == CopyFormat::Csv).then_some(quoting),
            line_end: None,
            header: options.header,
            scanned: 0,
            quoted: false,
            escaped: false,
        }
    }

    /// The line that starts `rest`; on [`Step::More`] the next call has the same bytes and more.
    pub fn next(&mut self, rest: &[u8]) -> Result<Step, CopyError> {
        let end = match self.csv {
            None => self.text_end(rest)?,
            Some(quoting) => self.csv_end(rest, quoting)?,
        };
        match end {
            Some(end) => self.line(&rest[..end], end),
            None => Ok(Step::More),
        }
    }

    /// The last line, which may lack its line end.
    pub fn last(&mut self, rest: &[u8]) -> Result<Step, CopyError> {
        if self.line_end.is_none() && rest.ends_with(b"\r") {
            self.line_end = Some(LineEnd::CarriageReturn);
        }
        self.line(rest, rest.len())
    }

    fn line(&mut self, line: &[u8], length: usize) -> Result<Step, CopyError> {
        self.scanned = 0;
        self.quoted = false;
        self.escaped = false;
        let content = content(line, self.format());
        if content == b"\\." {
            return Ok(Step::End);
        }
        if self.csv.is_none()
            && content.ends_with(b"\\.")
            && !text::is_escaped(content, content.len() - 2)
        {
            return Err(CopyError::EndMarkerCorrupt);
        }
        if std::mem::take(&mut self.header) {
            return Ok(Step::Everywhere(length));
        }
        Ok(Step::Row(length))
    }

    fn text_end(&mut self, rest: &[u8]) -> Result<Option<usize>, CopyError> {
        while let Some(found) = memchr2(b'\n', b'\r', &rest[self.scanned..]) {
            let at = self.scanned + found;
            if text::is_escaped(rest, at) {
                self.scanned = at + 1;
                continue;
            }
            match self.candidate(rest, at)? {
                Candidate::End(end) => return Ok(Some(end)),
                Candidate::More => return Ok(None),
                Candidate::Data => self.scanned = at + 1,
            }
        }
        self.scanned = rest.len();
        Ok(None)
    }

    fn csv_end(&mut self, rest: &[u8], quoting: Quoting) -> Result<Option<usize>, CopyError> {
        if quoting.quote != quoting.escape {
            return self.csv_end_with_escape(rest, quoting);
        }
        loop {
            let unseen = &rest[self.scanned..];
            let found = if self.quoted {
                memchr(quoting.quote, unseen)
            } else {
                memchr3(quoting.quote, b'\n', b'\r', unseen)
            };
            let Some(found) = found else {
                self.scanned = rest.len();
                return Ok(None);
            };
            let at = self.scanned + found;
            if rest[at] == quoting.quote {
                self.quoted = !self.quoted;
                self.scanned = at + 1;
                continue;
            }
            match self.candidate(rest, at)? {
                Candidate::End(end) => return Ok(Some(end)),
                Candidate::More => {
                    self.scanned = at;
                    return Ok(None);
                }
                Candidate::Data => self.scanned = at + 1,
            }
        }
    }

    /// ESCAPE other than QUOTE: byte by byte, as PostgreSQL does.
    fn csv_end_with_escape(
        &mut self,
        rest: &[u8],
        quoting: Quoting,
    ) -> Result<Option<usize>, CopyError> {
        while let Some(&byte) = rest.get(self.scanned) {
            let at = self.scanned;
            let was_escaped = std::mem::take(&mut self.escaped);
            if self.quoted && byte == quoting.escape {
                self.escaped = !was_escaped;
            }
            if byte == quoting.quote && !was_escaped {
                self.quoted = !self.quoted;
            }
            if !self.quoted && matches!(byte, b'\n' | b'\r') {
                match self.candidate(rest, at)? {
                    Candidate::End(end) => return Ok(Some(end)),
                    Candidate::More => {
                        self.escaped = was_escaped;
                        return Ok(None);
                    }
                    Candidate::Data => {}
                }
            }
            self.scanned += 1;
        }
        Ok(None)
    }

    /// Judges the carriage return or newline at `at`, which is neither quoted nor escaped.
    fn candidate(&mut self, rest: &[u8], at: usize) -> Result<Candidate, CopyError> {
        let line_end = match (self.line_end, rest[at], rest.get(at + 1)) {
            (Some(known), ..) => known,
            (None, b'\n', _) => LineEnd::Newline,
            (None, _, Some(b'\n')) => LineEnd::Both,
            (None, _, Some(_)) => LineEnd::CarriageReturn,
            (None, _, None) => return Ok(Candidate::More),
        };
        self.line_end = Some(line_end);
        match (line_end, rest[at]) {
            (LineEnd::Newline, b'\n') | (LineEnd::CarriageReturn, b'\r') => {
                Ok(Candidate::End(at + 1))
            }
            (LineEnd::Both, b'\r') => match rest.get(at + 1) {
                Some(b'\n') => Ok(Candidate::End(at + 2)),
                Some(_) => Err(self.stray_carriage_return()),
                None => Ok(Candidate::More),
            },
            (LineEnd::Newline, _) => Err(self.stray_carriage_return()),
            // After carriage returns PostgreSQL takes a newline for data in csv and text alike.
            (LineEnd::CarriageReturn, _) => Ok(Candidate::Data),
            (LineEnd::Both, _) => Err(match self.csv {
                Some(_) => CopyError::UnquotedNewline,
                None => CopyError::LiteralNewline,
            }),
        }
    }

    fn stray_carriage_return(&self) -> CopyError {
        match self.csv {
            Some(_) => CopyError::UnquotedCarriageReturn,
            None => CopyError::LiteralCarriageReturn,
        }
    }

    fn format(&self) -> CopyFormat {
        self.csv.map_or(CopyFormat::Text, |_| CopyFormat::Csv)
    }

    pub fn key<'a>(&self, line: &'a [u8], field: usize, scratch: &'a mut Vec<u8>) -> CopyKey<'a> {
        let content = content(line, self.format());
        match self.csv {
            None => text::field(content, field, self.delimiter, &self.null, scratch),
            Some(quoting) => {
                csv::field(content, field, self.delimiter, quoting, &self.null, scratch)
            }
        }
    }
}

/// A line without its line end. In text format an escaped newline is data, even as the last byte of all.
pub fn content(line: &[u8], format: CopyFormat) -> &[u8] {
    let strip = |line: &'_ [u8], end: u8| match line.split_last() {
        Some((&last, rest)) if last == end => {
            format == CopyFormat::Csv || !text::is_escaped(line, rest.len())
        }
        _ => false,
    };
    let line = if strip(line, b'\n') {
        &line[..line.len() - 1]
    } else {
        line
    };
    if strip(line, b'\r') {
        &line[..line.len() - 1]
    } else {
        line
    }
}
