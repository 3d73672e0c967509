//! The Mandelbrot set as a picture, row by row, by worker processes that may be killed.
//!
//! ```sh
//! cargo run --release --features indicatif --example mandelbrot -- PICTURE.png
//! ```
//!
//! A long numeric job: each row is an item of a pool, and a bar shows how many are done.
//! With `--chaos` a random worker is killed every 50 ms, and the picture is the same,
//! byte for byte.
//!
//! In the order of reading: this file, `rows` (what a worker does), `chaos`. The rest
//! has little to do with processes: `options`, `picture`.

#[path = "../shared/chaos.rs"]
mod chaos;
mod options;
mod picture;
mod rows;

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use indicatif::ProgressBar;
use kinfolk::Pool;
use options::{HELP, Options};
use rows::Row;

/// What is wrong with the command line.
const USAGE: u8 = 2;

/// How often a row is tried again whose worker has died.
const RETRIES: u32 = 3;

fn main() -> ExitCode {
    // In a worker this does not return.
    let _family = kinfolk::init();

    let done = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => draw(&options),
        Ok(None) => io::stdout().write_all(HELP.as_bytes()).map_err(Into::into),
        Err(problem) => {
            eprintln!("mandelbrot: {problem}; try --help");
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mandelbrot: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the job.
fn draw(options: &Options) -> Result<(), Box<dyn Error>> {
    // Chaos may hit a row any number of times.
    let retries = if options.chaos { u32::MAX } else { RETRIES };
    let pool = Pool::builder().workers(options.jobs.get()).retries(retries).build()?;

    let (width, height) = (options.width, options.height);
    let rows = (0..height).map(|y| Row { y, width, height });
    let bar = ProgressBar::new(height.into());
    let compute = || pool.progress_bar(&bar).map(rows::shades, rows);
    let shades = if options.chaos {
        let (shades, killed) = chaos::during(&pool, compute);
        eprintln!("mandelbrot: killed and replaced workers: {}", killed?);
        shades?
    } else {
        compute()?
    };
    picture::write(&options.file, width, height, &shades.concat())?;
    Ok(())
}
