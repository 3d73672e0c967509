//! The threads of a pool, and the work that waits for them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::super::core::{FAILED_STARTS, Phase, terminated};
use super::super::job::Failure;
use super::super::stats::{Statistics, WorkerStatistics};
use crate::process::catch;
use crate::sys::fork_guard;
use crate::{Error, ErrorKind, Result};

/// Something for a thread to do with its state, or why none does it.
pub(super) type Work<S> = Box<dyn FnOnce(Result<&mut S, &Failure>) + Send>;

/// What is chosen for the threads.
pub(super) struct Settings<S> {
    /// How many there are.
    pub(super) workers: usize,
    /// The most work that waits.
    pub(super) queue_bound: usize,
    /// What the threads are called.
    pub(super) name: String,
    /// Makes the state of one.
    pub(super) initializer: Box<dyn Fn() -> S + Send + Sync>,
    /// Is given the state at the end.
    pub(super) finalizer: Option<Box<dyn Fn(S) + Send + Sync>>,
}

/// What the threads of a pool share.
pub(super) struct Crew<S> {
    /// What was chosen.
    pub(super) settings: Settings<S>,
    /// The state.
    core: Mutex<Core<S>>,
    /// Told when there is work, or an end.
    work: Condvar,
    /// Told when there is room for work, or a thread has ended.
    changed: Condvar,
    /// The process whose threads they are: a fork of it has none.
    owner: u32,
}

/// The state of a pool.
struct Core<S> {
    /// What no thread has begun, with how many items it has.
    queue: VecDeque<(u64, Work<S>)>,
    /// How far the pool has come.
    phase: Phase,
    /// Why no thread can begin.
    broken: Option<Failure>,
    /// How many initializers in a row have panicked.
    failed_starts: u32,
    /// The threads that there are.
    threads: Vec<Member>,
    /// What those that have ended had done, and all that was done.
    ended: u64,
    /// How long those had worked.
    busy_of_ended: Duration,
    /// How many items are done.
    finished: u64,
}

/// A thread.
struct Member {
    /// Which.
    id: ThreadId,
    /// What is known of it.
    statistics: WorkerStatistics,
    /// When it began.
    started: Instant,
}

impl<S: 'static> Crew<S> {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives no more of them; those that there are end then.
    pub(super) fn start(settings: Settings<S>) -> Result<Arc<Self>> {
        let core = Core {
            queue: VecDeque::new(),
            phase: Phase::Open,
            broken: None,
            failed_starts: 0,
            threads: Vec::new(),
            ended: 0,
            busy_of_ended: Duration::ZERO,
            finished: 0,
        };
        let crew = Arc::new(Self {
            settings,
            core: Mutex::new(core),
            work: Condvar::new(),
            changed: Condvar::new(),
            owner: fork_guard::process_id(),
        });
        for number in 1..=crew.settings.workers {
            if let Err(error) = crew.add_thread(number) {
                crew.terminate();
                return Err(Error::io(error, "starting a thread of a pool"));
            }
        }
        Ok(crew)
    }

    /// Starts the thread of a number.
    fn add_thread(self: &Arc<Self>, number: usize) -> std::io::Result<()> {
        let name = format!("{}-{number}", self.settings.name);
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let crew = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || crew.run())?;
        core.threads.push(Member {
            id: thread.thread().id(),
            statistics: WorkerStatistics::of_thread(name),
            started: Instant::now(),
        });
        Ok(())
    }
}

impl<S> Crew<S> {
    /// What each thread does.
    fn run(&self) {
        if let Some(mut state) = self.begin() {
            while let Some((items, work)) = self.next() {
                let began = Instant::now();
                // Its function's panics are caught there, but not those of what it drops.
                let _ = catch(|| work(Ok(&mut state)));
                self.done(items, began.elapsed());
            }
            // A panic has been told on standard error.
            let _ = catch(|| match &self.settings.finalizer {
                Some(finalizer) => finalizer(state),
                None => drop(state),
            });
        }
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = core.place() {
            let member = core.threads.swap_remove(place);
            core.busy_of_ended += member.statistics.busy;
            core.ended += 1;
        }
        self.changed.notify_all();
    }

    /// Makes the state of a thread; `None` if it cannot be had.
    fn begin(&self) -> Option<S> {
        loop {
            let made = catch(|| (self.settings.initializer)());
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            match made {
                Ok(state) => {
                    core.failed_starts = 0;
                    if let Some(place) = core.place() {
                        core.threads[place].statistics.ready = true;
                    }
                    return Some(state);
                }
                Err((message, _)) => {
                    core.failed_starts += 1;
                    if core.failed_starts >= FAILED_STARTS && core.broken.is_none() {
                        let text = format!(
                            "a worker cannot begin: its initializer panicked: {message} \
                             ({FAILED_STARTS} times in a row)"
                        );
                        core.broken = Some(Failure::new(ErrorKind::Start, text));
                    }
                    if let Some(failure) = core.broken.clone() {
                        drop(core);
                        self.fail_queue(&failure);
                        return None;
                    }
                    if core.phase == Phase::Terminated {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for the next work; `None` at the end.
    fn next(&self) -> Option<(u64, Work<S>)> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((items, work)) = core.queue.pop_front() {
                if let Some(place) = core.place() {
                    let statistics = &mut core.threads[place].statistics;
                    statistics.items += items;
                    statistics.pending = items;
                }
                self.changed.notify_all();
                return Some((items, work));
            }
            if core.phase != Phase::Open {
                return None;
            }
            core = self.work.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that work was done.
    fn done(&self, items: u64, took: Duration) {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.finished += items;
        if let Some(place) = core.place() {
            let statistics = &mut core.threads[place].statistics;
            statistics.busy += took;
            statistics.pending = 0;
        }
    }

    /// Locks the state.
    fn lock(&self) -> Result<MutexGuard<'_, Core<S>>> {
        if self.owner != fork_guard::process_id() {
            return Err(Error::new(
                ErrorKind::NotOwner,
                "the threads of the pool are those of the process of which this one is a fork",
            ));
        }
        Ok(self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds work of so many items; with `wait` once there is room for it.
    ///
    /// # Errors
    ///
    /// If the pool takes none any more.
    pub(super) fn submit(&self, items: u64, work: Work<S>, wait: bool) -> Result<()> {
        let mut core = self.lock()?;
        while wait && core.queue.len() >= self.settings.queue_bound && core.is_open().is_ok() {
            core = self.changed.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        core.is_open()?;
        core.queue.push_back((items, work));
        drop(core);
        self.work.notify_one();
        Ok(())
    }

    /// Whether the pool takes work.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn is_open(&self) -> Result<()> {
        self.lock()?.is_open()
    }

    /// Takes no more work.
    pub(super) fn close(&self) {
        if let Ok(mut core) = self.lock()
            && core.phase == Phase::Open
        {
            core.phase = Phase::Closed;
        }
        self.work.notify_all();
        self.changed.notify_all();
    }

    /// Fails what no thread has begun, and has all threads end.
    pub(super) fn terminate(&self) {
        if let Ok(mut core) = self.lock() {
            core.phase = Phase::Terminated;
        }
        self.fail_queue(&terminated());
        self.work.notify_all();
        self.changed.notify_all();
    }

    /// Fails what no thread has begun.
    fn fail_queue(&self, failure: &Failure) {
        let Ok(mut core) = self.lock() else { return };
        let queue = std::mem::take(&mut core.queue);
        drop(core);
        for (_, work) in queue {
            let _ = catch(|| work(Err(failure)));
        }
    }

    /// Waits until all threads have ended.
    ///
    /// # Errors
    ///
    /// If that would be for ever.
    pub(super) fn join(&self) -> Result<()> {
        let mut core = self.lock()?;
        let invalid = |reason| Err(Error::new(ErrorKind::InvalidInput, reason));
        if core.phase == Phase::Open {
            return invalid("joining an open pool: close or terminate it first");
        }
        if core.place().is_some() {
            return invalid("a thread of the pool cannot wait for its own end");
        }
        while !core.threads.is_empty() {
            core = self.changed.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// What the pool has done.
    ///
    /// # Errors
    ///
    /// In a fork of its process.
    pub(super) fn statistics(&self) -> Result<Statistics> {
        let core = self.lock()?;
        let of = |member: &Member| WorkerStatistics {
            alive: member.started.elapsed(),
            ..member.statistics.clone()
        };
        Ok(Statistics {
            workers: core.threads.iter().map(of).collect(),
            finished: core.finished,
            queued: core.queue.iter().map(|(items, _)| items).sum(),
            ended: core.ended,
            deaths: 0,
            busy_of_ended: core.busy_of_ended,
        })
    }
}

impl<S> Core<S> {
    /// Where the thread that asks stands among the pool's.
    fn place(&self) -> Option<usize> {
        let id = std::thread::current().id();
        self.threads.iter().position(|member| member.id == id)
    }

    /// Whether the pool takes work.
    fn is_open(&self) -> Result<()> {
        if let Some(failure) = &self.broken {
            return Err(failure.to_error());
        }
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Closed => Err(Error::new(ErrorKind::InvalidInput, "the pool is closed")),
            Phase::Terminated => Err(terminated().to_error()),
        }
    }
}
