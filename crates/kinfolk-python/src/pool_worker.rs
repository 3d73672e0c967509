//! A worker of a pool.
#![allow(unsafe_code)] // Descriptors that are this process's alone, as the package promises.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kinfolk::pool::{ByteWork, ByteWorker, Served};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::descriptor::duplicate;
use crate::encoding::{decode, encode};
use crate::error::exception;
use crate::waiting::waiting;

/// How long a worker waits for a chunk at a time.
const LONG: Duration = Duration::from_secs(86_400);

/// How a function is called for an item.
#[derive(Clone, Copy)]
enum Kind {
    /// `function(item)`.
    Plain,
    /// `function(*item)`.
    Star,
    /// `function(*item[0], **item[1])`.
    Apply,
}

/// A worker of a pool, in its process.
#[pyclass(module = "kinfolk._kinfolk", frozen)]
pub(crate) struct PoolWorker {
    /// The worker.
    inner: Mutex<ByteWorker>,
}

/// What a worker calls.
struct Callables {
    /// Makes a function of bytes, and says whether it may be kept.
    load: Py<PyAny>,
    /// Makes bytes of a value.
    dumps: Py<PyAny>,
    /// Makes a value of bytes.
    loads: Py<PyAny>,
    /// Makes bytes of what a function has raised.
    raised: Py<PyAny>,
    /// Makes bytes of why a result could not be made bytes, and of that.
    unsent: Py<PyAny>,
}

/// A function that was loaded.
struct Function {
    /// What it was made of.
    bytes: Vec<u8>,
    /// The function.
    callable: Py<PyAny>,
    /// How it is called.
    kind: Kind,
}

#[pymethods]
impl PoolWorker {
    /// Makes the worker of what its pool's `Lane` has, once in its process.
    #[staticmethod]
    fn of_fds(fds: [i32; 5]) -> PyResult<Self> {
        let mut owned = Vec::with_capacity(fds.len());
        for fd in fds {
            owned.push(duplicate(fd)?);
        }
        let fds = owned.try_into().map_err(|_| PyRuntimeError::new_err("no five descriptors"))?;
        // SAFETY: the package makes one process for each lane, and in it this once.
        let inner = unsafe { ByteWorker::from_fds(fds) };
        Ok(Self { inner: Mutex::new(inner.map_err(|error| exception(&error))?) })
    }

    /// Says that it takes chunks.
    fn begin(&self) -> PyResult<()> {
        self.lock().begin().map_err(|error| exception(&error))
    }

    /// Says why it cannot begin.
    fn fail(&self, reason: &str) -> PyResult<()> {
        self.lock().fail(reason).map_err(|error| exception(&error))
    }

    /// Does chunks until the pool wants no more.
    fn work(
        &self,
        py: Python<'_>,
        load: Py<PyAny>,
        dumps: Py<PyAny>,
        loads: Py<PyAny>,
        raised: Py<PyAny>,
        unsent: Py<PyAny>,
    ) -> PyResult<()> {
        let callables = Callables { load, dumps, loads, raised, unsent };
        let mut kept = None;
        loop {
            let mut failed = None;
            let served = waiting(py, || {
                self.lock().serve(LONG, |work| {
                    Python::attach(|py| {
                        failed = callables.run(py, &mut kept, work).err();
                    });
                    Ok(())
                })
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            if served.map_err(|error| exception(&error))? == Served::Dismissed {
                return Ok(());
            }
        }
    }
}

impl PoolWorker {
    /// The worker.
    fn lock(&self) -> std::sync::MutexGuard<'_, ByteWorker> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callables {
    /// Does a chunk.
    ///
    /// # Errors
    ///
    /// What keeps the worker from going on: not what the function raises.
    fn run(
        &self,
        py: Python<'_>,
        kept: &mut Option<Function>,
        work: &mut ByteWork<'_, '_>,
    ) -> PyResult<()> {
        let same = kept.as_ref().is_some_and(|kept| kept.bytes == work.function());
        if !same {
            *kept = None;
        }
        let function = match kept.take().map_or_else(|| self.load(py, work.function()), Ok) {
            Ok(function) => function,
            Err(error) => {
                let reason = self.raised(py, error)?;
                while work.take_item().is_some() {
                    answer(work, reason.bind(py).as_bytes(), true)?;
                }
                return Ok(());
            }
        };
        let (dumps, loads) = (self.dumps.bind(py), self.loads.bind(py));
        let callable = function.callable.bind(py);
        let mut room = Vec::new();
        while let Some(item) = work.take_item() {
            let called =
                decode(py, item, loads).and_then(|item| call(callable, function.kind, item));
            match called {
                Ok(value) => {
                    room.clear();
                    match encode(&value, dumps, &mut room) {
                        Ok(()) => answer(work, &room, false)?,
                        Err(error) => {
                            let reason = self.unsent.bind(py).call1((error, value))?;
                            answer(work, reason.cast::<PyBytes>()?.as_bytes(), true)?;
                        }
                    }
                }
                Err(error) => {
                    answer(work, self.raised(py, error)?.bind(py).as_bytes(), true)?;
                }
            }
        }
        if !function.bytes.is_empty() {
            *kept = Some(function);
        }
        Ok(())
    }

    /// Loads a function. Only what is the same when it is loaded again is to be kept, and
    /// has its bytes.
    fn load(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<Function> {
        let broken = || PyRuntimeError::new_err("a function of a pool is not as pools make them");
        let (kind, pickle) = bytes.split_first().ok_or_else(broken)?;
        let kind = match kind {
            0 => Kind::Plain,
            1 => Kind::Star,
            2 => Kind::Apply,
            _ => return Err(broken()),
        };
        let loaded = self.load.bind(py).call1((PyBytes::new(py, pickle),))?;
        let (callable, keep) = loaded.extract::<(Py<PyAny>, bool)>()?;
        let bytes = if keep { bytes.to_vec() } else { Vec::new() };
        Ok(Function { bytes, callable, kind })
    }

    /// What was raised, as bytes.
    fn raised(&self, py: Python<'_>, error: PyErr) -> PyResult<Py<PyBytes>> {
        Ok(self.raised.bind(py).call1((error,))?.cast_into::<PyBytes>()?.unbind())
    }
}

/// Calls a function for an item.
fn call<'py>(
    function: &Bound<'py, PyAny>,
    kind: Kind,
    item: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    match kind {
        Kind::Plain => function.call1((item,)),
        Kind::Star => function.call1(tuple(&item)?),
        Kind::Apply => {
            let args = tuple(&item.get_item(0)?)?;
            let named = PyDict::new(item.py());
            named.update(item.get_item(1)?.cast()?)?;
            function.call(args, Some(&named))
        }
    }
}

/// What was given as arguments, as a tuple.
fn tuple<'py>(arguments: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    match arguments.cast::<PyTuple>() {
        Ok(tuple) => Ok(tuple.clone()),
        Err(_) => {
            PyTuple::new(arguments.py(), arguments.try_iter()?.collect::<PyResult<Vec<_>>>()?)
        }
    }
}

/// Answers an item.
fn answer(work: &mut ByteWork<'_, '_>, answer: &[u8], raised: bool) -> PyResult<()> {
    work.answer(answer, raised).map_err(|error| exception(&error))
}
