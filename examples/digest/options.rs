//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Writes the SHA-256 of every file under DIR, as sha256sum does, sorted by path.

Usage: digest [--jobs N] [--timeout SECONDS] [--chaos] DIR

  --jobs N           use N worker processes (default: one for each processor)
  --timeout SECONDS  give up a file that takes longer
  --chaos            kill a random worker every 50 ms; the output stays the same
  --help             show this

Links are not followed. What cannot be read is reported on stderr, the rest is
done, and the exit status is then 1.
";

/// What the user wants.
pub(crate) struct Options {
    /// The folder with the files.
    pub(crate) folder: PathBuf,
    /// The number of workers.
    pub(crate) jobs: NonZeroUsize,
    /// How long a file may take.
    pub(crate) timeout: Option<Duration>,
    /// Whether workers are killed.
    pub(crate) chaos: bool,
}

impl Options {
    /// Reads the arguments; `None` if help was asked for, and what is wrong with
    /// them as the error.
    pub(crate) fn parse(
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Result<Option<Self>, String> {
        let (mut folder, mut jobs, mut chaos) = (None, kinfolk::cpu_count(), false);
        let mut timeout = None;
        let mut options_end = false;
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--help" | "-h") if !options_end => return Ok(None),
                Some("--chaos") if !options_end => chaos = true,
                Some("--jobs") if !options_end => jobs = number(arguments.next())?,
                Some("--timeout") if !options_end => timeout = Some(seconds(arguments.next())?),
                Some("--") if !options_end => options_end = true,
                Some(option) if !options_end && option.starts_with('-') => {
                    return Err(format!("unknown option {option:?}"));
                }
                _ if folder.is_some() => return Err("more than one DIR".to_owned()),
                _ => folder = Some(PathBuf::from(argument)),
            }
        }
        let folder = folder.ok_or("which DIR?")?;
        Ok(Some(Self { folder, jobs, timeout, chaos }))
    }
}

/// The argument of `--jobs`.
fn number(argument: Option<OsString>) -> Result<NonZeroUsize, String> {
    let number = argument.and_then(|argument| argument.to_str()?.parse().ok());
    number.ok_or_else(|| "--jobs needs a number from 1 up".to_owned())
}

/// The argument of `--timeout`.
fn seconds(argument: Option<OsString>) -> Result<Duration, String> {
    let seconds = argument.and_then(|argument| argument.to_str()?.parse().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| !time.is_zero());
    time.ok_or_else(|| "--timeout needs a number of seconds above 0".to_owned())
}
