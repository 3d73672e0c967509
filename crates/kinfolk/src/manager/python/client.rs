//! A client of a manager of Python's.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Reply, strange};
use super::proxies::{PythonDict, PythonList, PythonLock, PythonNamespace, PythonQueue};
use super::raised::Raised;
use crate::sys::fork_guard;
use crate::wire::pickle::{self, Object, Token};
use crate::{
    Address, Client, Connection, ConnectionOptions, Error, ErrorKind, Plain, Result,
    current_process,
};

/// A manager of Python's `multiprocessing`, in another program: this one uses its objects, as
/// far as they are plain data.
///
/// ```no_run
/// use kinfolk::manager::python::PythonManager;
/// use kinfolk::{Address, ConnectionOptions};
///
/// // In Python: BaseManager(('127.0.0.1', 5000), key).get_server().serve_forever()
/// let options = ConnectionOptions::new().plain();
/// let manager = PythonManager::connect(Address::tcp("127.0.0.1", 5000), &options)?;
/// let jobs = manager.queue::<String>(0)?;
/// jobs.put(&"the first".to_owned())?;
/// # Ok::<(), kinfolk::Error>(())
/// ```
///
/// A Python before 3.12 needs the option [`legacy`](ConnectionOptions::legacy), and any one
/// on TCP [`plain`](ConnectionOptions::plain). Python's manager does not tell clients apart:
/// what a killed one referred to stays, and a lock that it held stays held.
#[derive(Debug, Clone)]
pub struct PythonManager {
    /// What its objects share.
    shared: Arc<Shared>,
}

/// How the manager is reached.
pub(super) struct Shared {
    /// Where it is.
    address: Address,
    /// How to connect.
    options: ConnectionOptions,
    /// The process whose references they are.
    owner: u32,
    /// Connections for calls of objects that no thread uses now.
    idle: Mutex<Vec<Connection<(), ()>>>,
    /// Whether the manager did not take a reference back, and has not answered since. Private
    /// to the process, so a kill leaves nothing.
    silent: AtomicBool,
}

/// How long the end of a reference may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// An object of a manager of Python's: this reference to it ends when it is dropped, for which
/// it connects once more. That takes a second at most: a manager that does not answer, as one
/// that is stopped, keeps the object.
///
/// A fork's copy is no reference, and of no use there: calls are
/// [`NotOwner`](ErrorKind::NotOwner).
#[derive(Debug)]
pub struct PythonObject {
    /// Its manager.
    shared: Arc<Shared>,
    /// Its name there.
    id: String,
}

impl PythonManager {
    /// Connects to a manager, and asks for a sign of life.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; [`ErrorKind::Protocol`] if nobody there speaks the protocol.
    pub fn connect(address: impl Into<Address>, options: &ConnectionOptions) -> Result<Self> {
        let shared = Shared {
            address: address.into(),
            options: options.clone(),
            owner: fork_guard::process_id(),
            idle: Mutex::default(),
            silent: AtomicBool::new(false),
        };
        shared.control("dummy", &[], Some(options.deadline))?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes an object of a type that the manager has registered, or asks for what is
    /// registered so, with these arguments; blocks until it is made, or the manager is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Raised`] if there is no such type, or it raises an exception.
    pub fn create(&self, typeid: &str, arguments: &[Plain]) -> Result<PythonObject> {
        let arguments = [&[typeid.into()], arguments].concat();
        let (id, _) =
            self.shared.control("create", &arguments, None)?.to_value::<(String, Plain)>()?;
        Ok(PythonObject { shared: Arc::clone(&self.shared), id })
    }

    /// A new dict.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn dict<K, V>(&self) -> Result<PythonDict<K, V>> {
        self.create("dict", &[]).map(PythonDict::from)
    }

    /// A new list of these items.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn list<T: Serialize>(&self, items: &[T]) -> Result<PythonList<T>> {
        let items = items.iter().map(Plain::from_value).collect::<Result<Vec<_>>>()?;
        self.create("list", &[items.into()]).map(PythonList::from)
    }

    /// A new queue for at most so many items; 0 for no limit.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn queue<T>(&self, most: u32) -> Result<PythonQueue<T>> {
        self.create("Queue", &[most.into()]).map(PythonQueue::from)
    }

    /// A new lock.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn lock(&self) -> Result<PythonLock> {
        self.create("Lock", &[]).map(PythonLock::from)
    }

    /// A new namespace.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn namespace(&self) -> Result<PythonNamespace> {
        self.create("Namespace", &[]).map(PythonNamespace::from)
    }

    /// How many objects the manager has.
    ///
    /// # Errors
    ///
    /// If it is gone, or does not answer within the options'
    /// [`deadline`](ConnectionOptions::deadline).
    pub fn number_of_objects(&self) -> Result<u64> {
        self.shared.control("number_of_objects", &[], self.shared.deadline())?.to_value()
    }

    /// Has the manager end.
    ///
    /// # Errors
    ///
    /// As [`number_of_objects`](Self::number_of_objects).
    pub fn shutdown(self) -> Result<()> {
        self.shared.control("shutdown", &[], self.shared.deadline())?.to_value()
    }
}

impl PythonObject {
    /// Calls a method; blocks until it returns, or the manager is gone.
    ///
    /// Each call takes any connection that is free, and Python's manager has a thread for each:
    /// what belongs to a thread, as an `RLock` or a `Condition`, is not of use by calls.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Raised`] if it raises an exception, which the error shows;
    /// [`ErrorKind::Disconnected`] if the manager is gone: whether the method was called is
    /// not known then. [`ErrorKind::Deserialize`] if the result is no `T`; the method was
    /// called, and what it took from the object is lost.
    pub fn call<T: DeserializeOwned>(&self, method: &str, arguments: &[Plain]) -> Result<T> {
        let arguments = Plain::Tuple(arguments.to_vec());
        self.ask(method, Object::Plain(arguments), None).map_err(error)?.to_value()
    }

    /// Calls a method that takes at most so long by itself; an exception is told apart.
    pub(super) fn ask(
        &self,
        method: &str,
        arguments: Object,
        takes: Option<Duration>,
    ) -> Result<Plain, Raised> {
        self.shared.check_owner()?;
        let limit = takes.and_then(|takes| takes.checked_add(self.shared.options.deadline));
        let idle = || self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let connection = waiting.map_or_else(|| self.shared.connect_for_objects(), Ok)?;
        send(&connection, Some(&self.id), method, arguments)?;
        // What has failed is not used again.
        let reply = receive(&connection, limit)?;
        idle().push(connection);
        match Reply::read(&reply)? {
            Reply::Proxy(_, Token { id, .. }) => {
                // The reference to it is ours, and ends.
                drop(Self { shared: Arc::clone(&self.shared), id });
                Err(Raised::Failed(strange("result that stays with the manager")))
            }
            reply => result(reply),
        }
    }
}

impl Drop for PythonObject {
    fn drop(&mut self) {
        let shared = &self.shared;
        if shared.check_owner().is_err() || shared.silent.load(Ordering::Relaxed) {
            return;
        }
        let done = shared.control("decref", &[(&*self.id).into()], Some(PATIENCE));
        // Without its manager there is nothing to tell, and others need not try.
        let silent = done.is_err_and(|error| error.kind() != ErrorKind::Raised);
        shared.silent.store(silent, Ordering::Relaxed);
    }
}

impl Shared {
    /// Asks for what concerns the manager itself, within a time for each: to connect, and for
    /// the answer.
    fn control(&self, method: &str, arguments: &[Plain], limit: Option<Duration>) -> Result<Plain> {
        self.check_owner()?;
        let options = self.options.clone();
        let options = match limit {
            Some(limit) => options.deadline(limit.min(self.options.deadline)),
            None => options,
        };
        let connection = Client::connect(self.address.clone(), &options)?;
        send(&connection, None, method, Object::Plain(Plain::Tuple(arguments.to_vec())))?;
        let answer = result(Reply::read(&receive(&connection, limit)?)?).map_err(error)?;
        self.silent.store(false, Ordering::Relaxed);
        Ok(answer)
    }

    /// How long the manager may take for what takes no time.
    fn deadline(&self) -> Option<Duration> {
        Some(self.options.deadline)
    }

    /// Refuses what a fork does with its copy.
    fn check_owner(&self) -> Result<()> {
        if self.owner == fork_guard::process_id() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotOwner,
            format!(
                "the object belongs to process {}, of which this one is a fork: connect here",
                self.owner
            ),
        ))
    }

    /// A connection for calls of objects.
    fn connect_for_objects(&self) -> Result<Connection<(), ()>> {
        let connection = Client::connect(self.address.clone(), &self.options)?;
        let name = Plain::Tuple(vec![current_process().name().into()]);
        send(&connection, None, "accept_connection", Object::Plain(name))?;
        result(Reply::read(&receive(&connection, self.deadline())?)?).map_err(error)?;
        Ok(connection)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Sends a request.
fn send(
    connection: &Connection<(), ()>,
    object: Option<&str>,
    method: &str,
    arguments: Object,
) -> Result<()> {
    let object = object.map_or(Plain::None, Plain::from);
    let parts = [object, method.into()].map(Object::Plain);
    let named = Object::Plain(Plain::Dict(crate::plain::Dict::new()));
    let [object, method] = parts;
    let request = Object::Tuple(vec![object, method, arguments, named]);
    connection.send_bytes(&pickle::write(&request)?)
}

/// Receives a reply, within a time if there is one.
fn receive(connection: &Connection<(), ()>, limit: Option<Duration>) -> Result<Vec<u8>> {
    let Some(limit) = limit else { return connection.recv_bytes() };
    connection.recv_bytes_timeout(limit)?.ok_or_else(|| {
        Error::new(ErrorKind::Timeout, format!("the manager has not answered within {limit:?}"))
    })
}

/// The value in a reply.
fn result(reply: Reply) -> Result<Plain, Raised> {
    match reply {
        Reply::Return(value) => Ok(value.plain()?),
        Reply::Error(exception) => Err(Raised::Exception(exception)),
        Reply::Traceback(text) | Reply::Unserializable(text) => {
            Err(Raised::Failed(Error::new(ErrorKind::Raised, text)))
        }
        Reply::Proxy(..) => Err(Raised::Failed(strange("result that stays with the manager"))),
    }
}

/// The error of a call.
pub(super) fn error(raised: Raised) -> Error {
    match raised {
        Raised::Exception(exception) => Error::new(ErrorKind::Raised, exception.to_string()),
        Raised::NoMethod => strange("reply"),
        Raised::Failed(error) => error,
    }
}
