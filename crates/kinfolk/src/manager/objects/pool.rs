//! A pool of workers beside the manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::object::Call;
use crate::process::RemoteFunction;
use crate::{Error, ErrorKind, Pool, Result};

/// The object.
pub(crate) struct WorkerPool {
    /// The pool; `None` when it has ended.
    pool: Mutex<Option<Arc<Pool>>>,
}

/// How often who waits for workers looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To call a function with each of the arguments.
    Map(RemoteFunction, Vec<Vec<u8>>),
    /// To end the workers.
    Terminate,
}

/// Runs a function in a worker. Clients name it, who are trusted with that: a manager makes
/// pools only by [`pools`](crate::manager::ManagerBuilder::pools).
fn run((function, argument): (RemoteFunction, Vec<u8>)) -> Result<Vec<u8>, String> {
    function.call(&argument).map_err(|error| error.to_string())
}

impl WorkerPool {
    /// The pool.
    fn pool(&self) -> MutexGuard<'_, Option<Arc<Pool>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready for WorkerPool {
    const CLASS: &'static str = "Pool";
    type Arguments = Option<usize>;

    fn make(workers: Option<usize>) -> Result<Self> {
        let builder = Pool::builder();
        let builder = match workers {
            Some(workers) => builder.workers(workers),
            None => builder,
        };
        Ok(Self { pool: Mutex::new(Some(Arc::new(builder.build()?))) })
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        match call.borrowed::<Ask>()? {
            Ask::Map(function, arguments) => {
                let pool = self.pool().clone();
                let Some(pool) = pool else {
                    return Err(Error::new(ErrorKind::Cancelled, "the pool has ended"));
                };
                let items = arguments.into_iter().map(move |argument| (function.clone(), argument));
                let task = pool.map_async(run, items)?;
                while !task.wait_timeout(LOOK) {
                    if call.caller().is_gone() {
                        task.cancel();
                    }
                }
                let wrong = |why| Error::new(ErrorKind::InvalidInput, why);
                let results: Vec<Vec<u8>> = task
                    .get()?
                    .into_iter()
                    .map(|result| result.map_err(wrong))
                    .collect::<Result<_>>()?;
                call.answer_plainly(&results)
            }
            Ask::Terminate => {
                let ended = self.pool().take();
                if let Some(pool) = ended {
                    pool.terminate();
                }
                call.answer_plainly(&())
            }
        }
    }
}

proxy! {
    /// A pool of workers that belong to the manager: processes of this program share them, on
    /// whatever machine they call. What a client has workers do is cancelled when it dies.
    ///
    /// Functions are those of this program, and only the same build may be at both ends. A manager
    /// has pools only if [`ManagerBuilder::pools`](crate::manager::ManagerBuilder::pools) allows
    /// them: whoever knows its key can have its workers run any place of the program's code.
    ///
    /// An item whose worker dies is an error of the call; the pool goes on. For one process alone,
    /// [`Pool`](crate::Pool) is faster and has more to choose.
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::builder().pools().start()?;
    ///     let pool = manager.pool(Some(2))?;
    ///     assert_eq!(pool.map(|n: u64| n * n, 1..=3)?, [1, 4, 9]);
    ///     assert_eq!(pool.apply(|n: u64| n + 1, 1)?, 2);
    ///     Ok(())
    /// }
    /// ```
    PoolProxy of WorkerPool
}

impl PoolProxy {
    /// Has a worker call `function`, and waits for its result.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls). [`ErrorKind::Panicked`] if the
    /// function panicked, [`ErrorKind::Died`] if its worker died.
    pub fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let mut results = self.map(function, [argument])?;
        results.pop().ok_or_else(|| Error::new(ErrorKind::Protocol, "a pool gave no result"))
    }

    /// Has the workers call `function` with each of the items, and waits for all results, which
    /// are in the order of the items.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply): that of the first item that failed.
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let named = RemoteFunction::new(function)?;
        let encode = |item: A| RemoteFunction::encode(&item);
        let arguments = items.into_iter().map(encode).collect::<Result<_>>()?;
        let results: Vec<Vec<u8>> = self.reference.ask(&Ask::Map(named, arguments))?;
        results.iter().map(|result| RemoteFunction::result(result)).collect()
    }

    /// Ends the workers, whatever they do: for all who share them.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn terminate(&self) -> Result<()> {
        self.reference.ask(&Ask::Terminate)
    }
}
