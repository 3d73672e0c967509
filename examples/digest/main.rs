//! SHA-256 of every file under a folder, by worker processes that may be killed.
//!
//! ```sh
//! cargo run --release --example digest -- DIR > SUMS
//! sha256sum --check SUMS
//! ```
//!
//! With `--chaos` a random worker is killed every 50 ms, and the output is the
//! same, byte for byte. That is what the example is for: a process of the family
//! can be killed at any moment, and its parent knows what to do again.
//!
//! In the order of reading: this file, `worker` (what a worker does), `crew` (how
//! workers are fed, watched and replaced). The rest has little to do with
//! processes: `options`, `files`, `progress`, `sums`.

mod crew;
mod files;
mod options;
mod progress;
mod sums;
mod worker;

use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use crew::Crew;
use files::Found;
use options::{HELP, Options};
use progress::Progress;

/// What is wrong with the command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // In a worker this does not return: it runs the function that the worker was
    // started for. In the main process the guard joins the workers at the end.
    let _family = kinfolk::init();

    let done = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => digest(&options),
        Ok(None) => help(),
        Err(problem) => {
            eprintln!("digest: {problem}; try --help");
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("digest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the job. Returns whether everything could be read.
fn digest(options: &Options) -> Result<bool, Box<dyn Error>> {
    let Found { files, unreadable } = files::find(&options.folder);
    for (path, error) in &unreadable {
        eprintln!("digest: {path:?}: {error}");
    }
    let mut all_read = unreadable.is_empty();

    let crew = Crew::new(&files, options.chaos, Progress::new(files.len()))?;
    let outcome = crew.run(options.jobs)?;
    if options.chaos {
        eprintln!("digest: killed and replaced workers: {}", outcome.killed);
    }

    let mut out = BufWriter::new(io::stdout().lock());
    for (path, answer) in &outcome.answers {
        match answer {
            Ok(digest) => sums::write(&mut out, digest, path)?,
            Err(reason) => {
                all_read = false;
                eprintln!("digest: {path:?}: {reason}");
            }
        }
    }
    out.flush()?;
    Ok(all_read)
}

/// Explains the program.
fn help() -> Result<bool, Box<dyn Error>> {
    io::stdout().write_all(HELP.as_bytes())?;
    Ok(true)
}
