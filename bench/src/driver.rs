//! Measures the contenders of a bench in turn, round by round.

use crate::bench::{Bench, CPYTHON, CPYTHON_CLIENT, CPYTHON_MANAGER, Result};
use crate::report::Figure;
use crate::script;
use crate::stage::Stage;

/// Measures all cases and contenders of a bench: each once in a round, each
/// round beginning with another contender.
pub(crate) fn measure(bench: &Bench, rounds: u32) -> Result<Vec<Figure>> {
    let names = bench.contenders.iter().map(|(name, _)| *name);
    let scripts = [CPYTHON, CPYTHON_CLIENT, CPYTHON_MANAGER];
    let contenders: Vec<_> =
        names.filter(|name| !scripts.contains(name) || script::is_there()).collect();
    let mut entries = Vec::new();
    for &case in bench.cases {
        for contender in &contenders {
            eprintln!("preparing {} of {} at {case}", contender, bench.name);
            entries.push((case, *contender, Stage::start(bench, contender, case)?, Vec::new()));
        }
    }
    for round in 1..=rounds {
        eprintln!("{}: round {round} of {rounds}", bench.name);
        for entries in entries.chunks_mut(contenders.len()) {
            for turn in 0..entries.len() {
                let place = (turn + round as usize) % entries.len();
                let (.., stage, results) = &mut entries[place];
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
