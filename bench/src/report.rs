//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::bench::{FLOOR, Result};

/// The figures of one contender at one size.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The bench.
    bench: &'static str,
    /// The contender.
    contender: &'static str,
    /// The size, in bytes.
    size: u64,
    /// What the others are measured in.
    unit: &'static str,
    /// The least of the rounds.
    min: f64,
    /// The middle one of the rounds.
    median: f64,
    /// The largest of the rounds.
    max: f64,
    /// How many rounds there were.
    rounds: usize,
}

impl Figure {
    /// Sums up what the rounds brought: at least one.
    pub(crate) fn new(
        bench: &'static str,
        contender: &'static str,
        size: u64,
        mut results: Vec<f64>,
    ) -> Self {
        results.sort_by(f64::total_cmp);
        let rounds = results.len();
        let median = (results[rounds / 2] + results[(rounds - 1) / 2]) / 2.0;
        let [min, median, max] =
            [results[0], median, results[rounds - 1]].map(|value| (value * 10.0).round() / 10.0);
        Self { bench, contender, size, unit: "ns", min, median, max, rounds }
    }
}

/// The figures of a bench as a table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<18} {:>10} {:<14} {:>12} {:>12} {:>12} {:>8}\n",
        "bench", "size", "contender", "min ns", "median ns", "max ns", "x floor"
    );
    for figure in figures {
        let Figure { bench, contender, size, min, median, max, .. } = figure;
        let floor =
            figures.iter().find(|other| other.contender == FLOOR && other.size == figure.size);
        let ratio = floor.map_or(String::new(), |floor| format!("{:.2}", median / floor.median));
        let _ = writeln!(
            text,
            "{bench:<18} {size:>10} {contender:<14} {min:>12.1} {median:>12.1} {max:>12.1} {ratio:>8}"
        );
    }
    text
}

/// Writes one JSON object a line.
pub(crate) fn write(path: &Path, figures: &[Figure]) -> Result<()> {
    let mut file = File::create(path)?;
    for figure in figures {
        writeln!(file, "{}", serde_json::to_string(figure)?)?;
    }
    Ok(())
}
