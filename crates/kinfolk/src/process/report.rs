//! What a child tells its parent: that it began, and how its function ended.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};

use serde::{Deserialize, Serialize};

use super::status::{FAILED, PANICKED};
use crate::wire::codec::{self, Encoded};

/// The first message of a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Greeting {
    /// It has all it needs and calls the function.
    Started,
    /// It cannot begin, for this reason.
    Refused(String),
}

/// The last message of a child. The variants' order is the wire's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report<R> {
    /// The function returned.
    Returned(R),
    /// The function panicked.
    Panicked {
        /// What it said.
        message: String,
        /// `file:line:column`, where known.
        location: Option<String>,
    },
    /// The argument could not be deserialised.
    BadArgument(String),
    /// The result could not be serialised.
    BadResult(String),
}

/// The exit status that an encoded report goes with, by its variant alone.
pub(super) fn status_of(encoded: &[u8]) -> Option<i32> {
    match encoded.first()? {
        0 => Some(0),
        1 => Some(PANICKED),
        _ => Some(FAILED),
    }
}

thread_local! {
    /// Where the latest panic of this thread happened.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How it came there, if the environment asks for backtraces.
    static BACKTRACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers where panics happen, and lets the hook in place speak as before.
pub(super) fn watch_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        let _ = LOCATION.try_with(|location| *location.borrow_mut() = place);
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        let _ = BACKTRACE.try_with(|backtrace| *backtrace.borrow_mut() = trace);
        before(info);
    }));
}

/// The backtrace of the latest panic of this thread, once.
pub(crate) fn take_backtrace() -> Option<String> {
    BACKTRACE.try_with(RefCell::take).ok().flatten()
}

/// Calls `work`; a panic becomes its message and location.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, (String, Option<String>)> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => match payload.downcast::<&'static str>() {
                Ok(text) => (*text).to_owned(),
                Err(payload) => {
                    // Dropping it may panic, too.
                    std::mem::forget(payload);
                    "a panic without a message".to_owned()
                }
            },
        };
        (message, LOCATION.try_with(|location| location.borrow_mut().take()).ok().flatten())
    })
}

/// Decodes the argument, calls the function, encodes the report.
pub(super) fn make<A, R>(
    function: fn(A) -> R,
    argument: &[u8],
    handles: Vec<OwnedFd>,
) -> (Encoded, i32)
where
    A: for<'de> Deserialize<'de>,
    R: Serialize,
{
    match catch(|| codec::decode::<A>(argument, handles)) {
        Ok(Ok(argument)) => of(|| function(argument)),
        Ok(Err(error)) => plain(&Report::BadArgument(error.to_string())),
        Err((message, _)) => plain(&Report::BadArgument(format!("its type panicked: {message}"))),
    }
}

/// Calls `work` and encodes the report.
pub(super) fn of<R: Serialize>(work: impl FnOnce() -> R) -> (Encoded, i32) {
    let result = match catch(work) {
        Ok(result) => result,
        Err((message, location)) => return plain(&Report::Panicked { message, location }),
    };
    match catch(|| codec::encode(&Report::Returned(&result))) {
        Ok(Ok(encoded)) => (encoded, 0),
        Ok(Err(error)) => plain(&Report::BadResult(error.to_string())),
        Err((message, _)) => plain(&Report::BadResult(format!("its type panicked: {message}"))),
    }
}

/// Encodes a report that carries text only.
fn plain(report: &Report<()>) -> (Encoded, i32) {
    let encoded = codec::encode(report).unwrap_or_default();
    let status = status_of(&encoded.bytes).unwrap_or(FAILED);
    (encoded, status)
}
