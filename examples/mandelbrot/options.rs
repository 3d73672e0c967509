//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Writes a part of the Mandelbrot set to FILE, as PNG.

Usage: mandelbrot [--size WIDTHxHEIGHT] [--jobs N] [--chaos] FILE

  --size WIDTHxHEIGHT  make it so large, at most 10000x10000 (default: 1600x1200)
  --jobs N             use N worker processes (default: one for each processor)
  --chaos              kill a random worker every 50 ms; the picture stays the same
  --help               show this
";

/// The most points of a row, and rows.
const MOST: u32 = 10_000;

/// What the user wants.
pub(crate) struct Options {
    /// Where the picture goes.
    pub(crate) file: PathBuf,
    /// How many points a row has.
    pub(crate) width: u32,
    /// How many rows there are.
    pub(crate) height: u32,
    /// The number of workers.
    pub(crate) jobs: NonZeroUsize,
    /// Whether workers are killed.
    pub(crate) chaos: bool,
}

impl Options {
    /// Reads the arguments; `None` if help was asked for, and what is wrong with
    /// them as the error.
    pub(crate) fn parse(
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Result<Option<Self>, String> {
        let (mut file, mut jobs, mut chaos) = (None, kinfolk::cpu_count(), false);
        let (mut width, mut height) = (1600, 1200);
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--chaos") => chaos = true,
                Some("--jobs") => jobs = number(arguments.next())?,
                Some("--size") => (width, height) = size(arguments.next())?,
                Some(option) if option.starts_with('-') => {
                    return Err(format!("unknown option {option:?}"));
                }
                _ if file.is_some() => return Err("more than one FILE".to_owned()),
                _ => file = Some(PathBuf::from(argument)),
            }
        }
        let file = file.ok_or("which FILE?")?;
        Ok(Some(Self { file, width, height, jobs, chaos }))
    }
}

/// The argument of `--jobs`.
fn number(argument: Option<OsString>) -> Result<NonZeroUsize, String> {
    let number = argument.and_then(|argument| argument.to_str()?.parse().ok());
    number.ok_or_else(|| "--jobs needs a number from 1 up".to_owned())
}

/// The argument of `--size`.
fn size(argument: Option<OsString>) -> Result<(u32, u32), String> {
    let sides = argument.and_then(|argument| {
        let (width, height) = argument.to_str()?.split_once('x')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    });
    let fits = |side: u32| (1..=MOST).contains(&side);
    let sides = sides.filter(|(width, height)| fits(*width) && fits(*height));
    sides.ok_or_else(|| format!("--size needs WIDTHxHEIGHT, each from 1 to {MOST}"))
}
