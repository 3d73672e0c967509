//! What a bench is: cases, and contenders that are measured in each of them.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use serde::Serialize;

use crate::benches::BENCHES;

/// Any error ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The unit of most benches.
pub(crate) const NANOSECONDS: &str = "ns";
/// The unit of those of idle processes.
pub(crate) const SHARE: &str = "% of a core";

/// The contender that does the same by the simplest means.
pub(crate) const FLOOR: &str = "floor";
/// The contender that all is about.
pub(crate) const KINFOLK: &str = "kinfolk";
/// The contender of the crate of that name.
pub(crate) const PROCSPAWN: &str = "procspawn";
/// The contender of the crate of that name.
pub(crate) const IPC_CHANNEL: &str = "ipc-channel";
/// The contender of the standard library.
pub(crate) const STD_PROCESS: &str = "std::process";
/// The contender of the crate of that name: threads, not processes.
pub(crate) const CROSSBEAM: &str = "crossbeam-channel";
/// The contender of the crate of that name.
pub(crate) const CLOUDTOID: &str = "cloudtoid-interprocess";
/// The contender of the C library's mutex that outlives its holder.
pub(crate) const ROBUST_MUTEX: &str = "pthread robust mutex";
/// The contender of the C library's semaphore in shared memory.
pub(crate) const POSIX_SEMAPHORE: &str = "POSIX semaphore";

/// The contender of the crate of that name: threads, not processes.
pub(crate) const RAYON: &str = "rayon";
/// The contender of CPython's standard library, where there is a CPython.
pub(crate) const CPYTHON: &str = "CPython's Pool";
/// Another of CPython's.
pub(crate) const CPYTHON_CLIENT: &str = "CPython's Client";
/// Another of CPython's.
pub(crate) const CPYTHON_MANAGER: &str = "CPython's Manager";
/// The contender of the crate of that name.
pub(crate) const TARPC: &str = "tarpc";

/// Runs one batch and returns its figure: of a time, the mean of an operation.
pub(crate) type Batch = Box<dyn FnMut() -> Result<f64>>;

/// Prepares a contender for a case, in a process of its own.
pub(crate) type Prepare = fn(case: Case) -> Result<Batch>;

/// The other process of a contender that starts it by itself: gets the size and
/// a word from it, and a socket as standard input.
pub(crate) type Peer = fn(size: u64, word: &str) -> Result<()>;

/// What a bench is measured at. In an argument: `SIZE` or
/// `SIZE:PRODUCERS:CONSUMERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    /// The size, in bytes.
    pub(crate) size: u64,
    /// How many processes send, where that is part of the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    producers: Option<u32>,
    /// How many processes receive, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    consumers: Option<u32>,
}

impl Case {
    /// A size.
    pub(crate) const fn of_size(size: u64) -> Self {
        Self { size, producers: None, consumers: None }
    }

    /// A size, sent by so many to so many.
    pub(crate) const fn of_queue(size: u64, producers: u32, consumers: u32) -> Self {
        Self { size, producers: Some(producers), consumers: Some(consumers) }
    }

    /// How many processes send.
    pub(crate) fn producers(self) -> u32 {
        self.producers.unwrap_or(1)
    }

    /// How many processes receive.
    pub(crate) fn consumers(self) -> u32 {
        self.consumers.unwrap_or(1)
    }

    /// The size, as memory has it.
    pub(crate) fn length(self) -> Result<usize> {
        Ok(usize::try_from(self.size)?)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.producers, self.consumers) {
            (Some(producers), Some(consumers)) => {
                write!(f, "{}:{producers}:{consumers}", self.size)
            }
            _ => self.size.fmt(f),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("no case: {text}");
        let number = |part: &str| part.parse().map_err(|_| wrong());
        let mut parts = text.split(':');
        let size = parts.next().and_then(|size| size.parse().ok()).ok_or_else(wrong)?;
        match [parts.next(), parts.next(), parts.next()] {
            [None, ..] => Ok(Self::of_size(size)),
            [Some(producers), Some(consumers), None] => {
                Ok(Self::of_queue(size, number(producers)?, number(consumers)?))
            }
            _ => Err(wrong()),
        }
    }
}

/// A bench.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Its name.
    pub(crate) name: &'static str,
    /// What its figures are in.
    pub(crate) unit: &'static str,
    /// What it is measured at.
    pub(crate) cases: &'static [Case],
    /// Who is measured, by name.
    pub(crate) contenders: &'static [(&'static str, Prepare)],
    /// The peers that contenders start, by name.
    pub(crate) peers: &'static [(&'static str, Peer)],
}

impl Bench {
    /// The bench of a name.
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        let found = BENCHES.iter().find(|bench| bench.name == name);
        Ok(found.ok_or_else(|| {
            let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
            format!("there is no bench {name}, but {}", names.join(", "))
        })?)
    }

    /// The benches of these names; of none, all.
    pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Self>> {
        if names.is_empty() {
            return Ok(BENCHES.iter().collect());
        }
        names.iter().map(|name| Self::find(name)).collect()
    }

    /// The contender of a name.
    pub(crate) fn contender(&self, name: &str) -> Result<Prepare> {
        let found = self.contenders.iter().find(|contender| contender.0 == name);
        Ok(found.ok_or_else(|| format!("{} has no contender {name}", self.name))?.1)
    }

    /// The peer of a name.
    pub(crate) fn peer(&self, name: &str) -> Result<Peer> {
        let found = self.peers.iter().find(|peer| peer.0 == name);
        Ok(found.ok_or_else(|| format!("{} has no peer {name}", self.name))?.1)
    }
}

/// A batch that does `operation` so many times.
pub(crate) fn repeat(
    times: u32,
    mut operation: impl FnMut() -> Result<()> + 'static,
) -> Result<Batch> {
    whole(times, move || (0..times).try_for_each(|_| operation()))
}

/// A batch that does `all`, which is so many operations.
pub(crate) fn whole(times: u32, mut all: impl FnMut() -> Result<()> + 'static) -> Result<Batch> {
    Ok(Box::new(move || {
        let begin = Instant::now();
        all()?;
        Ok(begin.elapsed().as_nanos() as f64 / f64::from(times))
    }))
}
