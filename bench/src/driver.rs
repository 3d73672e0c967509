//! Measures the contenders of a bench in turn, round by round.

use crate::bench::{Bench, Result};
use crate::report::Figure;
use crate::stage::Stage;

/// Measures all cases and contenders of a bench: each once in a round, each
/// round beginning with another contender.
pub(crate) fn measure(bench: &Bench, rounds: u32) -> Result<Vec<Figure>> {
    let mut entries = Vec::new();
    for &case in bench.cases {
        for (contender, _) in bench.contenders {
            eprintln!("preparing {} of {} at {case}", contender, bench.name);
            entries.push((case, *contender, Stage::start(bench, contender, case)?, Vec::new()));
        }
    }
    for round in 1..=rounds {
        eprintln!("{}: round {round} of {rounds}", bench.name);
        let contenders = bench.contenders.len();
        for entries in entries.chunks_mut(contenders) {
            for turn in 0..contenders {
                let (.., stage, results) = &mut entries[(turn + round as usize) % contenders];
                results.push(stage.batch()?);
            }
        }
    }
    entries
        .into_iter()
        .map(|(case, contender, stage, results)| {
            stage.finish()?;
            Ok(Figure::new(bench, contender, case, results))
        })
        .collect()
}
