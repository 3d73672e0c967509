//! Locks and semaphores, with what Python's `_multiprocessing.SemLock` has.

use std::ffi::CString;
use std::mem::forget;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use kinfolk::{Abandoned, BoundedSemaphore, Lock, RLock, Semaphore};
use pyo3::exceptions::{PyAssertionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::descriptor::{duplicate, number};
use crate::error::{AbandonedWarning, exception};
use crate::waiting::{limit, waiting};

/// The most permits of a semaphore, as Python has it.
const MOST: u32 = i32::MAX.cast_unsigned();

/// A lock or a semaphore.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct SemLock {
    /// What it is.
    inner: Inner,
    /// The most permits.
    maxvalue: u32,
    /// How often this process has acquired it, and not released it, through this object.
    count: AtomicI64,
    /// The thread that was the last to acquire it.
    thread: AtomicU64,
}

/// What a [`SemLock`] is.
enum Inner {
    Lock(Lock),
    RLock(RLock),
    Semaphore(Semaphore),
    BoundedSemaphore(BoundedSemaphore),
}

/// How acquiring ended.
enum Acquired {
    /// In time.
    Yes,
    /// Not.
    No,
    /// In time, from one that is dead, as this says.
    From(String),
}

#[pymethods]
impl SemLock {
    /// The largest value of a semaphore.
    #[classattr]
    const SEM_VALUE_MAX: u32 = MOST;

    /// Makes one of a kind: `lock`, `rlock`, `semaphore` or `bounded_semaphore`; or a
    /// handle of one that another process made.
    #[new]
    #[pyo3(signature = (kind, value=1, fd=None))]
    fn new(kind: &str, value: i64, fd: Option<i32>) -> PyResult<Self> {
        let value = u32::try_from(value).ok().filter(|value| *value <= MOST).ok_or_else(|| {
            PyValueError::new_err(format!("a semaphore has 0 to {MOST} permits, not {value}"))
        })?;
        let fd = fd.map(duplicate).transpose()?;
        let inner = match (kind, fd) {
            ("lock", None) => Lock::new().map(Inner::Lock),
            ("lock", Some(fd)) => fd.try_into().map(Inner::Lock),
            ("rlock", None) => RLock::new().map(Inner::RLock),
            ("rlock", Some(fd)) => fd.try_into().map(Inner::RLock),
            ("semaphore", None) => Semaphore::new(value).map(Inner::Semaphore),
            ("semaphore", Some(fd)) => fd.try_into().map(Inner::Semaphore),
            ("bounded_semaphore", None) => {
                BoundedSemaphore::new(value).map(Inner::BoundedSemaphore)
            }
            ("bounded_semaphore", Some(fd)) => fd.try_into().map(Inner::BoundedSemaphore),
            _ => return Err(PyValueError::new_err(format!("no lock is a {kind}"))),
        };
        let inner = inner.map_err(|error| exception(&error))?;
        let maxvalue = match inner {
            Inner::Semaphore(_) => MOST,
            _ => value,
        };
        Ok(Self { inner, maxvalue, count: AtomicI64::new(0), thread: AtomicU64::new(0) })
    }

    /// Acquires it, waiting for at most so many seconds; returns whether it did.
    #[pyo3(signature = (block=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<f64>) -> PyResult<bool> {
        let limit = limit(block, timeout)?;
        let acquired = match self.try_acquire(Duration::ZERO)? {
            Acquired::No if block => waiting(py, || self.try_acquire(limit))??,
            acquired => acquired,
        };
        match acquired {
            Acquired::No => return Ok(false),
            Acquired::Yes => {}
            Acquired::From(message) => self.warn(py, message)?,
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.thread.store(thread_number(), Ordering::Relaxed);
        Ok(true)
    }

    /// Releases it.
    fn release(&self) -> PyResult<()> {
        let too_many = || PyValueError::new_err("semaphore or lock released too many times");
        match &self.inner {
            Inner::Lock(lock) => lock.release().map_err(|_| too_many())?,
            Inner::RLock(lock) => lock.release().map_err(|_| {
                PyAssertionError::new_err("attempt to release recursive lock not owned by thread")
            })?,
            Inner::Semaphore(semaphore) if semaphore.value() >= MOST => return Err(too_many()),
            Inner::Semaphore(semaphore) => semaphore.release().map_err(|_| too_many())?,
            Inner::BoundedSemaphore(semaphore) => semaphore.release().map_err(|_| too_many())?,
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release()
    }

    /// How often this process holds it.
    fn _count(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether this thread holds it.
    fn _is_mine(&self) -> bool {
        self._count() > 0 && self.thread.load(Ordering::Relaxed) == thread_number()
    }

    /// The number of permits that nobody holds.
    fn _get_value(&self) -> u32 {
        match &self.inner {
            Inner::Lock(lock) => (!lock.is_locked()).into(),
            Inner::RLock(lock) => (!lock.is_locked()).into(),
            Inner::Semaphore(semaphore) => semaphore.value(),
            Inner::BoundedSemaphore(semaphore) => semaphore.value(),
        }
    }

    /// Whether there is no such permit.
    fn _is_zero(&self) -> bool {
        self._get_value() == 0
    }

    /// Forgets what the parent of this fork holds.
    fn _after_fork(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    /// Makes the permits of this process nobody's: its end does not return them.
    fn leave_taken(&self) {
        match &self.inner {
            Inner::Semaphore(semaphore) => semaphore.leave_taken(),
            Inner::BoundedSemaphore(semaphore) => semaphore.leave_taken(),
            Inner::Lock(_) | Inner::RLock(_) => {}
        }
    }

    /// Returns the permits of dead processes now.
    fn reclaim(&self) {
        match &self.inner {
            Inner::Semaphore(semaphore) => semaphore.reclaim(),
            Inner::BoundedSemaphore(semaphore) => semaphore.reclaim(),
            Inner::Lock(_) | Inner::RLock(_) => {}
        }
    }

    /// Its memory.
    fn fileno(&self) -> i32 {
        match &self.inner {
            Inner::Lock(lock) => number(lock),
            Inner::RLock(lock) => number(lock),
            Inner::Semaphore(semaphore) => number(semaphore),
            Inner::BoundedSemaphore(semaphore) => number(semaphore),
        }
    }

    /// The same, under the name that Python's has.
    #[getter]
    fn handle(&self) -> i32 {
        self.fileno()
    }

    /// Python's number for recursive locks, or for all others.
    #[getter]
    fn kind(&self) -> u32 {
        (!matches!(self.inner, Inner::RLock(_))).into()
    }

    /// The most permits.
    #[getter]
    fn maxvalue(&self) -> u32 {
        self.maxvalue
    }

    /// It has no name in the file system.
    #[getter]
    fn name(&self) -> Option<String> {
        None
    }
}

impl SemLock {
    /// Acquires it, waiting for at most `limit`.
    fn try_acquire(&self, limit: Duration) -> PyResult<Acquired> {
        let at_once = limit.is_zero();
        let permit = match &self.inner {
            Inner::Lock(lock) => {
                return Ok(held(if at_once { lock.try_lock() } else { lock.lock_timeout(limit) }));
            }
            Inner::RLock(lock) => {
                return Ok(held(if at_once { lock.try_lock() } else { lock.lock_timeout(limit) }));
            }
            Inner::Semaphore(semaphore) if at_once => semaphore.try_acquire(),
            Inner::Semaphore(semaphore) => semaphore.acquire_timeout(limit),
            Inner::BoundedSemaphore(semaphore) if at_once => semaphore.try_acquire(),
            Inner::BoundedSemaphore(semaphore) => semaphore.acquire_timeout(limit),
        };
        match permit.map_err(|error| exception(&error))? {
            None => Ok(Acquired::No),
            Some(permit) => {
                permit.forget();
                Ok(Acquired::Yes)
            }
        }
    }

    /// Says that the last holder is dead. If that is an error to the user, the lock is
    /// not held.
    fn warn(&self, py: Python<'_>, message: String) -> PyResult<()> {
        let message = CString::new(message).unwrap_or_default();
        let category = py.get_type::<AbandonedWarning>();
        PyErr::warn(py, &category, &message, 1).inspect_err(|_| {
            // Only locks are inherited; it is held, so there is nothing to fail.
            let _ = match &self.inner {
                Inner::Lock(lock) => lock.release(),
                Inner::RLock(lock) => lock.release(),
                Inner::Semaphore(_) | Inner::BoundedSemaphore(_) => Ok(()),
            };
        })
    }
}

/// What a lock gave: held from now on, without its guard.
fn held<G>(guard: Result<Option<G>, Abandoned<G>>) -> Acquired {
    match guard {
        Ok(None) => Acquired::No,
        Ok(Some(guard)) => {
            forget(guard);
            Acquired::Yes
        }
        Err(abandoned) => {
            let message = abandoned.to_string();
            forget(abandoned.into_inner());
            Acquired::From(message)
        }
    }
}

/// The number of this thread in this process, never that of another.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
