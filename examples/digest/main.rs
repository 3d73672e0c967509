//! SHA-256 of every file under a folder, by worker processes that may be killed.
//!
//! ```sh
//! cargo run --release --example digest -- DIR > SUMS
//! sha256sum --check SUMS
//! ```
//!
//! With `--chaos` a random worker is killed every 50 ms, and the output is the
//! same, byte for byte. That is what the example is for: a worker can be killed at any
//! moment, and its pool knows what is to be done again. So `--timeout` can kill it as
//! well, when a file takes too long.
//!
//! In the order of reading: this file, `worker` (what a worker does), `chaos`. The rest
//! has little to do with processes: `options`, `files`, `progress`, `sums`.

#[path = "../shared/chaos.rs"]
mod chaos;
mod files;
mod options;
mod progress;
mod sums;
mod worker;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use files::Found;
use kinfolk::{ErrorKind, Pool};
use options::{HELP, Options};
use progress::Progress;
use worker::Digest;

/// What is wrong with the command line.
const USAGE: u8 = 2;

/// How often a file is tried again whose worker has died.
const RETRIES: u32 = 3;

/// The digest of each file by its path, or why there is none.
type Answers<'a> = BTreeMap<&'a OsStr, Result<Digest, String>>;

fn main() -> ExitCode {
    // In a worker this does not return: it runs the function that the worker was
    // started for. In the main process the guard ends what is left.
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

    let answers = answers(&files, options)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for (path, answer) in &answers {
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

/// Has the workers of a pool digest the files.
fn answers<'a>(files: &'a [OsString], options: &Options) -> kinfolk::Result<Answers<'a>> {
    let mut builder = Pool::builder().workers(options.jobs.get().min(files.len().max(1)));
    // Chaos may hit a file any number of times.
    builder = builder.retries(if options.chaos { u32::MAX } else { RETRIES });
    if let Some(timeout) = options.timeout {
        builder = builder.timeout(timeout);
    }
    let pool = builder.build()?;

    let ask_all = || -> kinfolk::Result<Answers<'a>> {
        let mut answers = Answers::new();
        let mut progress = Progress::new(files.len());
        for (file, answer) in pool.imap_unordered(worker::digest, files.iter().cloned())? {
            let answer = answer.unwrap_or_else(|error| match error.kind() {
                ErrorKind::Timeout => Err("took too long".to_owned()),
                _ => Err(error.to_string()),
            });
            answers.insert(&files[file as usize], answer);
            progress.step();
        }
        progress.finish();
        Ok(answers)
    };
    if !options.chaos {
        return ask_all();
    }
    let (answers, killed) = chaos::during(&pool, ask_all);
    eprintln!("digest: killed and replaced workers: {}", killed?);
    answers
}

/// Explains the program.
fn help() -> Result<bool, Box<dyn Error>> {
    io::stdout().write_all(HELP.as_bytes())?;
    Ok(true)
}
