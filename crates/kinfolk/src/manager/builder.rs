//! Options of a manager, and its start.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::limits::{Access, Limits};
use super::manager::{Manager, Reached};
use super::object::Create;
use super::server::Server;
use crate::{Address, AuthKey, Connection, Error, ErrorKind, Process, Result, StartMethod, sys};
use crate::{Closed, pipe_one_way};

/// Options of a manager to start: see [`Manager::builder`].
///
/// ```standalone_crate
/// use kinfolk::Manager;
///
/// struct Counter(u64);
///
/// #[kinfolk::managed]
/// impl Counter {
///     pub fn new(start: u64) -> Self {
///         Self(start)
///     }
///
///     pub fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let manager = Manager::builder().register::<Counter>()?.start()?;
///     let counter = manager.create::<Counter>(40)?;
///     assert_eq!(counter.add(2)?, 42);
///     manager.shutdown()
/// }
/// ```
#[must_use = "a builder starts nothing until `start` or `bind`"]
pub struct ManagerBuilder {
    /// The name of its process.
    name: String,
    /// The start method, if not the default.
    method: Option<StartMethod>,
    /// The key, if not this process's.
    authkey: Option<AuthKey>,
    /// How it is reached.
    access: Access,
    /// What it allows.
    limits: Limits,
    /// The classes of which it makes objects.
    classes: Classes,
    /// How long each step of its end may take.
    patience: Duration,
}

impl ManagerBuilder {
    /// A builder with the defaults.
    pub(super) fn new() -> Self {
        Self {
            name: "Manager".to_owned(),
            method: None,
            authkey: None,
            access: Access::default(),
            limits: Limits::default(),
            classes: Classes::new(),
            patience: Duration::from_secs(1),
        }
    }

    /// Makes objects of a class when clients ask for them, by
    /// [`Manager::create`](super::Manager::create).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if another class has its name.
    pub fn register<T: Create>(mut self) -> Result<Self> {
        self.classes.add::<T>()?;
        Ok(self)
    }

    /// Names the process; by default `Manager`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Chooses the start method of the process.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = Some(method);
        self
    }

    /// Lets clients in that know this key; by default that of this process.
    ///
    /// A process that is to use the manager's proxies connects with the same key first, by
    /// [`Manager::connect`](super::Manager::connect), and keeps that: proxies carry no key.
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.authkey = Some(key);
        self
    }

    /// Listens at this address. By default it has a socket without a path, reachable through
    /// `/proc` by processes of this user that may look into the manager's: none stays behind,
    /// even if all are killed.
    pub fn address(mut self, address: impl Into<Address>) -> Self {
        self.access.address = Some(address.into().to_string());
        self
    }

    /// Allows authentication by MD5, which Python before 3.12 needs.
    pub fn legacy(mut self) -> Self {
        self.access.legacy = true;
        self
    }

    /// Does not encrypt TCP: for clients that are Python's.
    pub fn plain(mut self) -> Self {
        self.access.plain = true;
        self
    }

    /// Allows clients of other users, at a unix socket with a path.
    pub fn any_user(mut self) -> Self {
        self.access.any_user = true;
        self
    }

    /// Allows pools of workers beside the manager: [`Manager::pool`](super::Manager::pool).
    ///
    /// Whoever knows the key is trusted with the program then. A client names functions by
    /// their places in it; that a place is in the program's code is checked, not that a function
    /// of the right type stands there. An honest client, of the same build, names nothing else.
    pub fn pools(mut self) -> Self {
        self.limits.pools = true;
        self
    }

    /// How long a client or manager at the other end of TCP may leave the system without a
    /// sign of life: 20 seconds if not set, 3 at least. Then it counts as gone; one that lives
    /// and does not read does not. On one machine the system tells at once. More at
    /// [`ConnectionOptions::keep_alive`](crate::ConnectionOptions::keep_alive).
    pub fn keep_alive(mut self, silence: Duration) -> Self {
        self.access.silence = Some(silence);
        self
    }

    /// The longest call or result, in bytes; 64 MiB if not set. A longer one is an error of
    /// kind [`ErrorKind::TooLong`] of that call.
    pub fn largest_message(mut self, bytes: usize) -> Self {
        self.limits.message = bytes.max(1 << 10);
        self
    }

    /// The most objects at a time, and as many names, and proxies under way; 100,000 if not
    /// set. One more is an error of kind [`ErrorKind::Exhausted`].
    pub fn max_objects(mut self, objects: usize) -> Self {
        self.limits.objects = objects;
        self
    }

    /// The most connections at a time; 4,096 if not set, and 2 at least, which the process that
    /// [starts](Self::start) the manager has. A client process has as many as it makes calls
    /// at the same time, one at least, and once it has held a lock or a permit, another one for
    /// releases. One more is an error of kind [`ErrorKind::Exhausted`] of the client.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections.max(2);
        self
    }

    /// The stack of each thread that serves a connection, in bytes; 1 MiB if not set, and at
    /// least: values that are as deep as they may be take half of it. Methods run on it. Only
    /// what is used of it takes memory.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.limits.stack = bytes.max(1 << 20);
        self
    }

    /// How long the end of the manager may take before it is made to: at
    /// [`shutdown`](super::Manager::shutdown) it is asked, after this time sent SIGTERM, and
    /// after this time again SIGKILL. One second if not set.
    pub fn shutdown_timeout(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Starts a process that serves, and connects to it.
    ///
    /// The process ends with this one, however that ends, and Ctrl-C does not end it before.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`]; if the address cannot be had, or the manager not be reached. Then
    /// its process has ended.
    pub fn start(self) -> Result<Manager> {
        let options = self.access.options(self.authkey.as_ref(), &self.limits);
        let (started, tell) = pipe_one_way()?;
        let start = Start {
            access: self.access,
            limits: self.limits,
            classes: self.classes.places()?,
            tell,
        };
        let mut process = Process::builder().name(self.name).daemon(true);
        if let Some(method) = self.method {
            process = process.start_method(method);
        }
        if let Some(key) = self.authkey {
            process = process.authkey(key);
        }
        let process = process.spawn(run, start)?;
        let reached = match started.recv() {
            Ok(Ok(address)) => address.parse().and_then(|address| Reached::new(address, options)),
            Ok(Err(reason)) => {
                Err(Error::new(ErrorKind::Start, format!("the manager did not start: {reason}")))
            }
            // It says why it has ended.
            Err(error) if error.is_disconnected() => {
                return Err(process.join().err().unwrap_or(error));
            }
            Err(error) => Err(error),
        };
        match reached {
            Ok(reached) => Ok(Manager::started(process, reached, self.patience)),
            Err(error) => {
                // It may serve already, and nobody would have a handle to end it by.
                let _ = process.kill().and_then(|()| process.wait());
                Err(error)
            }
        }
    }

    /// Listens in this process, which serves by
    /// [`serve_forever`](super::Server::serve_forever): name, start method and shutdown
    /// timeout are of no use.
    ///
    /// # Errors
    ///
    /// If the address cannot be had.
    #[doc(alias = "get_server")]
    pub fn bind(self) -> Result<Server> {
        let options = self.access.options(self.authkey.as_ref(), &self.limits);
        let address = self.access.address.as_deref().map(str::parse).transpose()?;
        Server::bind(address, options, self.limits, self.classes)
    }
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("name", &self.name)
            .field("method", &self.method)
            .field("access", &self.access)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What the process of a manager needs to know.
#[derive(Serialize, Deserialize)]
struct Start {
    /// How it is reached.
    access: Access,
    /// What it allows.
    limits: Limits,
    /// Where the user's classes are described.
    classes: Vec<u64>,
    /// Where it tells its address, or why there is none.
    tell: Connection<Result<String, String>, Closed>,
}

/// The process of a manager.
fn run(start: Start) {
    let Start { access, limits, classes, tell } = start;
    // Ctrl-C is for the program, which ends its manager. Where it cannot be ignored it is not.
    let _ = sys::process::ignore_interrupts();
    let serve = || {
        let address = access.address.as_deref().map(str::parse).transpose()?;
        let classes = Classes::at(&classes)?;
        Server::bind(address, access.options(None, &limits), limits, classes)
    };
    let server = match serve() {
        Ok(server) => server,
        Err(error) => {
            // Its parent is gone, else: so is this process soon.
            let _ = tell.send(&Err(error.to_string()));
            return;
        }
    };
    if tell.send(&Ok(server.address().to_string())).is_ok() {
        drop(tell);
        if let Err(error) = server.serve_forever() {
            crate::log::event(
                crate::LogLevel::Warning,
                format_args!("a manager has ended: {error}"),
            );
        }
    }
}
