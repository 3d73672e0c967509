//! A family of two languages: a manager in Rust, and a Python program that shares its dict
//! and its queue.
//!
//!     family NUMBER...
//!
//! The Python program is stock `multiprocessing`. It squares the numbers, and tells its version.
//! The key reaches it by its input: never by its arguments or environment.

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};

use kinfolk::{Manager, current_process};

/// What the Python program runs.
const PROGRAM: &str = include_str!("client.py");

fn main() -> ExitCode {
    let _family = kinfolk::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("family: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shares a dict and a queue with a Python program.
fn run() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args().skip(1).map(|text| text.parse::<i64>());
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;

    // A Python before 3.12 knows MD5 only.
    let manager = Manager::builder().legacy().start()?;
    let facts = manager.dict::<String, String>()?;
    let jobs = manager.queue::<Option<i64>>(0)?;
    let results = manager.queue::<(i64, i64)>(0)?;
    manager.register("facts", &facts)?;
    manager.register("jobs", &jobs)?;
    manager.register("results", &results)?;
    facts.insert("server", &"Rust".to_owned())?;

    let mut python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3 does not start: {error}"))?;
    if let Some(mut input) = python.stdin.take() {
        let key = current_process().authkey();
        let digits: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(input, "{}\n{digits}", manager.address())?;
    }

    for number in &numbers {
        jobs.put(&Some(*number))?;
    }
    jobs.put(&None)?;
    if !python.wait()?.success() {
        return Err("the Python program has failed".into());
    }
    let mut out = std::io::stdout().lock();
    while let Some((number, square)) = results.try_get()? {
        writeln!(out, "{number} squared is {square}")?;
    }
    for (who, what) in facts.items()? {
        writeln!(out, "{who}: {what}")?;
    }
    manager.shutdown()?;
    Ok(())
}
