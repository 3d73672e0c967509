//! A server's side of one connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::caller::Caller;
use super::link::Link;
use super::object::{Call, Undo, caught};
use super::objects::pool::WorkerPool;
use super::objects::ready::Ready;
use super::protocol::{self, Hello, LONGEST_HELLO, MAGIC, Request, SessionKey, VALUE, Welcome};
use super::server::Shared;
use super::statistics::Statistics;
use crate::log::{self, LogLevel};
use crate::wire::codec;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// The largest buffer that a connection keeps, in bytes.
const KEPT: usize = 64 << 10;

/// Serves a connection until its client or the server ends.
/// One that may not stay, because there are too many, is told so.
pub(super) fn serve(shared: &Arc<Shared>, number: u64, mut link: Link, may_stay: bool) {
    let mut answer = Vec::new();
    // Python's first message may be a call that makes an object, with all that goes into it.
    let longest = if cfg!(feature = "pickle") { shared.limits.message } else { LONGEST_HELLO };
    let first = link.recv_within(longest, Wait::of(shared.limits.hello));
    let first = first.and_then(|message| {
        message.ok_or_else(|| {
            Error::new(ErrorKind::Timeout, "a client is refused: it has not said in time who it is")
        })
    });
    #[cfg(feature = "pickle")]
    if let Ok(message) = &first
        && super::python::is_request(message)
    {
        let error = (!may_stay).then(|| too_many(shared.limits.connections));
        return super::python::serve(shared, number, link, message, error);
    }
    let welcomed = match first.and_then(|message| hello(&message)) {
        Ok(_) if !may_stay => Err(too_many(shared.limits.connections)),
        Ok(hello) => shared.table.join(hello),
        Err(error) if error.is_disconnected() => return,
        Err(error) => Err(error),
    };
    let (session, key) = match welcomed {
        Ok(joined) => joined,
        Err(error) => {
            protocol::write_error(&error, &mut answer);
            // It is gone, or is no client: nothing else can be told it.
            let _ = link.send(&answer);
            return;
        }
    };
    log::event(LogLevel::Debug, format_args!("client {number} is {session:?}"));
    let caller = Arc::new(Caller::new(session, number, link.plug()));
    let ended = shared.hangups.enter(&caller).and_then(|()| {
        // Looked at afterwards: whoever ends the server sees the connection, or this its end.
        if shared.is_ending() {
            return Ok(());
        }
        welcome(shared, &mut link, key, &mut answer)?;
        answer_all(shared, &caller, &mut link, &mut answer)
    });
    if let Err(error) = ended
        && !error.is_disconnected()
    {
        log::event(LogLevel::Warning, format_args!("client {number} was cut off: {error}"));
    }
    // What it holds is released before it can learn that the connection has ended.
    drop(caller.leave(&shared.table));
    shared.hangups.exit(&caller);
}

/// Reads who the client is.
fn hello(message: &[u8]) -> Result<Hello> {
    let whole = message.strip_prefix(MAGIC).filter(|_| message.len() <= LONGEST_HELLO);
    let Some(mut hello) = whole else {
        return Err(Error::new(
            ErrorKind::Protocol,
            "a client is refused: it does not speak this version of the manager's protocol",
        ));
    };
    protocol::take(&mut hello)
}

/// Tells the client its session.
fn welcome(
    shared: &Shared,
    link: &mut Link,
    session: SessionKey,
    answer: &mut Vec<u8>,
) -> Result<()> {
    let largest = shared.limits.message as u64;
    answer.push(VALUE);
    codec::append_own(&Welcome { server: shared.number, session, largest }, answer)?;
    link.send(answer)
}

/// Answers request after request.
fn answer_all(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    link: &mut Link,
    answer: &mut Vec<u8>,
) -> Result<()> {
    loop {
        let message = match link.recv(shared.limits.message) {
            Ok(message) => message,
            Err(error) if error.kind() == ErrorKind::TooLong => {
                // What it sent is not read, so it can be told but not served any more.
                protocol::write_error(&error, answer);
                let _ = link.send(answer);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let mut rest = &message[..];
        let request = protocol::take(&mut rest)?;
        answer.clear();
        let undo = match request {
            Request::Call { object } => call(shared, caller, object, rest, answer),
            Request::Release { objects } => {
                shared.table.release(caller.session(), &objects);
                continue;
            }
            Request::Shutdown => {
                answer.push(VALUE);
                let told = link.send(answer);
                shared.end();
                return told;
            }
            request => {
                if let Err(error) = control(shared, caller, &request, rest, answer) {
                    protocol::write_error(&error, answer);
                }
                None
            }
        };
        let sent = if caller.is_gone() {
            Err(Error::new(ErrorKind::Disconnected, "the client is gone"))
        } else {
            link.send(answer)
        };
        if let Err(error) = sent {
            if let Some(undo) = undo {
                undo();
            }
            return Err(error);
        }
        answer.shrink_to(KEPT);
        link.reuse(message);
    }
}

/// Calls a method; returns how to take its effect back.
fn call(
    shared: &Shared,
    caller: &Arc<Caller>,
    number: u64,
    rest: &[u8],
    answer: &mut Vec<u8>,
) -> Option<Undo> {
    shared.calls.fetch_add(1, Ordering::Relaxed);
    let called = shared.table.object(number).map(|object| {
        let mut call = Call::new(rest, answer, caller, (number, &object));
        let answered = caught(|| object.call(&mut call)).and_then(|answered| answered);
        (call.into_undo(), answered)
    });
    shared.calls.fetch_sub(1, Ordering::Relaxed);
    let (undo, answered) = match called {
        Ok(called) => called,
        Err(error) => (None, Err(error)),
    };
    let longest = shared.limits.message;
    let fits = answered.and_then(|()| {
        if answer.len() <= longest {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLong,
            format!(
                "the result has {} bytes, more than the manager's largest message, {longest}: ask \
                 for less at a time, or raise `ManagerBuilder::largest_message`",
                answer.len()
            ),
        ))
    });
    match fits {
        Ok(()) => undo,
        Err(error) => {
            // An error is no result: nothing was given to the caller.
            if let Some(undo) = undo {
                undo();
            }
            protocol::write_error(&error, answer);
            None
        }
    }
}

/// Does what concerns no object's methods.
fn control(
    shared: &Shared,
    caller: &Caller,
    request: &Request<'_>,
    rest: &[u8],
    answer: &mut Vec<u8>,
) -> Result<()> {
    let (table, session) = (&shared.table, caller.session());
    let number = match *request {
        Request::Create { class: WorkerPool::CLASS, .. } if !shared.limits.pools => {
            return Err(no_pools());
        }
        Request::Create { class, fingerprint } => {
            let made = caught(|| shared.classes.make(class, fingerprint, rest));
            table.insert(session, made.and_then(|made| made)?)?
        }
        Request::Acquire { object, fingerprint, ticket } => {
            table.acquire(session, object, fingerprint, ticket)?;
            object
        }
        Request::Pass { object } => table.pass(session, object)?,
        Request::Register { name, object } => {
            table.register(name, object)?;
            object
        }
        Request::Unregister { name } => {
            table.unregister(name)?;
            0
        }
        Request::Get { name, fingerprint } => table.get(session, name, fingerprint)?,
        Request::Statistics => {
            answer.push(VALUE);
            let calls = shared.calls.load(Ordering::Relaxed);
            return codec::append_own(&Statistics { calls, ..table.statistics() }, answer);
        }
        Request::Call { .. } | Request::Release { .. } | Request::Shutdown => 0,
    };
    answer.push(VALUE);
    codec::append_own(&number, answer)
}

/// The error of a client that wants a pool where there may be none.
fn no_pools() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the manager has no pools, whose clients are trusted to name any function of the program: \
         allow them by `ManagerBuilder::pools` where the manager is started",
    )
}

/// The error of a client that is one too many.
fn too_many(most: usize) -> Error {
    Error::new(
        ErrorKind::Exhausted,
        format!(
            "the manager has {most} connections, the most it may have: raise the limit by \
             `ManagerBuilder::max_connections`"
        ),
    )
}
