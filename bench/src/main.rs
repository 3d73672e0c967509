//! Measures kinfolk beside its peers: see `README.md`.

mod bench;
mod benches;
mod crew;
mod driver;
mod exclusive;
mod forked;
mod ipc;
mod pools;
mod raw;
mod remote;
mod report;
mod rings;
mod script;
mod shared;
mod stage;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::bench::{Bench, Case, PROCSPAWN, Result};

/// The argument of a process that ends as the first thing in `main`.
const EXIT: &str = "exit";
/// The subcommand of a stage.
const STAGE: &str = "stage";
/// The subcommand of a peer.
const PEER: &str = "peer";

/// Measures kinfolk beside its peers, interleaved, in one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Writes one JSON object a line to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Runs these benches only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each contender is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(5..))]
    rounds: u32,
    /// What this process is, if not the one the user started.
    #[command(subcommand)]
    role: Option<Role>,
}

/// The processes of a run that this program starts of itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// Measures one contender.
    #[command(hide = true)]
    Stage {
        /// The name of the bench.
        bench: String,
        /// The name of the contender.
        contender: String,
        /// The case.
        case: Case,
    },
    /// Is the other process of a contender that starts it by itself.
    #[command(hide = true)]
    Peer {
        /// The name of the bench.
        bench: String,
        /// The name of the peer.
        peer: String,
        /// The size of the case.
        size: u64,
        /// What else it must know.
        word: Option<String>,
    },
}

fn main() -> Result<()> {
    let argument = |place| std::env::args_os().nth(place);
    if argument(1).as_deref() == Some(OsStr::new(EXIT)) {
        return Ok(());
    }
    // Each library's children enter by its own `init`, before anything else. Those
    // of procspawn have the arguments of their parent.
    let _family = if argument(1).as_deref() == Some(OsStr::new(STAGE))
        && argument(3).as_deref() == Some(OsStr::new(PROCSPAWN))
    {
        procspawn::init();
        None
    } else {
        Some(kinfolk::init())
    };
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Stage { bench, contender, case }) => {
            stage::run(Bench::find(&bench)?, &contender, case)
        }
        Some(Role::Peer { bench, peer, size, word }) => {
            Bench::find(&bench)?.peer(&peer)?(size, word.as_deref().unwrap_or_default())
        }
        None => run(&arguments),
    }
}

/// Runs what was asked for and reports it.
fn run(arguments: &Arguments) -> Result<()> {
    let benches = Bench::select(&arguments.only)?;
    let mut figures = Vec::new();
    for bench in benches {
        let measured = driver::measure(bench, arguments.rounds)?;
        print!("{}", report::table(&measured));
        figures.extend(measured);
    }
    match &arguments.json {
        Some(path) => report::write(path, &figures),
        None => Ok(()),
    }
}
