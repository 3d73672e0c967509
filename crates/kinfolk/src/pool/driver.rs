//! Who waits for the workers of a pool: the threads that wait for what they do, one
//! at a time, and when none does, a thread of the pool's own.
//!
//! So a thread that waits for its task hears of it at once, and there is no other
//! thread in between.

use std::collections::HashMap;
#[cfg(feature = "tracing")]
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::Body;
use super::core::{Core, Phase};
use super::lane::Lane;
use super::locked::Locked;
#[cfg(feature = "tracing")]
use super::records::{self, Round};
use crate::queue::Receiver;
use crate::sys::{fork_guard, sides};
use crate::wait::{Key, WaitSet};
use crate::{Error, ErrorKind, Result, StartMethod};

/// How often one looks for results before one waits: a worker at a short item answers
/// in less than a wait takes.
const LOOKS: u32 = 600;
/// Looking in vain so often in a row is enough.
const VAIN: u32 = 4;
/// From then on it is tried again every so many times.
const RETRY: u32 = 64;
/// How long one waits for another thread before one looks again.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the threads of a pool share.
pub(super) struct Shared {
    /// The state.
    core: Mutex<Core>,
    /// Told when something has come, or the workers need somebody to wait for them.
    changed: Condvar,
    /// Told when there is something for the pool's own thread.
    pub(super) work: Condvar,
    /// What is waited for. Locked by who waits, while it does not hold the state.
    watched: Mutex<Watched>,
    /// Wakes who waits for the workers.
    bell: OwnedFd,
    /// The process that made the pool.
    owner: u32,
    /// The pool's own thread, once there is one.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What a pool waits for.
struct Watched {
    /// All of it.
    set: WaitSet<Object>,
    /// The workers that are in it, by their number.
    lanes: HashMap<u64, Vec<Key>>,
    /// What a key stands for: the number of a worker whose end it is.
    ends: HashMap<Key, u64>,
    /// The records that are in it, by the number of their worker.
    #[cfg(feature = "tracing")]
    records: HashMap<u64, Key>,
}

/// Something to wait for.
enum Object {
    /// That a worker has said something.
    Results(Arc<Receiver<()>>),
    /// That it has ended.
    End(Arc<Body>),
    /// That another thread has changed what is to be waited for.
    Bell(OwnedFd),
}

impl Object {
    /// What is to be waited for beside the bell.
    fn all(core: &Core) -> Vec<Self> {
        let mut all = Vec::new();
        for lane in &core.lanes {
            all.push(Self::Results(Arc::clone(&lane.results)));
            if !lane.process.is_hosted() {
                all.push(Self::End(Arc::clone(&lane.process)));
            }
        }
        #[cfg(feature = "tracing")]
        all.extend(records_of(core).map(|(_, source)| Self::Results(Arc::clone(source))));
        all
    }
}

impl AsFd for Object {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Results(results) => results.as_fd(),
            Self::End(process) => process.as_fd(),
            Self::Bell(bell) => bell.as_fd(),
        }
    }
}

impl Shared {
    /// Shares a pool's state.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(super) fn new(core: Core) -> Result<Arc<Self>> {
        let failed = |error| Error::io(error, "making a pool");
        let bell = sides::bell().map_err(failed)?;
        let mut set = WaitSet::new()?;
        set.insert(Object::Bell(bell.try_clone().map_err(failed)?))?;
        Ok(Arc::new(Self {
            core: Mutex::new(core),
            changed: Condvar::new(),
            work: Condvar::new(),
            watched: Mutex::new(Watched {
                set,
                lanes: HashMap::new(),
                ends: HashMap::new(),
                #[cfg(feature = "tracing")]
                records: HashMap::new(),
            }),
            bell,
            owner: fork_guard::process_id(),
            thread: Mutex::new(None),
        }))
    }

    /// Whether this process made the pool: a fork of it has none.
    pub(super) fn is_owned(&self) -> bool {
        self.owner == fork_guard::process_id()
    }

    /// Changes the state; who waits for the workers learns of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotOwner`] in a fork of the process that made the pool.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Core) -> T) -> Result<T> {
        let mut core = self.lock()?;
        let changed = change(&mut core);
        self.tell(&mut core);
        Ok(changed)
    }

    /// Waits until `done` says something, or the deadline: then `None`.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    pub(super) fn drive<T>(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        mut done: impl FnMut(&mut Core) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut core = self.lock()?;
        core.waiters += 1;
        let mut looked = false;
        let result = loop {
            if let Some(result) = done(&mut core) {
                break Some(result);
            }
            // Who asks again and again without waiting has the pool go on, too.
            let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if over && (looked || core.driven) {
                break None;
            }
            looked = true;
            core = if core.driven {
                if core.waiters == 1 {
                    // It is the pool's own thread, which leaves it to this one.
                    sides::ring(&self.bell);
                }
                self.wait(core, deadline)
            } else {
                self.step(core, deadline)
            };
        };
        core.waiters -= 1;
        self.tell(&mut core);
        // What was told before the result was there is told before it is returned.
        #[cfg(feature = "tracing")]
        drop(self.pass_all_on(core, deadline));
        Ok(result)
    }

    /// The state, to be locked.
    pub(super) fn core(&self) -> &Mutex<Core> {
        &self.core
    }

    /// Locks the state.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        if !self.is_owned() {
            return Err(Error::new(
                ErrorKind::NotOwner,
                "the pool belongs to the process of which this one is a fork",
            ));
        }
        Ok(Locked::new(&self.core))
    }

    /// Waits until another thread has heard something.
    fn wait<'a>(&'a self, core: Locked<'a>, deadline: Option<Instant>) -> Locked<'a> {
        if core.has_news_to_tell() {
            drop(core);
            return Locked::new(&self.core);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        core.wait(&self.changed, left.unwrap_or(LONGEST_WAIT))
    }

    /// Hears what the workers have said, as [`hear`](Self::hear), and passes on what
    /// they have told.
    pub(super) fn step<'a>(
        self: &'a Arc<Self>,
        core: Locked<'a>,
        deadline: Option<Instant>,
    ) -> Locked<'a> {
        let core = self.hear(core, deadline);
        #[cfg(feature = "tracing")]
        if core.desk.is_free() {
            return self.pass_on(core, || Some(Instant::now() + records::MOMENT));
        }
        core
    }

    /// Passes on what workers have told until now, or as much as can be until then.
    #[cfg(feature = "tracing")]
    fn pass_on<'a>(
        self: &'a Arc<Self>,
        mut core: Locked<'a>,
        until: impl FnOnce() -> Option<Instant>,
    ) -> Locked<'a> {
        let Some(mut round) = Round::begin(&mut core) else { return core };
        drop(core);
        round.run(until());
        let mut core = Locked::new(&self.core);
        round.end(&mut core);
        core.news = true;
        self.changed.notify_all();
        self.tell(&mut core);
        core
    }

    /// As [`pass_on`](Self::pass_on), after what another thread is passing on, unless
    /// that takes too long, and for a moment at least.
    #[cfg(feature = "tracing")]
    fn pass_all_on<'a>(
        self: &'a Arc<Self>,
        mut core: Locked<'a>,
        deadline: Option<Instant>,
    ) -> Locked<'a> {
        if core.desk.is_busy() {
            let patience = Instant::now() + records::PATIENCE;
            let patience = deadline.map_or(patience, |deadline| deadline.min(patience));
            core.desk.waiting += 1;
            while core.desk.is_busy() && Instant::now() < patience {
                core = self.wait(core, Some(patience));
            }
            core.desk.waiting -= 1;
            // Who waits for the workers did not wait for their records meanwhile.
            core.news = true;
            self.tell(&mut core);
        }
        self.pass_on(core, || {
            deadline.map(|deadline| deadline.max(Instant::now() + records::MOMENT))
        })
    }

    /// Hears what the workers have said, or if that is nothing, waits until one says
    /// something or ends, or the deadline.
    fn hear<'a>(
        self: &'a Arc<Self>,
        mut core: Locked<'a>,
        deadline: Option<Instant>,
    ) -> Locked<'a> {
        let before = core.tally.finished;
        look(&mut core);
        core.collect();
        core.dispatch();
        if core.tally.finished != before {
            self.changed.notify_all();
            self.tell_thread(&mut core);
            return core;
        }
        if core.has_news_to_tell() {
            drop(core);
            return Locked::new(&self.core);
        }
        core.driven = true;
        core.news = false;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let until = [deadline, core.next_deadline()].into_iter().flatten().min();
        let (said, ended) = match watched.follow(&core) {
            Ok(()) => {
                drop(core);
                watched.wait(until)
            }
            // The system watches no more for a set: each is waited for anew.
            Err(_) => {
                let everybody = core.lanes.iter().map(|lane| lane.number).collect();
                let objects = Object::all(&core);
                drop(core);
                self.wait_without_a_set(&objects, until);
                (true, everybody)
            }
        };
        drop(watched);
        sides::silence(&self.bell);
        let mut core = Locked::new(&self.core);
        core.driven = false;
        if said {
            core.collect_ready();
        } else {
            core.collect();
        }
        core.bury(&ended);
        core.look_at_deadlines();
        core.dispatch();
        self.changed.notify_all();
        self.tell_thread(&mut core);
        core
    }

    /// Waits for these objects or the bell, or until then.
    fn wait_without_a_set(&self, objects: &[Object], until: Option<Instant>) {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let mut all: Vec<&dyn AsFd> = vec![&self.bell];
        all.extend(objects.iter().map(|object| object as &dyn AsFd));
        if crate::wait(&all, timeout).is_err() {
            // There are too many: they are looked at now and then.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Tells the other threads that the state has changed.
    pub(super) fn tell(self: &Arc<Self>, core: &mut Core) {
        if core.driven && core.news {
            sides::ring(&self.bell);
        }
        if core.waiters > 0 {
            self.changed.notify_all();
        }
        self.tell_thread(core);
    }

    /// Tells the pool's own thread if there is something for it to do, and starts it if
    /// there is none.
    fn tell_thread(self: &Arc<Self>, core: &mut Core) {
        if !needs_thread(core) || core.settings.method == StartMethod::Fork {
            return;
        }
        if !core.has_thread {
            let shared = Arc::clone(self);
            let builder = std::thread::Builder::new().name("kinfolk-pool".to_owned());
            // Without it, tasks go on while somebody waits.
            let thread = builder.spawn(move || shared.run()).ok();
            core.has_thread = thread.is_some();
            *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
        }
        self.work.notify_all();
    }

    /// The pool's own thread: calls what is to be called, and waits for the workers
    /// when no other thread does.
    fn run(self: Arc<Self>) {
        let Ok(mut core) = self.lock() else { return };
        loop {
            if let Some(callback) = core.callbacks.pop_front() {
                drop(core);
                // Its panic is its own affair.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback));
                core = Locked::new(&self.core);
            } else if core.phase == Phase::Terminated && core.lanes.is_empty() {
                core.has_thread = false;
                return;
            } else if needs_thread(&core) && !core.driven {
                core = self.step(core, None);
            } else if core.has_news_to_tell() {
                drop(core);
                core = Locked::new(&self.core);
            } else {
                core = core.wait(&self.work, LONGEST_WAIT);
            }
        }
    }

    /// Ends the pool: its workers are killed and reaped, and its own thread is gone,
    /// unless it is this one.
    pub(super) fn end(self: &Arc<Self>) {
        let ended = self.drive(None, |core| {
            if core.phase != Phase::Terminated {
                core.terminate();
            }
            core.lanes.is_empty().then_some(())
        });
        if ended.is_err() {
            return;
        }
        self.work.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Looks for a moment whether a worker that has something to do says something. It
/// keeps the state: other threads wait for some microseconds. Where that is in vain, as
/// items take longer, it is done only now and then.
fn look(core: &mut Core) {
    let seldom = core.vain >= VAIN && !core.vain.is_multiple_of(RETRY);
    let working = |lane: &&Lane| lane.ready && !lane.sent.is_empty();
    for _ in 0..if seldom { 1 } else { LOOKS } {
        let mut working = core.lanes.iter().filter(working).peekable();
        if working.peek().is_none() {
            return;
        }
        if working.any(|lane| !lane.results.is_empty()) {
            core.vain = 0;
            return;
        }
        std::hint::spin_loop();
    }
    core.vain = core.vain.wrapping_add(1);
}

/// The records that are to be waited for, by the number of their worker: none while some
/// thread passes them on, for it, and others meanwhile, would find them ready again and
/// again.
#[cfg(feature = "tracing")]
fn records_of(core: &Core) -> impl Iterator<Item = (u64, &Arc<Receiver<()>>)> {
    let lanes = core.lanes.iter().filter(|_| core.desk.is_free());
    lanes.filter_map(|lane| Some((lane.number, lane.records.as_ref()?.receiver()?)))
}

/// Whether there is something to do that no waiting thread does.
pub(super) fn needs_thread(core: &Core) -> bool {
    let leaves = core.phase != Phase::Open && !core.lanes.is_empty();
    !(core.callbacks.is_empty() && core.told.is_empty())
        || (core.waiters == 0 && (core.in_background > 0 || leaves))
}

impl Watched {
    /// Watches the workers that there are.
    fn follow(&mut self, core: &Core) -> Result<()> {
        for lane in &core.lanes {
            if !self.lanes.contains_key(&lane.number) {
                let said = self.set.insert(Object::Results(Arc::clone(&lane.results)))?;
                // The host tells of the end of its own.
                if lane.process.is_hosted() {
                    self.lanes.insert(lane.number, vec![said]);
                    continue;
                }
                let end = match self.set.insert(Object::End(Arc::clone(&lane.process))) {
                    Ok(end) => end,
                    Err(error) => {
                        self.set.remove(said);
                        return Err(error);
                    }
                };
                self.lanes.insert(lane.number, vec![said, end]);
                self.ends.insert(end, lane.number);
            }
        }
        if self.lanes.len() > core.lanes.len() {
            let gone = |number: &u64| core.lanes.iter().all(|lane| lane.number != *number);
            let numbers: Vec<u64> = self.lanes.keys().copied().filter(gone).collect();
            for key in numbers.iter().filter_map(|number| self.lanes.remove(number)).flatten() {
                self.set.remove(key);
                self.ends.remove(&key);
            }
        }
        #[cfg(feature = "tracing")]
        self.follow_records(core)?;
        Ok(())
    }

    /// Watches the records that there are to be waited for.
    #[cfg(feature = "tracing")]
    fn follow_records(&mut self, core: &Core) -> Result<()> {
        let sources: HashMap<u64, &Arc<Receiver<()>>> = records_of(core).collect();
        self.records.retain(|number, key| {
            let keeps = sources.contains_key(number);
            if !keeps {
                self.set.remove(*key);
            }
            keeps
        });
        for (number, source) in sources {
            if let Entry::Vacant(entry) = self.records.entry(number) {
                entry.insert(self.set.insert(Object::Results(Arc::clone(source)))?);
            }
        }
        Ok(())
    }

    /// Waits, and returns whether anything but the end of workers was seen, and the
    /// numbers of those.
    fn wait(&mut self, until: Option<Instant>) -> (bool, Vec<u64>) {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let ready = self.set.wait(timeout).unwrap_or_default();
        let ended: Vec<u64> = ready.iter().filter_map(|key| self.ends.get(key).copied()).collect();
        (ended.len() < ready.len(), ended)
    }
}
