//! What a bench is: sizes, and contenders that are measured at each of them.

use std::error::Error;
use std::time::Instant;

use crate::benches::BENCHES;

/// Any error ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The contender of raw system calls.
pub(crate) const FLOOR: &str = "floor";
/// The contender that all is about.
pub(crate) const KINFOLK: &str = "kinfolk";
/// The contender of the crate of that name.
pub(crate) const PROCSPAWN: &str = "procspawn";
/// The contender of the crate of that name.
pub(crate) const IPC_CHANNEL: &str = "ipc-channel";
/// The contender of the standard library.
pub(crate) const STD_PROCESS: &str = "std::process";

/// Runs one batch and returns the mean time of an operation, in nanoseconds.
pub(crate) type Batch = Box<dyn FnMut() -> Result<f64>>;

/// Prepares a contender for a size, in a process of its own.
pub(crate) type Prepare = fn(size: u64) -> Result<Batch>;

/// The other process of a contender that starts it by itself: gets the size and
/// a word from it, and a socket as standard input.
pub(crate) type Peer = fn(size: u64, word: &str) -> Result<()>;

/// A bench.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Its name.
    pub(crate) name: &'static str,
    /// The sizes it is measured at, in bytes.
    pub(crate) sizes: &'static [u64],
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
