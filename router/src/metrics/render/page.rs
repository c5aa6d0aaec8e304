//! The lines of Prometheus' text format: families, samples, histograms.

use std::fmt::{Display, Write};

use crate::metrics::HistogramTotal;

#[derive(Default)]
pub struct Page {
    pub text: String,
}

impl Page {
    /// Writing to a `String` cannot fail.
    pub fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP oskol_{name} {help}"));
        self.line(format_args!("# TYPE oskol_{name} {kind}"));
    }

    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(format_args!("oskol_{name} {value}"));
    }

    /// One line for each `(label value, value)`.
    pub fn family(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl Iterator<Item = (String, u64)>,
    ) {
        self.head(name, kind, help);
        for (key, value) in values {
            self.line(format_args!("oskol_{name}{{{label}=\"{key}\"}} {value}"));
        }
    }

    pub fn histogram(&mut self, name: &str, label: &str, key: &str, total: &HistogramTotal) {
        for (bound, count) in total.cumulative() {
            self.line(format_args!(
                "oskol_{name}_bucket{{{label}=\"{key}\",le=\"{bound}\"}} {count}"
            ));
        }
        let count = total.count();
        let seconds = total.microseconds as f64 / 1e6;
        self.line(format_args!(
            "oskol_{name}_bucket{{{label}=\"{key}\",le=\"+Inf\"}} {count}"
        ));
        self.line(format_args!(
            "oskol_{name}_sum{{{label}=\"{key}\"}} {seconds}"
        ));
        self.line(format_args!(
            "oskol_{name}_count{{{label}=\"{key}\"}} {count}"
        ));
    }
}

/// Label values: backslash, quote and line feed are escaped.
pub fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
