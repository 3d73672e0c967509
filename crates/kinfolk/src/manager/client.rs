//! A client process's side: one session with a manager, and its connections.
//!
//! A call takes a connection that nobody uses, or makes one: so there are as many as there
//! were calls at the same time, whatever the number of threads. All are of one session, which
//! refers to the objects; it ends with the last of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::Link;
use super::protocol::{self, Hello, LONGEST_NAME, MAGIC, Request, SessionKey, Welcome};
use crate::sys::fork_guard;
use crate::sys::per_process::PerProcess;
use crate::wire::codec;
use crate::wire::frame::Wait;
use crate::{Address, ConnectionOptions, Error, ErrorKind, Result, process};

/// The sessions of this process, by the addresses of their managers.
static SESSIONS: PerProcess<HashMap<Address, Weak<Client>>> = PerProcess::new(HashMap::new);

/// The most bytes that an object takes in the message which releases it, rounded up so that
/// the rest of the message has room.
const LONGEST_NUMBER: usize = 16;

/// A session with a manager.
pub(super) struct Client {
    /// Where the manager is.
    address: Address,
    /// How to connect.
    options: ConnectionOptions,
    /// Which manager it is: a number that no other has.
    server: u64,
    /// What other connections join the session with.
    session: SessionKey,
    /// The longest message that the manager takes, in bytes.
    largest: usize,
    /// The process whose session it is.
    owner: u32,
    /// The connections that nobody uses.
    idle: Mutex<Idle>,
    /// A connection for letting go of what this process holds, which others may wait for: the
    /// process may have no other, nor get one.
    spare: Mutex<Option<Link>>,
    /// Whether the session has ended. Set once, by who finds it so; private to the process, so
    /// a kill leaves nothing.
    over: AtomicBool,
}

/// What is there for the next call.
#[derive(Default)]
struct Idle {
    /// The connections.
    links: Vec<Link>,
    /// Objects that this process has no more use for, to be told to the manager.
    released: Vec<u64>,
}

impl Client {
    /// Begins a session, under which this process finds it by the address.
    pub(super) fn connect(address: Address, options: ConnectionOptions) -> Result<Arc<Self>> {
        let (link, welcome) = open(&address, &options, None)?;
        let client = Arc::new(Self {
            server: welcome.server,
            session: welcome.session,
            largest: usize::try_from(welcome.largest).unwrap_or(usize::MAX),
            owner: fork_guard::process_id(),
            idle: Mutex::new(Idle { links: vec![link], released: Vec::new() }),
            spare: Mutex::default(),
            over: AtomicBool::new(false),
            address,
            options,
        });
        let mut sessions = SESSIONS.lock();
        sessions.retain(|_, client| client.strong_count() > 0);
        sessions.insert(client.address.clone(), Arc::downgrade(&client));
        Ok(client)
    }

    /// The session of this process with the manager at an address, which is made with the
    /// process's key if there is none.
    pub(super) fn at(address: &Address) -> Result<Arc<Self>> {
        let known = SESSIONS.lock().get(address).and_then(Weak::upgrade);
        match known {
            Some(client) if !client.over.load(Ordering::Relaxed) => Ok(client),
            _ => Self::connect(address.clone(), ConnectionOptions::new()),
        }
    }

    /// Another connection of the session, for its own use.
    pub(super) fn another(&self) -> Result<Link> {
        Ok(open(&self.address, &self.options, Some(self.session))?.0)
    }

    /// Where the manager is.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Which manager it is.
    pub(super) fn server(&self) -> u64 {
        self.server
    }

    /// Whether the manager is another one than that of this number.
    pub(super) fn check_server(&self, server: u64) -> Result<()> {
        if self.server == server {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "the manager that had the object has ended; another one is at {}",
                self.address
            ),
        ))
    }

    /// Asks for something, and gets an answer.
    pub(super) fn ask<R: DeserializeOwned>(&self, request: &Request<'_>) -> Result<R> {
        self.ask_with(request, &())
    }

    /// Calls a method of an object.
    ///
    /// # Errors
    ///
    /// What the manager says, and [`ErrorKind::Disconnected`] if it is gone: nothing is known
    /// then of what became of the request.
    pub(super) fn call<A: Serialize, R: DeserializeOwned>(
        &self,
        object: u64,
        method: u32,
        arguments: &A,
    ) -> Result<R> {
        let request = Request::Call { object };
        let write = |message: &mut Vec<u8>| {
            codec::append_own(&method, message)?;
            codec::append(arguments, message)
        };
        self.exchange(&request, write, codec::decode_plain)
    }

    /// Has an object made of a user's class.
    pub(super) fn create<A: Serialize>(&self, request: &Request<'_>, arguments: &A) -> Result<u64> {
        let write = |message: &mut Vec<u8>| codec::append(arguments, message);
        self.exchange(request, write, |answer| codec::decode_own(answer))
    }

    /// Asks for something with arguments, if there are no file descriptors in these and the
    /// answer, by their types.
    pub(super) fn ask_with<A: Serialize, R: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        arguments: &A,
    ) -> Result<R> {
        let write = |message: &mut Vec<u8>| codec::append_own(arguments, message);
        self.exchange(request, write, |answer| codec::decode_own(answer))
    }

    /// Asks for something to hold, when there is what it can be let go of by.
    pub(super) fn ask_to_hold<A: Serialize, R: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        arguments: &A,
    ) -> Result<R> {
        self.check_owner()?;
        let mut spare = self.spare();
        if spare.is_none() {
            *spare = Some(self.another()?);
        }
        drop(spare);
        self.ask_with(request, arguments)
    }

    /// Lets go of something that is held.
    pub(super) fn let_go<A: Serialize>(&self, request: &Request<'_>, arguments: &A) -> Result<()> {
        // A fork's copy of a guard holds nothing.
        self.check_owner()?;
        let mut message = Vec::with_capacity(128);
        codec::append_own(request, &mut message)?;
        codec::append_own(arguments, &mut message)?;
        let mut spare = self.spare();
        if let Some(link) = &mut *spare
            && let Ok(answer) = link.send(&message).and_then(|()| link.recv(usize::MAX))
        {
            return protocol::read_answer(&answer).map(drop);
        }
        *spare = None;
        drop(spare);
        self.ask_with(request, arguments)
    }

    /// Checks that the manager takes a message.
    fn check_length(&self, message: &[u8]) -> Result<()> {
        if message.len() <= self.largest {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLong,
            format!(
                "the call has {} bytes, more than the manager's largest message, {}: send less at \
                 a time, or raise `ManagerBuilder::largest_message`",
                message.len(),
                self.largest
            ),
        ))
    }

    /// Sends a request, with what is written behind it, and receives the answer.
    fn exchange<R>(
        &self,
        request: &Request<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        // No connection is taken yet: a proxy among the arguments makes a call by itself.
        let mut message = Vec::with_capacity(128);
        codec::append_own(request, &mut message)?;
        write(&mut message)?;
        self.check_length(&message)?;
        let mut link = self.take()?;
        let answer = link.send(&message).and_then(|()| link.recv(usize::MAX));
        let answer = answer.map_err(|error| self.lost(&error))?;
        // Nor is it still taken here, for a proxy in the answer.
        self.put(link);
        read(protocol::read_answer(&answer)?)
    }

    /// Refuses what a fork does with its copy.
    fn check_owner(&self) -> Result<()> {
        if self.owner == fork_guard::process_id() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::NotOwner,
            format!(
                "the proxy belongs to process {}, of which this one is a fork: hand it over as an \
                 argument",
                self.owner
            ),
        ))
    }

    /// Takes a connection, or makes one.
    fn take(&self) -> Result<Link> {
        self.check_owner()?;
        if let Some(link) = self.lock().links.pop() {
            return Ok(link);
        }
        let opened = open(&self.address, &self.options, Some(self.session));
        let (link, _) = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Disconnected => self.lost(&error),
            _ => error,
        })?;
        Ok(link)
    }

    /// Puts a connection back, for others, after the manager was told what was released.
    fn put(&self, mut link: Link) {
        loop {
            let mut idle = self.lock();
            if idle.released.is_empty() {
                return idle.links.push(link);
            }
            let released = std::mem::take(&mut idle.released);
            drop(idle);
            for objects in released.chunks((self.largest / LONGEST_NUMBER).max(1)) {
                if !tell_released(&mut link, objects.to_vec()) {
                    return;
                }
            }
        }
    }

    /// This process has no more use for an object.
    pub(super) fn release(&self, object: u64) {
        // A fork's copy of a proxy was never a reference.
        if self.owner != fork_guard::process_id() {
            return;
        }
        let mut idle = self.lock();
        idle.released.push(object);
        // Without one, who has a connection now tells it afterwards.
        let Some(link) = idle.links.pop() else { return };
        drop(idle);
        self.put(link);
    }

    /// The manager is gone, or cannot be reached.
    fn lost(&self, error: &Error) -> Error {
        if matches!(error.kind(), ErrorKind::TooLong | ErrorKind::Exhausted) {
            return Error::new(error.kind(), error.to_string());
        }
        self.over.store(true, Ordering::Relaxed);
        let kind = ErrorKind::Disconnected;
        Error::new(kind, format!("the manager at {} is gone: {error}", self.address))
    }

    /// Locks the spare connection. Nothing panics while it is locked.
    fn spare(&self) -> MutexGuard<'_, Option<Link>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what is there for the next call. Nothing panics while it is locked.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the manager what this process has no more use for; whether the connection is still
/// good.
fn tell_released(link: &mut Link, objects: Vec<u64>) -> bool {
    let mut message = Vec::new();
    // Numbers can be encoded; with the connection the references end anyway.
    codec::append_own(&Request::Release { objects }, &mut message).is_ok()
        && link.send(&message).is_ok()
}

/// Opens a connection, and has the manager take it into a session.
fn open(
    address: &Address,
    options: &ConnectionOptions,
    session: Option<SessionKey>,
) -> Result<(Link, Welcome)> {
    let wait = Wait::of(options.deadline);
    let mut link = Link::new(crate::Client::connect(address.clone(), options)?)?;
    let mut name = process::current_name();
    let end = (0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(end.unwrap_or(0));
    let hello = Hello { session, pid: std::process::id(), name };
    let mut message = MAGIC.to_vec();
    codec::append_own(&hello, &mut message)?;
    link.send(&message)?;
    let answer = link.recv_within(1 << 16, wait)?.ok_or_else(|| {
        Error::new(ErrorKind::Timeout, format!("the manager at {address} does not answer"))
    })?;
    let welcome: Welcome = codec::decode_own(protocol::read_answer(&answer)?)?;
    if welcome.largest > options.limit as u64 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "results of the manager may have {} bytes, more than is received here, {}: raise \
                 `ConnectionOptions::max_message`",
                welcome.largest, options.limit
            ),
        ));
    }
    Ok((link, welcome))
}
