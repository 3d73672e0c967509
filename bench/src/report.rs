//! What was measured, for people and for programs.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::bench::{Bench, Case, FLOOR, Result};

/// The figures of one contender in one case.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The bench.
    bench: &'static str,
    /// The contender.
    contender: &'static str,
    /// The case.
    #[serde(flatten)]
    case: Case,
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
        bench: &Bench,
        contender: &'static str,
        case: Case,
        mut results: Vec<f64>,
    ) -> Self {
        results.sort_by(f64::total_cmp);
        let rounds = results.len();
        let median = (results[rounds / 2] + results[(rounds - 1) / 2]) / 2.0;
        let [min, median, max] =
            [results[0], median, results[rounds - 1]].map(|value| (value * 1e3).round() / 1e3);
        Self { bench: bench.name, contender, case, unit: bench.unit, min, median, max, rounds }
    }
}

/// The figures of a bench as a table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:<22} {:>12} {:<22} {:>14} {:>14} {:>14} {:<11} {:>8}\n",
        "bench", "case", "contender", "min", "median", "max", "unit", "x floor"
    );
    for figure in figures {
        let Figure { bench, contender, case, unit, min, median, max, .. } = figure;
        let case_name = case.to_string();
        let floor = figures.iter().find(|other| other.contender == FLOOR && other.case == *case);
        let ratio = floor.map_or(String::new(), |floor| format!("{:.2}", median / floor.median));
        let _ = writeln!(
            text,
            "{bench:<22} {case_name:>12} {contender:<22} {min:>14.2} {median:>14.2} {max:>14.2} \
             {unit:<11} {ratio:>8}"
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
