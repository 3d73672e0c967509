//! CPython's contenders: scripts that measure themselves, line by line as a stage does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use crate::bench::{Batch, Case, Result};

/// The script of pools.
const POOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pool.py");
/// The script of connections.
const CONNECTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/connection.py");
/// The script of managers.
const MANAGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manager.py");
/// What runs it.
const PYTHON: &str = "python3";

/// Whether there is something to run it.
pub(crate) fn is_there() -> bool {
    Command::new(PYTHON).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A batch of a bench of pools.
pub(crate) fn batch(bench: &str, case: Case) -> Result<Batch> {
    run(POOL, bench, case)
}

/// A batch of a bench of connections.
pub(crate) fn connection(bench: &str, case: Case) -> Result<Batch> {
    run(CONNECTION, bench, case)
}

/// A batch of a bench of managers.
pub(crate) fn manager(bench: &str, case: Case) -> Result<Batch> {
    run(MANAGER, bench, case)
}

/// A batch of a bench by a script.
fn run(script: &str, bench: &str, case: Case) -> Result<Batch> {
    let mut process = Command::new(PYTHON)
        .args([script, bench, &case.size.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = process.stdin.take().ok_or("the script has no input")?;
    let mut lines =
        BufReader::new(process.stdout.take().ok_or("the script has no output")?).lines();
    Ok(Box::new(move || {
        input.write_all(b"\n")?;
        Ok(lines.next().ok_or("the script has ended")??.parse()?)
    }))
}
