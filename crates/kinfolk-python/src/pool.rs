//! Pools whose items and results the package encodes, and whose workers it starts.
//!
//! Each call that may lock the pool's state does so without the interpreter's lock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kinfolk::pool::{ByteJob, BytePool, ByteResult, NewWorker, Waited, Wanted};
use kinfolk::{ErrorKind, ExitStatus};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList};

use crate::descriptor::{duplicate, number};
use crate::encoding::{decode, encode};
use crate::error::exception;
use crate::waiting::{limit, waiting};

/// How many bytes of items fill a chunk.
const FULL: usize = 1 << 17;

/// What a pool knows of a worker: process id, name, whether it has begun, how many items
/// it was given, how many it has now, and the seconds that it has worked and been there.
type WorkerState = (u32, String, bool, u64, u64, f64, f64);

/// A pool of workers that the package starts.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct PoolCore {
    /// The pool.
    inner: BytePool,
}

#[pymethods]
impl PoolCore {
    /// Makes a pool of so many workers, each replaced after so many chunks.
    #[new]
    fn new(workers: usize, chunks: Option<u64>, limited: bool) -> PyResult<Self> {
        let inner = BytePool::new(workers, chunks, limited);
        Ok(Self { inner: inner.map_err(|error| exception(&error))? })
    }

    /// What is readable when `asked` is to be looked at.
    fn fileno(&self) -> i32 {
        number(&self.inner)
    }

    /// The numbers of the workers that are to be started.
    fn asked(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| self.inner.asked()).map_err(|error| exception(&error))
    }

    /// Hands in a worker that was started; returns whether it is wanted.
    fn hand_in(
        &self,
        py: Python<'_>,
        lane: &Lane,
        name: &str,
        pid: u32,
        pidfd: i32,
    ) -> PyResult<bool> {
        let pidfd = duplicate(pidfd)?;
        let worker = lane.lock().take();
        let worker = worker.ok_or_else(|| PyValueError::new_err("it was handed in before"))?;
        py.detach(|| self.inner.hand_in(worker, name, pid, pidfd))
            .map_err(|error| exception(&error))
    }

    /// Says why a worker could not be started.
    fn start_failed(&self, py: Python<'_>, number: u64, reason: &str) -> PyResult<()> {
        py.detach(|| self.inner.start_failed(number, reason)).map_err(|error| exception(&error))
    }

    /// Says how a worker ended: as the exit code of a process.
    fn ended(&self, py: Python<'_>, number: u64, exitcode: i32) -> PyResult<()> {
        let status = if exitcode < 0 {
            ExitStatus::Signaled(exitcode.saturating_neg())
        } else {
            ExitStatus::Exited(exitcode)
        };
        py.detach(|| self.inner.ended(number, status)).map_err(|error| exception(&error))
    }

    /// Waits for the workers, until a job is done that is to be told, and returns its
    /// number; `None` at the end of the pool.
    fn serve(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        py.detach(|| self.inner.serve()).map_err(|error| exception(&error))
    }

    /// Begins a job.
    fn begin(
        &self,
        py: Python<'_>,
        function: &[u8],
        background: bool,
        timeout: Option<f64>,
        retries: u32,
    ) -> PyResult<Job> {
        let timeout = timeout.map(|seconds| limit(true, Some(seconds))).transpose()?;
        let inner = py.detach(|| self.inner.begin(function, background, timeout, retries));
        Ok(Job { inner: inner.map_err(|error| exception(&error))? })
    }

    /// Takes no more jobs.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.close()).map_err(|error| exception(&error))
    }

    /// Kills all workers.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.terminate()).map_err(|error| exception(&error))
    }

    /// Waits until all is done and all workers have ended; returns whether that is so.
    #[pyo3(signature = (timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let limit = limit(true, timeout)?;
        waiting(py, || self.inner.join(limit))?.map_err(|error| exception(&error))
    }

    /// What is known of each worker.
    fn workers(&self, py: Python<'_>) -> PyResult<Vec<WorkerState>> {
        let statistics = py.detach(|| self.inner.statistics());
        let workers = statistics.map_err(|error| exception(&error))?.workers.into_iter();
        Ok(workers
            .map(|worker| {
                let (busy, alive) = (worker.busy.as_secs_f64(), worker.alive.as_secs_f64());
                let (items, pending) = (worker.items, worker.pending);
                (worker.pid, worker.name, worker.ready, items, pending, busy, alive)
            })
            .collect())
    }
}

/// What a worker and its pool talk by, before the worker is handed in.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Lane {
    /// The worker, until it is handed in.
    inner: Mutex<Option<NewWorker>>,
}

impl Lane {
    /// The worker.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<NewWorker>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Lane {
    /// Makes what the worker of this number talks by.
    #[new]
    fn new(number: u64) -> PyResult<Self> {
        let worker = NewWorker::new(number).map_err(|error| exception(&error))?;
        Ok(Self { inner: Mutex::new(Some(worker)) })
    }

    /// What the worker's process makes a `PoolWorker` of.
    fn fds(&self) -> PyResult<[i32; 5]> {
        let worker = self.lock();
        let worker = worker.as_ref().ok_or_else(|| PyValueError::new_err("it was handed in"))?;
        Ok(worker.fds().map(|fd| number(&fd)))
    }
}

/// What was asked of a pool in one call.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct Job {
    /// The job.
    inner: ByteJob,
}

/// What was given of a list: up to where, in how many chunks, and which items could not be
/// encoded, with the reasons.
type Given = (usize, usize, Vec<(u64, PyErr)>);

#[pymethods]
impl Job {
    /// Its number.
    #[getter]
    fn number(&self) -> u64 {
        self.inner.number()
    }

    /// Gives items of a list, from one of them on, in at most so many chunks of so many.
    fn give<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyList>,
        from: usize,
        size: usize,
        most: usize,
        dumps: &Bound<'py, PyAny>,
    ) -> PyResult<Given> {
        let (mut place, mut chunks, mut refused) = (from, 0, Vec::new());
        while chunks < most && place < items.len() {
            let mut chunk = self.inner.chunk();
            let mut failed = None;
            for _ in 0..size.max(1) {
                // Encoding may change the list.
                let Ok(item) = items.get_item(place) else { break };
                place += 1;
                let pushed = chunk.push_with(|to| encode(&item, dumps, to));
                if let Err(error) = pushed.map_err(|error| exception(&error)).flatten() {
                    failed = Some(error);
                    break;
                }
                if chunk.size() >= FULL {
                    break;
                }
            }
            let submitted = py.detach(|| self.inner.submit(chunk));
            submitted.map_err(|error| exception(&error))?;
            chunks += 1;
            if let Some(error) = failed {
                let number = py.detach(|| self.inner.refuse("it could not be pickled"));
                refused.push((number.map_err(|error| exception(&error))?, error));
            }
        }
        Ok((place, chunks, refused))
    }

    /// Has `PoolCore.serve` tell when it is done.
    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.tell()).map_err(|error| exception(&error))
    }

    /// Waits until all that was given is done; returns whether it is.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let limit = limit(true, timeout)?;
        let waited = waiting(py, || self.inner.wait(Wanted::All, limit))?;
        Ok(matches!(waited.map_err(|error| exception(&error))?, Waited::Done))
    }

    /// Waits for results: those from an item on, or any. Returns the number of the first
    /// item, the results, and how many of these are what `fail` has made of an item's
    /// failure; `False` if none came in time, `None` if there are none.
    fn take<'py>(
        &self,
        py: Python<'py>,
        from: Option<u64>,
        timeout: Option<f64>,
        loads: &Bound<'py, PyAny>,
        fail: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limit = limit(true, timeout)?;
        self.results(py, from, limit, loads, fail)
    }

    /// Whether all that was given is done, and how many items that is.
    fn done(&self, py: Python<'_>) -> PyResult<(bool, u64)> {
        py.detach(|| self.inner.done()).map_err(|error| exception(&error))
    }

    /// Cancels it; returns whether there was anything to cancel.
    fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.inner.cancel()).map_err(|error| exception(&error))
    }
}

impl Job {
    /// As `take`.
    fn results<'py>(
        &self,
        py: Python<'py>,
        from: Option<u64>,
        limit: Duration,
        loads: &Bound<'py, PyAny>,
        fail: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let wanted = from.map_or(Wanted::Any, Wanted::From);
        let waited = waiting(py, || self.inner.wait(wanted, limit))?;
        let mut batch = match waited.map_err(|error| exception(&error))? {
            Waited::Batch(batch) => batch,
            Waited::Done => return Ok(py.None().into_bound(py)),
            Waited::Timeout => return Ok(PyBool::new(py, false).to_owned().into_any()),
        };
        let mut values = Vec::with_capacity(batch.len() as usize);
        let (mut first, mut failed) = (None, 0);
        while let Some((number, result)) = batch.take_next() {
            first.get_or_insert(number);
            let value = match result {
                ByteResult::Value(bytes) => match decode(py, bytes, loads) {
                    Ok(value) => {
                        values.push(value);
                        continue;
                    }
                    Err(error) => fail.call1((number, "unreadable", error, py.None()))?,
                },
                ByteResult::Raised(bytes, worker) => {
                    fail.call1((number, "raised", PyBytes::new(py, bytes), worker))?
                }
                ByteResult::Died { pid, status, text } => {
                    let exitcode = match status {
                        ExitStatus::Exited(code) => Some(code),
                        ExitStatus::Signaled(signal) => Some(-signal),
                        ExitStatus::Unknown => None,
                    };
                    fail.call1((number, "died", text, (pid, exitcode)))?
                }
                ByteResult::Failed(error) => {
                    let kind = match error.kind() {
                        ErrorKind::Cancelled => "cancelled",
                        ErrorKind::Timeout => "timeout",
                        _ => "failed",
                    };
                    fail.call1((number, kind, error.to_string(), py.None()))?
                }
            };
            failed += 1;
            values.push(value);
        }
        Ok((first, values, failed).into_pyobject(py)?.into_any())
    }
}
