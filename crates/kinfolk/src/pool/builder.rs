//! Options of a pool, and its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::Body;
use super::core::{Core, Starts};
use super::driver::Shared;
use super::lane::{Lane, Share};
use super::process_pool::Pool;
use super::protocol;
#[cfg(feature = "tracing")]
use super::records::{self, Records};
use super::slate::{self, Slate};
use super::worker::{self, Code, Duties, Lent};
use crate::process::{self, StartMethod};
use crate::{Error, ErrorKind, Process, Result, cpu_count, queue, start_method};

/// The largest argument or result, in bytes, unless told otherwise.
const LARGEST_MESSAGE: usize = 256 << 20;
/// The most chunks on their way to a worker, and results from it.
const MESSAGES: usize = 1024;

/// What is chosen for a pool and its workers.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// How many workers.
    pub(super) workers: usize,
    /// How they are started.
    pub(super) method: StartMethod,
    /// How much a worker is given before it is replaced.
    pub(super) share: Share,
    /// The most memory for a worker's data, in bytes.
    pub(super) memory_limit: Option<u64>,
    /// How long an item may take.
    pub(super) timeout: Option<Duration>,
    /// How long a worker may take to begin.
    pub(super) start_timeout: Option<Duration>,
    /// How often an item is tried again whose worker has died.
    pub(super) retries: u32,
    /// The most chunks that wait for a worker.
    pub(super) queue_bound: usize,
    /// The largest argument or result, in bytes.
    pub(super) largest_message: usize,
    /// What the workers are called.
    pub(super) name: String,
}

/// Options of a pool to start: see [`Pool::builder`].
///
/// ```standalone_crate
/// use kinfolk::Pool;
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     // Each worker begins with a state, which its tasks may use and change.
///     let pool = Pool::builder().workers(2).initializer(|base: u64| base, 100).build()?;
///     let sums = pool.stateful().map(|base: &mut u64, n: u64| *base + n, 1..=3)?;
///     assert_eq!(sums, [101, 102, 103]);
///     Ok(())
/// }
/// ```
#[must_use = "a builder starts nothing until `build`"]
pub struct PoolBuilder<S = (), I = ()> {
    /// What is chosen.
    settings: Settings,
    /// Makes the state of each worker.
    initializer: fn(I) -> S,
    /// What it is given.
    argument: Arc<I>,
    /// Is given the state at the end.
    finalizer: Option<fn(S)>,
}

impl PoolBuilder {
    /// A builder with the defaults.
    pub(super) fn new() -> Self {
        let settings = Settings {
            workers: cpu_count().get(),
            method: start_method(),
            share: Share::All,
            memory_limit: None,
            timeout: None,
            start_timeout: None,
            retries: 0,
            queue_bound: usize::MAX,
            largest_message: LARGEST_MESSAGE,
            name: "Pool".to_owned(),
        };
        Self { settings, initializer: |()| (), argument: Arc::new(()), finalizer: None }
    }

    /// Has each worker begin by calling `initializer` with `argument`. What it returns
    /// is the worker's state: tasks started by [`stateful`](Pool::stateful) get it.
    ///
    /// The argument may have connections, locks and other handles in it. If
    /// `initializer` panics three times in a row, all tasks fail with the reason. A
    /// finalizer chosen before was for another state, and is not called.
    pub fn initializer<S, I>(self, initializer: fn(I) -> S, argument: I) -> PoolBuilder<S, I> {
        let Self { settings, .. } = self;
        PoolBuilder { settings, initializer, argument: Arc::new(argument), finalizer: None }
    }
}

impl<S: 'static, I> PoolBuilder<S, I>
where
    I: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Sets how many workers there are; as many as processors, unless told otherwise.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// Chooses the start method of the workers.
    ///
    /// Under `Fork` tasks go on only while some thread waits for one: a thread of the
    /// pool's own would keep it from forking.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.settings.method = method;
        self
    }

    /// Has each worker that is let go call `finalizer` with its state. One that is
    /// killed does not.
    pub fn finalizer(mut self, finalizer: fn(S)) -> Self {
        self.finalizer = Some(finalizer);
        self
    }

    /// Replaces each worker after so many items; it is given no more.
    #[doc(alias = "maxtasksperchild")]
    pub fn tasks_per_worker(mut self, items: u64) -> Self {
        self.settings.share = Share::Items(items.max(1));
        self
    }

    /// Limits the memory for each worker's data, in bytes (`RLIMIT_DATA`). A worker
    /// that gets no more aborts: that costs the item that it runs.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.settings.memory_limit = Some(bytes);
        self
    }

    /// Limits how long an item may take. Then its worker is terminated, after 0.5 s
    /// killed, with what it started, and the item fails with
    /// [`ErrorKind::Timeout`]. Items are given out one by one then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Limits how long a worker may take to begin, its initializer included; without a
    /// limit unless told otherwise. Then it is terminated, after 0.5 s killed, and
    /// another is started; after three in a row all tasks fail with the reason.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = Some(timeout);
        self
    }

    /// Tries an item again, so often, whose worker died while it ran it. It may have
    /// been half done then.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Limits how many tasks wait for a worker: starting one more waits.
    pub fn queue_bound(mut self, tasks: usize) -> Self {
        self.settings.queue_bound = tasks.max(1);
        self
    }

    /// Sets the largest argument or result, in bytes, up to 1 GiB; 256 MiB unless told
    /// otherwise. Memory is used as it is needed.
    pub fn largest_message(mut self, bytes: usize) -> Self {
        self.settings.largest_message = bytes.min(protocol::LARGEST);
        self
    }

    /// Names the workers: `Pool-1` and so on, unless told otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Starts the pool and its workers.
    ///
    /// # Errors
    ///
    /// If [`init`](crate::init) was not called, an option cannot be had, a function is not
    /// in the program's main image, or the first worker cannot be started.
    pub fn build(self) -> Result<Pool<S>> {
        let Self { settings, initializer, argument, finalizer } = self;
        if settings.workers == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a pool has at least one worker"));
        }
        // A result may follow others that are kept back.
        let bytes = settings.largest_message.max(1 << 16) + slate::ROOM + 64;
        let code = Code {
            initializer: process::offset(initializer as usize)?,
            finalizer: finalizer.map(|code| process::offset(code as usize)).transpose()?,
            memory_limit: settings.memory_limit,
            largest: settings.largest_message,
        };
        let (name, method) = (settings.name.clone(), settings.method);
        #[cfg(feature = "tracing")]
        let subscriber = records::subscriber();
        let start = move |number| {
            start::<S, I>(
                number,
                &format!("{name}-{}", number + 1),
                method,
                bytes,
                code,
                Lent::Shared(Arc::clone(&argument)),
                #[cfg(feature = "tracing")]
                subscriber.as_ref(),
            )
        };
        let mut core = Core::new(settings, Starts::Here(Box::new(start)));
        core.dispatch();
        match core.broken.take() {
            Some(failure) => Err(failure.to_error()),
            None => Ok(Pool::new_started(Shared::new(core)?)),
        }
    }
}

/// Starts a worker.
fn start<S: 'static, I>(
    number: u64,
    name: &str,
    method: StartMethod,
    bytes: usize,
    code: Code,
    argument: Lent<I>,
    #[cfg(feature = "tracing")] subscriber: Option<&tracing::Dispatch>,
) -> Result<Lane>
where
    I: Serialize + DeserializeOwned,
{
    let options = queue::Options::new(MESSAGES).bytes(bytes);
    let (requests, their_requests) = queue::with_options(options)?;
    let (their_results, results) = queue::with_options(options)?;
    results.prepare()?;
    let slate = Slate::new()?;
    #[cfg(feature = "tracing")]
    let (forwarding, records) = records::open(subscriber)?.unzip();
    let duties = Duties {
        requests: their_requests,
        results: their_results,
        slate: slate.try_clone()?,
        #[cfg(feature = "tracing")]
        forwarding,
        code,
        argument,
    };
    let builder = Process::builder().name(name).daemon(true).start_method(method);
    let process = builder.spawn(worker::work::<S, I>, duties)?;
    #[cfg(feature = "tracing")]
    let records = records.map(|source| Records::new(source, process.name(), process.pid()));
    let lane = Lane::new(number, Body::Own(process), (requests, results), slate);
    Ok(Lane {
        #[cfg(feature = "tracing")]
        records,
        ..lane
    })
}

impl<S, I> fmt::Debug for PoolBuilder<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
