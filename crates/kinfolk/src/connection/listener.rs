//! Accepting clients.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::address::resolve;
use super::challenge::{Role, refuse};
use super::client::check_user;
use super::handshake::Handshake;
use super::path::SocketPath;
use super::pending::Pending;
use super::turn::{Taken, Turn};
use super::{Address, Connection, ConnectionOptions};
use crate::log::{self, LogLevel};
use crate::process::AuthKey;
use crate::sys::fork_guard::{self, PrivateFd};
use crate::sys::poll::Watch;
use crate::sys::stream::{self, Place};
use crate::sys::tcp;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// Accepts connections of [`Client`](crate::Client)s, of this library or of Python's
/// `multiprocessing`, in other programs or on other machines.
///
/// ```standalone_crate
/// use kinfolk::{Address, Client, ConnectionOptions, Listener, Process};
///
/// fn ask(address: String) -> u32 {
///     let address: Address = address.parse().unwrap();
///     let client = Client::connect(&address, &ConnectionOptions::new()).unwrap();
///     client.send(&20_u32).unwrap();
///     client.recv().unwrap()
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let listener = Listener::bind(None, &ConnectionOptions::new())?;
///     let asking = Process::spawn(ask, listener.address().to_string())?;
///     let client = listener.accept::<u32, u32>()?;
///     client.send(&(client.recv()? + 1))?;
///     assert_eq!(asking.join()?, 21);
///     Ok(())
/// }
/// ```
///
/// Dropping it removes its path. A killed process leaves its path behind, and the next
/// one that binds there takes it over; a folder of its own, the next one that makes such. A fork of this process cannot use it.
#[derive(Debug)]
pub struct Listener {
    /// The path, if there is one: removed when it is dropped, which is before the socket is.
    _path: Option<SocketPath>,
    /// The socket.
    socket: PrivateFd,
    /// What is to be looked at: the socket, and the clients that are authenticating.
    watch: Watch,
    /// Those clients.
    lobby: Turn<Lobby>,
    /// What is told of clients.
    seen: Mutex<Seen>,
    /// Where it is.
    address: Address,
    /// The key, if clients need one.
    key: Option<AuthKey>,
    /// Its options.
    options: ConnectionOptions,
    /// Which process has it: what [`fork_guard::forks`] says there.
    owner: u32,
}

/// Clients that are authenticating, each under a number, which grows.
#[derive(Debug)]
struct Lobby {
    /// The clients.
    waiting: BTreeMap<u64, Waiting>,
    /// The number of the next.
    next: u64,
    /// When somebody last looked after them.
    left: Instant,
}

/// A client that is authenticating.
#[derive(Debug)]
struct Waiting {
    /// Its handshake.
    pending: Pending,
    /// Where it is.
    peer: Option<Address>,
    /// When its time is over.
    deadline: Instant,
}

/// What is told of clients.
#[derive(Debug, Default)]
struct Seen {
    /// The address of the last that was accepted.
    accepted: Option<Address>,
    /// How many were refused.
    refused: u64,
    /// Why the last of those was.
    refusal: Option<Error>,
}

/// The number of the socket among those that are looked at.
const SOCKET: u64 = 0;
/// How many clients are let in before those that are in are looked after.
const AT_ONCE: usize = 16;

impl Listener {
    /// Listens at an address; without one at a path in a folder of its own, which only
    /// this user can look into; if this process is killed, the folder stays until this user's
    /// next program makes one. At port 0 the system chooses a free one:
    /// [`address`](Self::address) tells.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if somebody listens there, or the path is something else than
    /// a socket; [`ErrorKind::InvalidInput`] if the path is too long, or the options do
    /// not fit the address.
    pub fn bind(address: impl Into<Option<Address>>, options: &ConnectionOptions) -> Result<Self> {
        let address = address.into();
        let key = options.key_for(address.as_ref().is_some_and(Address::is_tcp))?;
        // Should it fail below: the last is dropped first.
        let (address, socket, path) = match address {
            None => {
                let (path, socket) = SocketPath::private(options)?;
                (Address::unix(path.path()), socket, Some(path))
            }
            Some(Address::Unix(path)) => {
                let (path, socket) = SocketPath::bind(&path, options)?;
                (Address::unix(path.path()), socket, Some(path))
            }
            Some(Address::Tcp { host, port }) => {
                let (address, socket) = bind_tcp(&host, port, options)?;
                (address, socket, None)
            }
        };
        let watching = |error| Error::io(error, "making a listener");
        let watch = Watch::new().map_err(watching)?;
        watch.add(socket.as_fd(), SOCKET).map_err(watching)?;
        let lobby = Lobby { waiting: BTreeMap::new(), next: SOCKET + 1, left: Instant::now() };
        Ok(Self {
            _path: path,
            socket,
            watch,
            lobby: Turn::new(lobby),
            seen: Mutex::default(),
            address,
            key,
            options: options.clone(),
            owner: fork_guard::forks(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a client that knows the key. Many clients may be proving that at once,
    /// and a silent or slow one keeps none from being accepted. One that fails is refused,
    /// and the wait goes on, where Python's `accept` raises an error: anybody could end
    /// a server's loop with it. [`refused`](Self::refused) counts them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if this process has no free file descriptor: the clients wait,
    /// and a call accepts them when some are free again.
    pub fn accept<S, R>(&self) -> Result<Connection<S, R>> {
        loop {
            if let Some(connection) = self.accept_until(Wait::Forever)? {
                return Ok(connection);
            }
        }
    }

    /// As [`accept`](Self::accept), for at most `timeout`; `None` if no client was accepted
    /// in time. Those that are authenticating go on with it in the next call.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn accept_timeout<S, R>(&self, timeout: Duration) -> Result<Option<Connection<S, R>>> {
        self.accept_until(Wait::of(timeout))
    }

    /// The address of the client that was accepted last, if it has one: those of unix
    /// sockets have none.
    #[must_use]
    pub fn last_accepted(&self) -> Option<Address> {
        self.seen(|seen| seen.accepted.clone())
    }

    /// How many clients were refused: they did not know the key, were too slow, or too
    /// many at once.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.seen(|seen| seen.refused)
    }

    /// Takes the reason for which the last client was refused.
    #[must_use]
    pub fn take_refusal(&self) -> Option<Error> {
        self.seen(|seen| seen.refusal.take())
    }

    /// Stops listening and removes the path. Dropping it does the same. Connections that
    /// were accepted go on.
    pub fn close(self) {
        drop(self);
    }

    /// Accepts until then.
    fn accept_until<S, R>(&self, wait: Wait) -> Result<Option<Connection<S, R>>> {
        if self.owner != fork_guard::forks() {
            return Err(Error::new(
                ErrorKind::NotOwner,
                "the listener belongs to the process of which this one is a fork",
            ));
        }
        let Some(mut lobby) = self.lobby.take(wait) else { return Ok(None) };
        lobby.come_back();
        let accepted = self.attend(&mut lobby, wait);
        lobby.left = Instant::now();
        accepted
    }

    /// Looks after clients until one is accepted, or until then.
    fn attend<S, R>(
        &self,
        lobby: &mut Taken<'_, Lobby>,
        wait: Wait,
    ) -> Result<Option<Connection<S, R>>> {
        loop {
            let first = lobby.waiting.first_key_value().map(|(_, waiting)| waiting.deadline);
            let until = [wait.deadline(), first].into_iter().flatten().min();
            let ready = self.watch.wait(AT_ONCE, until).map_err(waiting)?;
            for number in ready {
                let accepted = match number {
                    SOCKET => self.let_in(lobby)?,
                    number => self.go_on(lobby, number),
                };
                if let Some((pending, peer)) = accepted {
                    self.seen(|seen| seen.accepted = peer);
                    let stream =
                        pending.into_stream(self.options.limit).with_codec(self.options.codec);
                    return Ok(Some(Connection::from_stream(stream)));
                }
            }
            self.drop_late(lobby);
            // Also while more come in: they go on in the next call.
            if wait.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// Lets clients in, and challenges them; one that needs no handshake is accepted.
    fn let_in(&self, lobby: &mut Taken<'_, Lobby>) -> Result<Option<(Pending, Option<Address>)>> {
        for _ in 0..AT_ONCE {
            let socket = match stream::accept(self.socket.as_fd()) {
                Ok(Some(socket)) => socket,
                Ok(None) => break,
                Err(error) => {
                    let error = Error::io(error, "accepting a client");
                    if error.kind() == ErrorKind::Exhausted && self.drop_oldest(lobby) {
                        continue;
                    }
                    return Err(error);
                }
            };
            match self.greet(socket) {
                Ok((pending, peer)) if self.key.is_none() => return Ok(Some((pending, peer))),
                Ok((pending, peer)) => self.keep(lobby, pending, peer)?,
                Err(error) => self.refuse(error),
            }
        }
        Ok(None)
    }

    /// Begins with a client.
    fn greet(&self, socket: PrivateFd) -> Result<(Pending, Option<Address>)> {
        let looking = |error| Error::io(error, "looking at a client");
        let peer = match self.address {
            Address::Unix(_) => {
                check_user(socket.as_fd(), &self.options)?;
                None
            }
            Address::Tcp { .. } => {
                tcp::tune(socket.as_fd(), self.options.silence).map_err(looking)?;
                Some(stream::remote(socket.as_fd()).map_err(looking)?.into())
            }
        };
        let mut pending = Pending::new(socket);
        if let Some(key) = &self.key {
            let mut first = Vec::new();
            let (legacy, encrypted) =
                (self.options.legacy, self.options.encrypts(self.address.is_tcp()));
            let handshake = Handshake::begin(Role::Listener, key, legacy, encrypted, &mut first)?;
            pending.begin(handshake, &first)?;
        }
        Ok((pending, peer))
    }

    /// Keeps a client until it has authenticated.
    fn keep(
        &self,
        lobby: &mut Taken<'_, Lobby>,
        pending: Pending,
        peer: Option<Address>,
    ) -> Result<()> {
        if lobby.waiting.len() >= self.options.pending {
            self.drop_oldest(lobby);
        }
        let number = lobby.next;
        self.watch.add(pending.as_fd(), number).map_err(waiting)?;
        lobby.next += 1;
        let deadline = Instant::now() + self.options.deadline;
        lobby.waiting.insert(number, Waiting { pending, peer, deadline });
        Ok(())
    }

    /// Goes on with a client's handshake; gives it out when it is over.
    fn go_on(
        &self,
        lobby: &mut Taken<'_, Lobby>,
        number: u64,
    ) -> Option<(Pending, Option<Address>)> {
        let waiting = lobby.waiting.get_mut(&number)?;
        let result = waiting.pending.go_on(Wait::Until(Instant::now()));
        if matches!(result, Ok(false)) {
            return None;
        }
        let waiting = self.remove(lobby, number)?;
        match result {
            Ok(_) => Some((waiting.pending, waiting.peer)),
            Err(error) => {
                self.refuse(error);
                None
            }
        }
    }

    /// Drops clients whose time is over.
    fn drop_late(&self, lobby: &mut Taken<'_, Lobby>) {
        let now = Instant::now();
        while let Some((&number, waiting)) = lobby.waiting.first_key_value()
            && waiting.deadline <= now
        {
            self.remove(lobby, number);
            self.refuse(refuse("it has not authenticated in time"));
        }
    }

    /// Drops the client that has been authenticating for longest; `false` if there is none.
    fn drop_oldest(&self, lobby: &mut Taken<'_, Lobby>) -> bool {
        let Some((&number, _)) = lobby.waiting.first_key_value() else { return false };
        self.remove(lobby, number);
        self.refuse(refuse("too many clients were authenticating at once"));
        true
    }

    /// Takes a client out.
    fn remove(&self, lobby: &mut Taken<'_, Lobby>, number: u64) -> Option<Waiting> {
        let waiting = lobby.waiting.remove(&number)?;
        // What the kernel does not know any more needs no removal.
        let _ = self.watch.remove(waiting.pending.as_fd());
        Some(waiting)
    }

    /// Takes down that a client was refused.
    fn refuse(&self, error: Error) {
        log::event(LogLevel::Warning, format_args!("the listener at {}: {error}", self.address));
        self.seen(|seen| {
            seen.refused += 1;
            seen.refusal = Some(error);
        });
    }

    /// Looks at what is told of clients.
    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ready when [`Listener::accept_timeout`] has something to do, which need not end with
/// a client.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Lobby {
    /// Gives all clients the time for which nobody has looked after them.
    fn come_back(&mut self) {
        let away = self.left.elapsed();
        for waiting in self.waiting.values_mut() {
            waiting.deadline += away;
        }
    }
}

/// Listens at a TCP port.
fn bind_tcp(host: &str, port: u16, options: &ConnectionOptions) -> Result<(Address, PrivateFd)> {
    let binding = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::InUse, format!("somebody listens at {host}:{port}"))
        }
        _ => Error::io(error, format!("listening at {host}:{port}")),
    };
    let place = *resolve(host, port)?.first().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no machine of the name `{host}`"))
    })?;
    let socket = stream::bind(Place::Tcp(place)).map_err(binding)?;
    stream::listen(socket.as_fd(), options.backlog).map_err(binding)?;
    let local = stream::local(socket.as_fd()).map_err(binding)?;
    Ok((local.into(), socket))
}

/// What the system said about waiting.
fn waiting(error: std::io::Error) -> Error {
    Error::io(error, "waiting for clients")
}
