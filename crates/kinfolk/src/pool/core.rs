//! The state of a pool: who works on what, and what comes next.
//!
//! The parent alone decides who runs what, so it knows what a dead worker was at: its
//! one item has failed, or is tried again, and all else that it was sent goes to
//! others. It waits for nothing here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::builder::Settings;
use super::host::Asked;
use super::job::{Batch, Callback, Chunk, Failure, Job};
use super::lane::{Doom, Lane, Said};
use super::stats::Tally;
use crate::log::{self, LogLevel};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// How often in a row a worker may fail to begin.
pub(super) const FAILED_STARTS: u32 = 3;
/// How often in a row a worker may be killed before it has begun: somebody may kill
/// workers at random, but it may also be what they do that gets them killed.
const KILLED_STARTS: u32 = 100;
/// How long a worker that is to end has from SIGTERM to SIGKILL.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// How long one waits for room for a chunk before one tries again.
const ROOM: Duration = Duration::from_millis(1);
/// The number of the signal by which others may end a worker at any time.
const SIGKILL: i32 = 9;

/// How far a pool has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes tasks.
    Open,
    /// It does what it has, and takes no more.
    Closed,
    /// Its workers are ended.
    Terminated,
}

/// Who starts workers.
pub(super) enum Starts {
    /// The pool: this starts the worker of a number.
    Here(Box<dyn Fn(u64) -> Result<Lane> + Send>),
    /// Its host, who is asked.
    Host(Asked),
}

/// The state of a pool.
pub(super) struct Core {
    /// What was chosen.
    pub(super) settings: Settings,
    /// Starts workers.
    pub(super) start: Starts,
    /// The workers.
    pub(super) lanes: Vec<Lane>,
    /// What no worker was sent yet.
    pub(super) queue: VecDeque<Chunk>,
    /// What was asked for and is wanted.
    pub(super) jobs: BTreeMap<u64, Job>,
    /// How far it has come.
    pub(super) phase: Phase,
    /// Why no worker can begin.
    pub(super) broken: Option<Failure>,
    /// How many workers in a row have not begun.
    failed_starts: u32,
    /// How many were killed meanwhile before they had begun.
    killed_starts: u32,
    /// How many messages workers have sent.
    heard: u64,
    /// When it is tried again to start a worker that could not be started, or to send a
    /// chunk that there was no room for.
    pub(super) try_again: Option<Instant>,
    /// The number of the next job.
    next_job: u64,
    /// The number of the next worker.
    next_lane: u64,
    /// How many threads wait for something that the pool does.
    pub(super) waiters: usize,
    /// How often in a row one has looked for results in vain.
    pub(super) vain: u32,
    /// Whether somebody waits for the workers.
    pub(super) driven: bool,
    /// Whether what is to be waited for has changed since then, or has come.
    pub(super) news: bool,
    /// How many jobs that go on while nobody waits for them are not done.
    pub(super) in_background: u64,
    /// Whether the pool's own thread runs.
    pub(super) has_thread: bool,
    /// What is to be called.
    pub(super) callbacks: VecDeque<Box<dyn FnOnce() + Send>>,
    /// Which jobs are done that the host is to be told of.
    pub(super) told: VecDeque<u64>,
    /// What workers that have ended had done, and all that was done.
    pub(super) tally: Tally,
    /// What becomes of what workers tell.
    #[cfg(feature = "tracing")]
    pub(super) desk: super::records::Desk,
}

impl Core {
    /// A pool without workers.
    pub(super) fn new(settings: Settings, start: Starts) -> Self {
        Self {
            settings,
            start,
            lanes: Vec::new(),
            queue: VecDeque::new(),
            jobs: BTreeMap::new(),
            phase: Phase::Open,
            broken: None,
            failed_starts: 0,
            killed_starts: 0,
            heard: 0,
            try_again: None,
            next_job: 0,
            next_lane: 0,
            waiters: 0,
            vain: 0,
            driven: false,
            news: false,
            in_background: 0,
            has_thread: false,
            callbacks: VecDeque::new(),
            told: VecDeque::new(),
            tally: Tally::default(),
            #[cfg(feature = "tracing")]
            desk: Default::default(),
        }
    }

    /// Begins a job; with `in_background` it goes on while nobody waits for it.
    ///
    /// # Errors
    ///
    /// If the pool takes none any more.
    pub(super) fn begin_job(&mut self, in_background: bool) -> Result<u64> {
        match self.phase {
            Phase::Open => {}
            Phase::Closed => {
                return Err(Error::new(ErrorKind::InvalidInput, "the pool is closed"));
            }
            Phase::Terminated => return Err(terminated().to_error()),
        }
        // What kept workers from beginning may be mended.
        if self.broken.take().is_some() {
            self.failed_starts = 0;
            self.killed_starts = 0;
        }
        let number = self.next_job;
        self.next_job += 1;
        let Settings { timeout, retries, .. } = self.settings;
        self.jobs.insert(number, Job { in_background, timeout, retries, ..Job::default() });
        Ok(number)
    }

    /// Adds a chunk of a job, and sends what can be sent.
    pub(super) fn submit(&mut self, chunk: Chunk) {
        if self.open(chunk.job, chunk.count.into()) {
            self.queue.push_back(chunk);
            self.dispatch();
        }
    }

    /// Adds an item of a job that could not be one.
    pub(super) fn refuse(&mut self, job: u64, number: u64, failure: Failure) {
        if self.open(job, 1) {
            self.finish(job, Batch::failed(number, 1, failure));
        }
    }

    /// Counts items of a job that are to be done; `false` if there is no such job.
    fn open(&mut self, number: u64, count: u64) -> bool {
        let Some(job) = self.jobs.get_mut(&number) else { return false };
        if job.open == 0 && job.in_background && count > 0 {
            self.in_background += 1;
        }
        job.open += count;
        true
    }

    /// Has something called when a job is done.
    pub(super) fn call_back(&mut self, number: u64, callback: Callback) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.callback = Some(callback);
            if job.open == 0 {
                self.settle(number);
            }
        }
    }

    /// Sends chunks to workers that have nothing to do, and starts workers in the
    /// place of those that have ended.
    pub(super) fn dispatch(&mut self) {
        if self.phase == Phase::Terminated {
            return self.fail_queue(&terminated());
        }
        self.replace_workers();
        if let Some(failure) = self.broken.clone() {
            self.fail_queue(&failure);
        }
        while let Some(mut chunk) = self.queue.pop_front() {
            let Some(job) = self.jobs.get(&chunk.job).filter(|job| !job.cancelled) else {
                self.finish(chunk.job, Batch::failed(chunk.first, chunk.count, cancelled()));
                continue;
            };
            let (nanos, limited) = (job.item_nanos, job.timeout.is_some());
            let share = self.settings.share;
            let lanes = self.lanes.iter_mut();
            let takers = lanes.filter_map(|lane| Some((lane.load(&chunk, share)?, lane)));
            let Some((_, lane)) = takers.min_by_key(|(load, _)| *load) else {
                self.queue.push_front(chunk);
                break;
            };
            // No worker is given more than its share; another does the rest.
            let room = u32::try_from(lane.left_of(share)).unwrap_or(u32::MAX);
            if chunk.count > room
                && let Some(rest) = chunk.split_off(room)
            {
                self.queue.push_front(rest);
            }
            match lane.send(chunk, nanos) {
                Ok(()) => self.news |= limited,
                // No worker tells that it has made room.
                Err((chunk, None)) => {
                    self.queue.push_front(chunk);
                    self.try_again = Instant::now().checked_add(ROOM);
                    self.news = true;
                    break;
                }
                // Its end is seen soon; others take the chunk.
                Err((chunk, Some(_))) if lane.gone.is_some() => self.queue.push_front(chunk),
                Err((mut chunk, Some(error))) => {
                    // All may be too much for one message, where each is not.
                    if let Some(rest) = chunk.split_off((chunk.count / 2).max(1)) {
                        self.queue.push_front(rest);
                        self.queue.push_front(chunk);
                        continue;
                    }
                    let failure = Failure::new(error.kind(), error.to_string());
                    self.finish(chunk.job, Batch::failed(chunk.first, chunk.count, failure));
                }
            }
        }
        self.let_go();
    }

    /// Hears what all workers have said.
    pub(super) fn collect(&mut self) {
        for place in 0..self.lanes.len() {
            self.hear(place, false);
        }
    }

    /// As [`collect`](Self::collect), where a worker was ready to be heard: if none has
    /// said anything, one may be gone.
    pub(super) fn collect_ready(&mut self) {
        let before = self.heard;
        self.collect();
        if self.heard == before {
            for place in 0..self.lanes.len() {
                self.hear(place, true);
            }
        }
    }

    /// Hears what a worker has said.
    pub(super) fn hear(&mut self, place: usize, look: bool) {
        while let Some(said) = self.lanes[place].hear(look) {
            self.heard += 1;
            match said {
                Said::Ready => {
                    self.lanes[place].ready = true;
                    self.lanes[place].since = Instant::now();
                    self.failed_starts = 0;
                    self.killed_starts = 0;
                }
                Said::Failed(reason) => {
                    self.lanes[place].ready = true;
                    self.not_begun(&format!("a worker cannot begin: {reason}"));
                }
                Said::Results(job, batch, nanos) => {
                    if let Some(job) = self.jobs.get_mut(&job) {
                        job.learn(nanos, batch.count);
                    }
                    self.finish(job, batch);
                    self.end_unwanted(place);
                }
                Said::Nonsense => {
                    let text = format!("{} sent what no worker sends", self.lanes[place].label);
                    let failure = Failure::new(ErrorKind::Protocol, text);
                    self.doom(place, failure);
                    return;
                }
            }
        }
    }

    /// Lets go of the workers of these numbers, if they have ended.
    pub(super) fn bury(&mut self, numbers: &[u64]) {
        for number in numbers {
            let Some(place) = self.lanes.iter().position(|lane| lane.number == *number) else {
                continue;
            };
            let Ok(Some(status)) = self.lanes[place].process.exitcode() else { continue };
            self.take_leave(place, status);
        }
    }

    /// Lets go of a worker that has ended so.
    pub(super) fn take_leave(&mut self, place: usize, status: ExitStatus) {
        self.hear(place, false);
        let mut lane = self.lanes.swap_remove(place);
        #[cfg(feature = "tracing")]
        self.desk.left.extend(lane.records.take());
        if let Some((job, batch)) = lane.read_slate() {
            self.finish(job, batch);
        }
        self.ended(lane, status);
    }

    /// Settles what a worker that has ended was sent.
    fn ended(&mut self, mut lane: Lane, status: ExitStatus) {
        let expected = lane.requests.is_none() || lane.doom.is_some();
        self.tally.add(&lane, !expected);
        if !expected {
            log::event(LogLevel::Warning, format_args!("{} {status}; replacing it", lane.label));
        }
        let (current, others) = lane.take_undone();
        for chunk in others.into_iter().rev() {
            self.queue.push_front(chunk);
        }
        if let Some(mut chunk) = current {
            if let Some(rest) = chunk.split_off(1) {
                self.queue.push_front(rest);
            }
            chunk.deaths += 1;
            let retries = self.jobs.get(&chunk.job).map_or(0, |job| job.retries);
            if lane.doom.is_none() && chunk.deaths <= retries {
                self.queue.push_front(chunk);
            } else {
                let limited = self.settings.memory_limit.is_some();
                let failure = lane.failure(chunk.first, status, limited);
                self.finish(chunk.job, Batch::failed(chunk.first, 1, failure));
            }
        }
        if !lane.ready && !expected && self.phase != Phase::Terminated {
            if status.signal() == Some(SIGKILL) && self.killed_starts < KILLED_STARTS {
                self.killed_starts += 1;
                return;
            }
            self.not_begun(&format!("{} {status} before it began", lane.label));
        }
    }

    /// Ends workers whose time is over.
    pub(super) fn look_at_deadlines(&mut self) {
        let now = Instant::now();
        for place in 0..self.lanes.len() {
            let lane = &mut self.lanes[place];
            if let Some(doom) = &mut lane.doom {
                if doom.kill_at <= now {
                    doom.kill_at = now + GRACE;
                    lane.kill();
                }
            } else if lane.gone.is_some_and(|since| since + GRACE <= now) {
                // It lives, but has closed its descriptors.
                lane.kill();
                lane.gone = now.checked_add(GRACE);
            } else if let Some(limit) = self.settings.start_timeout
                && !lane.ready
                && lane.started.elapsed() >= limit
            {
                let text = format!("{} had not begun after {limit:?}", lane.label);
                self.doom(place, Failure::new(ErrorKind::Timeout, text.clone()));
                self.not_begun(&text);
            } else if let Some(limit) = time_limit(lane, &self.jobs)
                && lane.ready
                && lane.since.elapsed() >= limit
            {
                let item = lane.sent.front().map_or(0, |s| s.chunk.first + u64::from(s.done));
                let text = format!("{} took longer than {limit:?} for item {item}", lane.label);
                self.doom(place, Failure::new(ErrorKind::Timeout, text));
            }
        }
    }

    /// When the next worker's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let of = |lane: &Lane| match (&lane.doom, lane.gone) {
            (Some(doom), _) => Some(doom.kill_at),
            (None, Some(since)) => Some(since + GRACE),
            (None, None) if !lane.ready => {
                self.settings.start_timeout.and_then(|limit| lane.started.checked_add(limit))
            }
            (None, None) => {
                time_limit(lane, &self.jobs).and_then(|limit| lane.since.checked_add(limit))
            }
        };
        self.lanes.iter().filter_map(of).chain(self.try_again).min()
    }

    /// Ends a worker because of what it runs.
    fn doom(&mut self, place: usize, failure: Failure) {
        let lane = &mut self.lanes[place];
        lane.process.terminate_tree();
        lane.doom = Some(Doom { failure, kill_at: Instant::now() + GRACE });
        self.news = true;
    }

    /// Cancels a job: what was not begun is not, and who is at it is ended. Returns
    /// whether there was anything to cancel.
    pub(super) fn cancel(&mut self, number: u64) -> bool {
        let Some(job) = self.jobs.get_mut(&number).filter(|job| job.open > 0) else { return false };
        job.cancelled = true;
        for place in 0..self.lanes.len() {
            self.end_unwanted(place);
        }
        self.dispatch();
        true
    }

    /// Ends a worker that is at what was cancelled.
    fn end_unwanted(&mut self, place: usize) {
        let lane = &self.lanes[place];
        // It is at the first of what it was sent.
        let Some(sent) = lane.sent.front().filter(|_| lane.doom.is_none()) else { return };
        if self.jobs.get(&sent.chunk.job).is_some_and(|job| job.cancelled) {
            self.doom(place, cancelled());
        }
    }

    /// Takes a job off the books: nobody will ask what has come of it. What is under
    /// way is done, and what was not begun too if `finish` says so.
    pub(super) fn forget(&mut self, number: u64, finish: bool) {
        let Some(job) = self.jobs.get_mut(&number).filter(|job| job.callback.is_none()) else {
            return;
        };
        job.detached = true;
        job.batches.clear();
        if job.open == 0 {
            self.jobs.remove(&number);
        } else if !finish {
            for chunk in std::mem::take(&mut self.queue) {
                if chunk.job == number {
                    self.finish(number, Batch::failed(chunk.first, chunk.count, cancelled()));
                } else {
                    self.queue.push_back(chunk);
                }
            }
        }
    }

    /// Ends all workers at once, and with them all tasks.
    pub(super) fn terminate(&mut self) {
        self.phase = Phase::Terminated;
        self.news = true;
        for lane in &mut self.lanes {
            lane.kill();
            let kill_at = Instant::now() + GRACE;
            lane.doom = Some(Doom { failure: terminated(), kill_at });
        }
        self.dispatch();
    }

    /// Takes no more tasks.
    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
            self.news = true;
        }
        self.dispatch();
    }

    /// Starts workers until there are enough.
    fn replace_workers(&mut self) {
        let wanted = self.settings.workers;
        let needed = self.phase == Phase::Open || !self.queue.is_empty();
        let waits = self.try_again.is_some_and(|again| Instant::now() < again);
        if waits && matches!(self.start, Starts::Host(_)) {
            return;
        }
        self.try_again = None;
        while needed && self.broken.is_none() {
            let started = match &mut self.start {
                Starts::Here(start) if self.lanes.len() < wanted => start(self.next_lane),
                Starts::Host(asked) if self.lanes.len() + asked.len() < wanted => {
                    asked.ask(self.next_lane);
                    self.next_lane += 1;
                    continue;
                }
                _ => return,
            };
            match started {
                Ok(lane) => {
                    self.lanes.push(lane);
                    self.news = true;
                }
                Err(error) if self.lanes.is_empty() => {
                    self.not_begun(&format!("a worker cannot be started: {error}"));
                }
                // The others do it; it is tried again soon.
                Err(_) => {
                    self.try_again = Instant::now().checked_add(GRACE);
                    return;
                }
            }
            self.next_lane += 1;
        }
    }

    /// Notes that a worker has not begun.
    pub(super) fn not_begun(&mut self, reason: &str) {
        self.failed_starts += 1;
        if self.failed_starts >= FAILED_STARTS {
            let text = format!("{reason} ({FAILED_STARTS} times in a row)");
            self.broken = Some(Failure::new(ErrorKind::Start, text));
        }
    }

    /// Lets workers go that have nothing to do and are not wanted any more.
    fn let_go(&mut self) {
        let over = self.phase == Phase::Closed && self.queue.is_empty();
        let share = self.settings.share;
        for lane in &mut self.lanes {
            if lane.sent.is_empty() && (over || lane.left_of(share) == 0) {
                lane.let_go();
            }
        }
    }

    /// Fails all that no worker was sent.
    fn fail_queue(&mut self, failure: &Failure) {
        for chunk in std::mem::take(&mut self.queue) {
            self.finish(chunk.job, Batch::failed(chunk.first, chunk.count, failure.clone()));
        }
    }

    /// Adds what has come of items of a job.
    fn finish(&mut self, number: u64, batch: Batch) {
        self.tally.finished += u64::from(batch.count);
        // Who waits for the workers may wait for this.
        self.news = true;
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let done = job.add(batch);
        if job.detached {
            job.batches.clear();
        }
        if done {
            self.in_background -= u64::from(job.in_background);
            self.settle(number);
        }
    }

    /// Does what is to be done at the end of a job.
    fn settle(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.to_tell {
            self.told.push_back(number);
        }
        let callback = job.callback.take();
        if callback.is_none() && !job.detached {
            return;
        }
        let job = self.jobs.remove(&number);
        if let (Some(callback), Some(job)) = (callback, job) {
            self.callbacks.push_back(Box::new(move || callback(job.batches)));
        }
    }
}

/// How long what a worker is at may take.
fn time_limit(lane: &Lane, jobs: &BTreeMap<u64, Job>) -> Option<Duration> {
    jobs.get(&lane.sent.front()?.chunk.job)?.timeout
}

/// What comes of a task whose pool was terminated.
pub(super) fn terminated() -> Failure {
    Failure::new(ErrorKind::Cancelled, "the pool was terminated before the task was done")
}

/// What comes of a task that was cancelled.
pub(super) fn cancelled() -> Failure {
    Failure::new(ErrorKind::Cancelled, "the task was cancelled")
}
