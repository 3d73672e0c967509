//! The server: it accepts clients, and has a thread for each connection.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::classes::Classes;
use super::hangups::Hangups;
use super::limits::Limits;
use super::link::Link;
use super::object::{Managed, Own};
use super::random::random;
use super::serving;
use super::table::Table;
use crate::log::{self, LogLevel};
use crate::sys::stream;
use crate::{Address, Client, Connection, ConnectionOptions, Error, ErrorKind, Listener, Result};

/// How often the server looks whether it is to end, if nothing else wakes it.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks for what has had its time.
const TIDY: Duration = Duration::from_secs(10);
/// How long it lets clients wait when the system has no descriptor or thread for one more.
/// Nothing tells when there is one again: any other program may have given it back.
const PAUSE: Duration = Duration::from_millis(10);
/// How many connections it takes beyond the limit, to tell them so.
const TURNED_AWAY: usize = 64;

/// A manager's server in this process: see
/// [`ManagerBuilder::bind`](super::ManagerBuilder::bind).
#[derive(Debug)]
pub struct Server {
    /// Where clients come in.
    listener: Listener,
    /// How they reach it.
    address: Address,
    /// What clients may reach the listener by, when its path is gone.
    _socket: Option<OwnedFd>,
    /// What its threads share.
    shared: Arc<Shared>,
}

/// What the threads of a server share.
pub(super) struct Shared {
    /// A number that no other server has.
    pub(super) number: u64,
    /// What is allowed.
    pub(super) limits: Limits,
    /// The objects.
    pub(super) table: Arc<Table>,
    /// The classes.
    pub(super) classes: Classes,
    /// The connections, and who notices that clients are gone.
    pub(super) hangups: Arc<Hangups>,
    /// How many connections there are, with those on which nothing was said yet.
    connections: AtomicUsize,
    /// How many calls are under way.
    pub(super) calls: AtomicUsize,
    /// Whether it is to end. Set once, by the first that asks for it; private to the process,
    /// so a kill leaves nothing.
    ending: AtomicBool,
    /// How its own thread is woken to see that: by a client.
    bell: Mutex<Option<(Address, ConnectionOptions)>>,
}

impl Server {
    /// Listens. An address of its own has no path that could stay behind.
    pub(super) fn bind(
        address: Option<Address>,
        options: ConnectionOptions,
        limits: Limits,
        classes: Classes,
    ) -> Result<Self> {
        let private = address.is_none();
        let listener = Listener::bind(address, &options)?;
        let (address, socket) = match listener.address() {
            Address::Unix(path) if private => hide(path)?,
            address => (address.clone(), None),
        };
        let shared = Shared {
            number: u64::from_ne_bytes(random()?),
            table: Arc::new(Table::new(limits.objects)),
            limits,
            classes,
            hangups: Arc::new(Hangups::new()?),
            connections: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            bell: Mutex::new(Some((address.clone(), options))),
        };
        Ok(Self { listener, address, _socket: socket, shared: Arc::new(shared) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes an object in, under a name by which clients [`get`](super::Manager::get) its
    /// proxies. It stays until the name is taken back, and no proxy is left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if another object has the name; [`ErrorKind::InvalidInput`] if it
    /// is none; [`ErrorKind::Exhausted`] if there are too many objects.
    pub fn register<T: Managed>(&self, name: &str, object: T) -> Result<()> {
        self.shared.table.insert_named(name, Arc::new(Own(RwLock::new(object))))
    }

    /// Serves clients until one of them asks for the end, by
    /// [`Manager::shutdown`](super::Manager::shutdown): then their connections end, waiting
    /// calls with an error, and the objects are dropped. A method that goes on nevertheless
    /// keeps its thread and its object.
    ///
    /// # Errors
    ///
    /// If the system gives it no thread, or does not let it wait for clients.
    pub fn serve_forever(self) -> Result<()> {
        let _stop = self.shared.hangups.run(&self.shared.table, TIDY)?;
        log::event(LogLevel::Info, format_args!("a manager serves at {}", self.address));
        let mut number = 0;
        while !self.shared.is_ending() {
            match self.listener.accept_timeout(LOOK) {
                Ok(Some(connection)) => {
                    number += 1;
                    self.take_in(number, connection);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Exhausted => {
                    log::event(LogLevel::Warning, format_args!("clients wait: {error}"));
                    std::thread::sleep(PAUSE);
                }
                Err(error) => {
                    self.shared.end();
                    return Err(error);
                }
            }
        }
        drop(self.listener);
        self.shared.hangups.hang_up_all();
        self.shared.table.clear();
        log::event(LogLevel::Info, format_args!("the manager at {} has ended", self.address));
        Ok(())
    }

    /// Starts a thread for a connection.
    fn take_in(&self, number: u64, connection: Connection<(), ()>) {
        let shared = Arc::clone(&self.shared);
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(shared);
        if before >= self.shared.limits.connections.saturating_add(TURNED_AWAY) {
            return;
        }
        let may_stay = before < self.shared.limits.connections;
        let work = move || {
            let shared = &counted.0;
            if let Ok(link) = Link::new(connection) {
                serving::serve(shared, number, link, may_stay);
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("kinfolk-client-{number}"))
            .stack_size(self.shared.limits.stack);
        if let Err(error) = thread.spawn(work) {
            log::event(LogLevel::Warning, format_args!("no thread for a client: {error}"));
        }
    }
}

/// A connection that is counted until this is dropped.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Ends the server.
    pub(super) fn end(&self) {
        if self.ending.swap(true, Ordering::SeqCst) {
            return;
        }
        self.hangups.hang_up_all();
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((address, options)) = bell {
            // The server's own thread is let go by this; else it looks soon by itself.
            let _ = Client::connect::<(), ()>(address, &options.deadline(LOOK));
        }
    }

    /// Whether the server is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Removes the path of a listening socket, which stays reachable by a descriptor of this
/// process: so nothing is left behind, even if all are killed. As a path that is one of `/proc`,
/// where only this user may go.
fn hide(path: &Path) -> Result<(Address, Option<OwnedFd>)> {
    let failed = |error| Error::io(error, format!("making {} private", path.display()));
    let socket = stream::open_path(path).map_err(failed)?;
    std::fs::remove_file(path).map_err(failed)?;
    if let Some(folder) = path.parent() {
        std::fs::remove_dir(folder).map_err(failed)?;
    }
    use std::os::fd::AsRawFd as _;
    let reachable = format!("/proc/{}/fd/{}", std::process::id(), socket.as_raw_fd());
    Ok((Address::unix(reachable), Some(socket)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::classes::Classes;
    use super::super::limits::Limits;
    use super::Server;
    use crate::{AuthKey, Client, ConnectionOptions};

    #[test]
    fn a_client_that_does_not_say_who_it_is_gives_its_place_back() {
        let _watchdog = kinfolk_testkit::watchdog("a_client_that_does_not_say_who_it_is");
        let options = ConnectionOptions::new().authkey(AuthKey::from_bytes(b"known to both"));
        let limits = Limits { hello: Duration::from_millis(50), ..Limits::default() };
        let server = Server::bind(None, options.clone(), limits, Classes::new()).unwrap();
        let (address, shared) = (server.address().clone(), server.shared.clone());
        let serving = std::thread::spawn(move || server.serve_forever());
        for part in [&b""[..], b"kinfolk"] {
            let client = Client::connect::<(), ()>(&address, &options).unwrap();
            if !part.is_empty() {
                // The beginning of a message.
                let socket = std::os::fd::AsFd::as_fd(&client);
                crate::sys::stream::send(socket, &[0, 0, 0, 99], part, false).unwrap();
            }
            let told = client.recv_bytes().unwrap();
            assert!(String::from_utf8_lossy(&told).contains("in time"));
            assert!(client.recv_bytes().unwrap_err().is_disconnected());
        }
        shared.end();
        serving.join().unwrap().unwrap();
    }
}
