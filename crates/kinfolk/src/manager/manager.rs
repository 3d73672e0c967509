//! The handle of a manager.

use std::fmt;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::builder::ManagerBuilder;
use super::client::Client;
use super::link::Link;
use super::object::Create;
use super::objects::segments;
use super::protocol::Request;
use super::proxy::{Proxy, Reference};
use super::statistics::Statistics;
use crate::sys::poll;
use crate::wire::codec;
use crate::{Address, ConnectionOptions, Error, ErrorKind, Process, Result};

/// A manager: a server that owns objects, which processes of this machine and of others share by
/// proxies.
///
/// [`start`](Manager::start) makes a process for it, which ends with this one;
/// [`connect`](Manager::connect) reaches one that runs. What is made or found by either are
/// proxies: values that travel to other processes, where each call is a call of the one object.
///
/// ```standalone_crate
/// use kinfolk::manager::DictProxy;
/// use kinfolk::{Manager, Process};
///
/// fn count(words: DictProxy<String, u64>) {
///     words.insert("two", &2).expect("the manager lives");
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let manager = Manager::start()?;
///     let words = manager.dict::<String, u64>()?;
///     words.insert("one", &1)?;
///     Process::spawn(count, words.clone())?.join()?;
///     assert_eq!(words.get("two")?, Some(2));
///     manager.shutdown()
/// }
/// ```
///
/// # What happens when a process dies
///
/// When a client dies, killed or not, its references end within 0.1 s of the kernel's release
/// of its sockets, as do the locks that it held, and the calls that wait for it: what such a call
/// had taken, an item of a queue for instance, goes back to its place unless the answer was
/// sent. A client on another machine that is lost without a word is found by
/// [`keep_alive`](ManagerBuilder::keep_alive).
///
/// When the manager dies, each call under way and each later one is an error of kind
/// [`ErrorKind::Disconnected`], at once. Its objects are gone.
pub struct Manager {
    /// The session.
    client: Arc<Client>,
    /// The process, if this one has started it.
    process: Option<Started>,
}

/// The process of a manager that this one has started.
struct Started {
    /// Itself.
    process: Process<()>,
    /// A connection for the request to end: there may be no descriptor for one when it is needed.
    control: Mutex<Link>,
    /// How long it has to follow each.
    patience: Duration,
}

impl Manager {
    /// Starts a manager with the default options.
    ///
    /// # Errors
    ///
    /// As [`ManagerBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Returns a builder for a manager with options.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }

    /// Connects to a manager that runs.
    ///
    /// As long as this or a proxy of it is there, proxies of that manager that this process
    /// receives use the session, and so the key of the options.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`](crate::Client::connect); [`ErrorKind::Exhausted`] if the manager
    /// has too many connections.
    pub fn connect(address: impl Into<Address>, options: &ConnectionOptions) -> Result<Self> {
        let client = Client::connect(address.into(), options.clone())?;
        Ok(Self { client, process: None })
    }

    /// The handle of a manager that this process has started and reached.
    pub(super) fn started(process: Process<()>, reached: Reached, patience: Duration) -> Self {
        let Reached { client, control } = reached;
        Self { client, process: Some(Started { process, control, patience }) }
    }

    /// Where it is: clients connect there.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.client.address()
    }

    /// The process of a manager that this one has started.
    #[must_use]
    pub fn process(&self) -> Option<&crate::Child> {
        self.process.as_ref().map(|started| &*started.process)
    }

    /// Has the manager make an object, by the `new` of its class.
    ///
    /// The class must be known to it, by
    /// [`ManagerBuilder::register`](super::ManagerBuilder::register).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the manager does not know the class, and what `new` says or
    /// panics with; [`ErrorKind::Exhausted`] if it has too many objects;
    /// [`ErrorKind::Disconnected`] if it is gone.
    pub fn create<T: Create>(&self, arguments: T::Arguments) -> Result<T::Proxy> {
        let request = Request::Create { class: T::NAME, fingerprint: T::FINGERPRINT };
        let object = self.client.create(&request, &arguments)?;
        Ok(self.proxy(object))
    }

    /// Has the manager make an object of a ready-made class.
    pub(super) fn make<P: Proxy>(&self, arguments: &impl serde::Serialize) -> Result<P> {
        let request = Request::Create { class: P::CLASS, fingerprint: P::FINGERPRINT };
        let object = self.client.ask_with(&request, arguments)?;
        Ok(self.proxy(object))
    }

    /// Gives the object of a proxy a name, by which clients [`get`](Manager::get) it. It stays
    /// until [`unregister`](Manager::unregister), whoever ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if another object has the name.
    pub fn register<P: Proxy>(&self, name: &str, proxy: &P) -> Result<()> {
        self.client.check_server(proxy.reference().client().server())?;
        let object = proxy.reference().id();
        self.client.ask::<u64>(&Request::Register { name, object }).map(drop)
    }

    /// Takes a name back. The object goes on as long as there are proxies.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no object of the name.
    pub fn unregister(&self, name: &str) -> Result<()> {
        self.client.ask::<u64>(&Request::Unregister { name }).map(drop)
    }

    /// A proxy of the object that has a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none; [`ErrorKind::InvalidInput`] if it is of another
    /// class.
    pub fn get<P: Proxy>(&self, name: &str) -> Result<P> {
        let object = self.client.ask(&Request::Get { name, fingerprint: P::FINGERPRINT })?;
        Ok(self.proxy(object))
    }

    /// How much the manager has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if it is gone.
    #[doc(alias = "number_of_objects")]
    pub fn statistics(&self) -> Result<Statistics> {
        self.client.ask(&Request::Statistics)
    }

    /// Ends the manager, and returns when it has ended, if this process has started it.
    /// Dropping the handle does the same, without an error.
    ///
    /// It is asked to end, which drops its objects; after the
    /// [`shutdown_timeout`](ManagerBuilder::shutdown_timeout) it is sent SIGTERM, and after that
    /// time again SIGKILL. One that is elsewhere is asked only; dropping its handle leaves it
    /// alone.
    ///
    /// # Errors
    ///
    /// If a manager that is elsewhere does not take the request.
    pub fn shutdown(mut self) -> Result<()> {
        match self.process.take() {
            Some(started) => started.end(),
            None => self.client.ask::<()>(&Request::Shutdown),
        }
    }

    /// A proxy of an object to which the session refers.
    fn proxy<P: Proxy>(&self, object: u64) -> P {
        P::from_reference(Reference::new(Arc::clone(&self.client), object, P::FINGERPRINT))
    }
}

/// What the process that has started a manager has of it, besides its process.
pub(super) struct Reached {
    /// The session.
    client: Arc<Client>,
    /// A connection for the request to end.
    control: Mutex<Link>,
}

impl Reached {
    /// Connects.
    pub(super) fn new(address: Address, options: ConnectionOptions) -> Result<Self> {
        let client = Client::connect(address, options)?;
        let control = Mutex::new(client.another()?);
        Ok(Self { client, control })
    }
}

impl Started {
    /// Ends the process: asks, terminates, kills.
    fn end(&self) -> Result<()> {
        // What is no longer there need not be asked.
        let _ = self.ask();
        let mut status = self.process.wait_timeout(self.patience)?;
        if status.is_none() {
            self.process.terminate()?;
            status = self.process.wait_timeout(self.patience)?;
        }
        if status.is_none() {
            self.process.kill()?;
            status = Some(self.process.wait()?);
        }
        if !status.is_some_and(|status| status.success()) {
            segments::take_left_back();
        }
        Ok(())
    }

    /// Asks the process to end, and waits for its answer.
    fn ask(&self) -> Result<()> {
        self.process.exitcode()?;
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = Vec::new();
        codec::append_own(&Request::Shutdown, &mut message)?;
        control.send(&message)?;
        let deadline = Instant::now().checked_add(self.patience);
        match poll::ready(control.as_fd(), deadline) {
            Ok(true) => control.recv(1 << 16).map(drop),
            Ok(false) => Err(Error::new(ErrorKind::Timeout, "the manager does not answer")),
            Err(error) => Err(Error::io(error, "waiting for the manager")),
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(started) = self.process.take() {
            // In a fork it is not this process's to end.
            let _ = started.end();
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(started) => write!(f, "<Manager at {}, {}>", self.address(), *started.process),
            None => write!(f, "<Manager at {}>", self.address()),
        }
    }
}
