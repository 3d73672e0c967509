//! The workers of a contender: processes or threads that wait between batches.
//!
//! Those of every contender are started and told to go in the same way, by the
//! library's own processes and pipes; asleep, they disturb no other contender.

use kinfolk::{Connection, Process, pipe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bench::Result;

/// What a worker does: it waits at its gate for each batch.
pub(crate) type Work<A> = fn((Gate, A));

/// The workers of a contender. They end with this value.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    /// To each of them.
    workers: Vec<Connection<(), ()>>,
}

impl Crew {
    /// Adds a process that does `work`.
    pub(crate) fn add<A>(&mut self, work: Work<A>, argument: A) -> Result<()>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let (here, there) = pipe()?;
        Process::spawn(work, (Gate(there), argument))?;
        self.workers.push(here);
        Ok(())
    }

    /// Adds a thread that does `work`.
    pub(crate) fn add_thread(&mut self, work: impl FnOnce(Gate) + Send + 'static) -> Result<()> {
        let (here, there) = pipe()?;
        std::thread::spawn(move || work(Gate(there)));
        self.workers.push(here);
        Ok(())
    }

    /// Has all of them work for a batch, and waits until they have.
    pub(crate) fn run(&self) -> Result<()> {
        self.run_beside(|| Ok(()))
    }

    /// As [`run`](Crew::run), with something to do here meanwhile.
    pub(crate) fn run_beside<R>(&self, here: impl FnOnce() -> Result<R>) -> Result<R> {
        for worker in &self.workers {
            worker.send(&())?;
        }
        let result = here()?;
        for worker in &self.workers {
            worker.recv()?;
        }
        Ok(result)
    }
}

/// Where a worker waits until it is told to go.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gate(Connection<(), ()>);

impl Gate {
    /// Works for each batch, until the crew is gone. A worker that fails says why
    /// and ends, and its crew with it.
    pub(crate) fn batches(&self, mut work: impl FnMut() -> Result<()>) {
        while self.0.recv().is_ok() {
            if said(work().and_then(|()| Ok(self.0.send(&())?))).is_none() {
                return;
            }
        }
    }
}

/// What a worker has got; or it says why not, and is to end.
pub(crate) fn said<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(|error| eprintln!("a worker: {error}")).ok()
}
