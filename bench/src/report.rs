//! Samples to Markdown: one table per load, and the targets that Oskol holds itself to.

use std::fmt::Write;

use crate::compare::{Case, LegSamples, Options, Sample};
use crate::leg::Leg;
use crate::load::Load;
use crate::machine::Machine;
use crate::statistics::median;

type Written = Result<(), std::fmt::Error>;

/// The whole report.
pub fn markdown(
    machine: &Machine,
    options: &Options,
    cases: &[Case],
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write_heading(&mut text, machine, options)?;
    for &load in &options.loads {
        write_table(&mut text, load, cases)?;
    }
    write_targets(&mut text, cases)?;
    Ok(text)
}

fn write_heading(text: &mut String, machine: &Machine, options: &Options) -> Written {
    writeln!(
        text,
        "# Direct PostgreSQL, PgBouncer and Oskol, interleaved\n"
    )?;
    writeln!(
        text,
        "{} processors ({}), Linux {}; {}; {}. {} clients, {} rounds of {} s per cell, scale {}, {} server \
         connections per pool. All processes share the machine.\n",
        machine.processors,
        machine.processor,
        machine.kernel,
        machine.postgres,
        machine.pgbouncer,
        options.clients,
        options.rounds,
        options.seconds,
        options.scale,
        options.pool,
    )?;
    writeln!(
        text,
        "Medians over the rounds, with the smallest and the largest in brackets. A ratio is the median of the rounds' \
         own ratios: both sides of it ran within the same minute. CPU is that of the proxy process, per transaction of \
         the load. PgBouncer runs in transaction mode, for prepared statements in session mode.\n"
    )
}

fn write_table(text: &mut String, load: Load, cases: &[Case]) -> Written {
    writeln!(text, "## {}\n", load.title())?;
    writeln!(
        text,
        "| protocol | leg | tps | p50 ms | p99 ms | proxy CPU µs | tps / direct | tps / PgBouncer | CPU / PgBouncer |"
    )?;
    writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for case in cases.iter().filter(|case| case.load == load) {
        for leg in &case.legs {
            write_row(text, case, leg)?;
        }
    }
    writeln!(text)
}

fn write_row(text: &mut String, case: &Case, leg: &LegSamples) -> Written {
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        case.protocol.name(),
        leg.leg.title(),
        spread(leg, 0, |sample| Some(sample.figures.throughput)),
        spread(leg, 2, |sample| Some(sample.figures.p50 as f64 / 1e3)),
        spread(leg, 2, |sample| Some(sample.figures.p99 as f64 / 1e3)),
        spread(leg, 1, cpu),
        ratio_cell(case, leg.leg, Leg::Direct, throughput),
        ratio_cell(case, leg.leg, Leg::Pgbouncer, throughput),
        ratio_cell(case, leg.leg, Leg::Pgbouncer, cpu),
    )
}

fn throughput(sample: &Sample) -> Option<f64> {
    Some(sample.figures.throughput)
}

/// Microseconds.
fn cpu(sample: &Sample) -> Option<f64> {
    sample.cpu.map(|cpu| cpu.as_secs_f64() * 1e6)
}

/// `median (smallest–largest)`, or a dash.
fn spread(leg: &LegSamples, digits: usize, of: impl Fn(&Sample) -> Option<f64>) -> String {
    let values: Vec<f64> = leg.samples.iter().filter_map(of).collect();
    if values.is_empty() {
        return "–".to_owned();
    }
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(0.0, f64::max);
    format!(
        "{:.digits$} ({smallest:.digits$}–{largest:.digits$})",
        median(values)
    )
}

fn ratio_cell(case: &Case, leg: Leg, base: Leg, of: impl Fn(&Sample) -> Option<f64>) -> String {
    match ratio(case, leg, base, of) {
        Some(ratio) if leg != base => format!("{ratio:.2}"),
        _ => "–".to_owned(),
    }
}

/// Median over the rounds of `leg` / `base`.
fn ratio(case: &Case, leg: Leg, base: Leg, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    let samples = |wanted: Leg| {
        case.legs
            .iter()
            .find(|leg| leg.leg == wanted)
            .map(|leg| &leg.samples)
    };
    let ratios: Vec<f64> = samples(leg)?
        .iter()
        .zip(samples(base)?)
        .filter_map(|(sample, base)| Some(of(sample)? / of(base)?))
        .collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

/// What Oskol must reach, against PgBouncer in the same run.
fn write_targets(text: &mut String, cases: &[Case]) -> Written {
    let mut lines = String::new();
    for case in cases {
        let most = if case.load == Load::Select { 1.0 } else { 1.1 };
        if let Some(ratio) = ratio(case, Leg::Oskol4, Leg::Pgbouncer, cpu) {
            let name = format!("CPU on four shards at most {most:.2} of PgBouncer's");
            write_target(&mut lines, case, &name, ratio, ratio <= most)?;
        }
        if let Some(ratio) = ratio(case, Leg::Oskol1, Leg::Pgbouncer, throughput) {
            let name = "throughput on one shard at least 0.95 of PgBouncer's";
            write_target(&mut lines, case, name, ratio, ratio >= 0.95)?;
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    write!(
        text,
        "## Targets\n\n| load | protocol | target | measured | reached |\n|---|---|---|--:|---|\n{lines}"
    )
}

fn write_target(lines: &mut String, case: &Case, name: &str, ratio: f64, reached: bool) -> Written {
    let reached = if reached { "yes" } else { "**no**" };
    writeln!(
        lines,
        "| {} | {} | {name} | {ratio:.2} | {reached} |",
        case.load.name(),
        case.protocol.name()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Protocol;
    use crate::pgbench::Figures;

    fn leg(leg: Leg, throughputs: [f64; 3], cpu: u64) -> LegSamples {
        let sample = |throughput| Sample {
            figures: Figures {
                transactions: 1000,
                throughput,
                p50: 1000,
                p99: 2000,
            },
            cpu: Some(Duration::from_micros(cpu)),
        };
        LegSamples {
            leg,
            samples: throughputs.map(sample).to_vec(),
        }
    }

    fn case() -> Case {
        Case {
            load: Load::Select,
            protocol: Protocol::Simple,
            legs: vec![
                leg(Leg::Pgbouncer, [100.0, 200.0, 400.0], 20),
                leg(Leg::Oskol1, [90.0, 200.0, 440.0], 18),
                leg(Leg::Oskol4, [80.0, 160.0, 320.0], 22),
            ],
        }
    }

    #[test]
    fn a_ratio_pairs_the_rounds() {
        assert_eq!(
            ratio(&case(), Leg::Oskol1, Leg::Pgbouncer, throughput),
            Some(1.0)
        );
        assert_eq!(
            ratio(&case(), Leg::Oskol4, Leg::Pgbouncer, throughput),
            Some(0.8)
        );
        assert_eq!(ratio(&case(), Leg::Oskol4, Leg::Direct, throughput), None);
    }

    #[test]
    fn a_missed_target_is_said() {
        let mut text = String::new();
        write_targets(&mut text, &[case()]).unwrap();
        assert!(
            text.contains("CPU on four shards at most 1.00 of PgBouncer's | 1.10 | **no** |"),
            "{text}"
        );
        assert!(
            text.contains("throughput on one shard at least 0.95 of PgBouncer's | 1.00 | yes |"),
            "{text}"
        );
    }
}
