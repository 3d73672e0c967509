//! The workers: started, fed over pipes, watched, and replaced when they die.
//!
//! Each worker is one process and one connection, and holds one file at a time.
//! So the parent always knows which file a dead worker had, and gives it to
//! another. A message is received whole or not at all, however its sender ended:
//! there is nothing to clean up.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use kinfolk::{Connection, Key, Process, Result, WaitSet};

use crate::progress::Progress;
use crate::worker::{self, Answer};

/// How often a file whose worker died is given to another.
///
/// Chaos spares a worker whose file has used this up. Without that, a file that
/// takes longer than the time between two kills might never be done: a lone
/// worker would always be killed before its end. And a file that really kills
/// its workers is given up at the next death instead of being tried for ever.
const RETRIES: u32 = 3;

/// The time between two kills.
const CHAOS: Duration = Duration::from_millis(50);

/// The workers and their work.
pub(crate) struct Crew<'a> {
    /// The files to digest.
    files: &'a [OsString],
    /// The files that no worker holds yet.
    queue: VecDeque<Item>,
    /// The workers; each holds a file, so all is done when there is none left.
    workers: WaitSet<Worker>,
    /// When the next worker is killed, if any is.
    next_kill: Option<Instant>,
    /// What is done.
    outcome: Outcome<'a>,
    /// Shows how much is done.
    progress: Progress,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome<'a> {
    /// The answer for each file, by path.
    pub(crate) answers: BTreeMap<&'a OsStr, Answer>,
    /// How many workers were killed by chaos.
    pub(crate) killed: usize,
}

/// A file on its way through the crew.
#[derive(Clone, Copy)]
struct Item {
    /// Its place in the list of files.
    file: usize,
    /// How many workers died while they held it.
    deaths: u32,
}

/// A worker, as its parent sees it.
struct Worker {
    /// The process.
    process: Process<()>,
    /// Paths go out, answers come in.
    connection: Connection<OsString, Answer>,
    /// The file that it holds.
    item: Cell<Item>,
}

impl<'a> Crew<'a> {
    /// A crew without workers.
    pub(crate) fn new(files: &'a [OsString], chaos: bool, progress: Progress) -> Result<Self> {
        Ok(Self {
            files,
            queue: (0..files.len()).map(|file| Item { file, deaths: 0 }).collect(),
            workers: WaitSet::new()?,
            next_kill: chaos.then(Instant::now),
            outcome: Outcome::default(),
            progress,
        })
    }

    /// Digests all files with at most `jobs` workers at a time.
    pub(crate) fn run(mut self, jobs: NonZeroUsize) -> Result<Outcome<'a>> {
        for _ in 0..jobs.get().min(self.files.len()) {
            self.hire()?;
        }
        while !self.workers.is_empty() {
            let pause = self.next_kill.map(|at| at.saturating_duration_since(Instant::now()));
            for key in self.workers.wait(pause)? {
                self.attend(key)?;
            }
            if self.next_kill.is_some_and(|at| at <= Instant::now()) {
                self.kill_one()?;
                self.next_kill = Some(Instant::now() + CHAOS);
            }
        }
        self.progress.finish();
        Ok(self.outcome)
    }

    /// Starts a worker on the next file, if there is one.
    fn hire(&mut self) -> Result<()> {
        let Some(item) = self.queue.pop_front() else { return Ok(()) };
        // The worker's end moves to the worker. Nobody else holds it, so when the
        // worker is gone, however it went, our end is disconnected.
        let (connection, workers_end) = kinfolk::pipe()?;
        let process = Process::spawn(worker::work, workers_end)?;
        let worker = Worker { process, connection, item: Cell::new(item) };
        self.give(&worker, item)?;
        self.workers.insert(worker)?;
        Ok(())
    }

    /// Hands a file to a worker.
    fn give(&self, worker: &Worker, item: Item) -> Result<()> {
        worker.item.set(item);
        match worker.connection.send(&self.files[item.file]) {
            // It is dead: the crew's next wait says so, and `bury` does the rest.
            Err(error) if error.is_disconnected() => Ok(()),
            sent => sent,
        }
    }

    /// Takes the answer of a worker and gives it more to do; replaces a dead one.
    fn attend(&mut self, key: Key) -> Result<()> {
        let Some(worker) = self.workers.get(key) else { return Ok(()) };
        let item = worker.item.get();
        match worker.connection.recv() {
            Ok(answer) => match self.queue.pop_front() {
                Some(next) => {
                    self.give(worker, next)?;
                    self.record(item, answer);
                }
                None => {
                    self.dismiss(key)?;
                    self.record(item, answer);
                }
            },
            Err(error) if error.is_disconnected() => self.bury(key)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends home a worker for which there is nothing left to do.
    fn dismiss(&mut self, key: Key) -> Result<()> {
        let Some(worker) = self.workers.remove(key) else { return Ok(()) };
        // Without its parent's end of the pipe, the worker has no more to wait for.
        worker.connection.close();
        worker.process.wait()?;
        Ok(())
    }

    /// Kills a worker at random, unless all hold files that are to be spared.
    fn kill_one(&mut self) -> Result<()> {
        let may_die = |worker: &Worker| worker.item.get().deaths < RETRIES;
        let victims: Vec<(Key, &Worker)> =
            self.workers.iter().filter(|(_, worker)| may_die(worker)).collect();
        if victims.is_empty() {
            return Ok(());
        }
        let (key, worker) = victims[random_below(victims.len())];
        worker.process.kill()?;
        self.outcome.killed += 1;
        // At once, so that a dying worker is never given another file.
        self.bury(key)
    }

    /// Replaces a worker that is dead or was just killed.
    fn bury(&mut self, key: Key) -> Result<()> {
        let Some(worker) = self.workers.remove(key) else { return Ok(()) };
        let Item { file, deaths } = worker.item.get();
        let item = Item { file, deaths: deaths + 1 };
        let status = worker.process.wait()?;
        match worker.connection.try_recv() {
            // What a process has sent arrives, even if it was killed just after.
            Ok(Some(answer)) => self.record(item, answer),
            _ if item.deaths <= RETRIES => self.queue.push_front(item),
            _ => self.record(item, Err(format!("given up: each worker died, the last {status}"))),
        }
        self.hire()
    }

    /// Takes down the answer for a file.
    fn record(&mut self, item: Item, answer: Answer) {
        self.outcome.answers.insert(&self.files[item.file], answer);
        self.progress.step();
    }
}

/// A worker is ready when it has answered, and when it is dead.
impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A random number below `limit`, which is not 0.
fn random_below(limit: usize) -> usize {
    // Each `RandomState` has new random keys.
    RandomState::new().hash_one(()) as usize % limit
}
