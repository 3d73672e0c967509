//! The one opaque error of the library.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// The result of the library's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in words for people and as a kind for programs.
///
/// `Display` names the process, path or operation concerned and says what can
/// be done; [`kind`](Error::kind) is for code that branches.
pub struct Error {
    /// The parts, boxed so that results stay small.
    inner: Box<Inner>,
}

/// The parts of an [`Error`].
struct Inner {
    /// What a program branches on.
    kind: ErrorKind,
    /// What a person reads.
    message: String,
    /// What the system said, where it was the system.
    source: Option<io::Error>,
}

/// The kinds of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation cannot be done as asked: the message says what to change.
    InvalidInput,
    /// [`init`](crate::init) was not called in this process.
    NotInitialised,
    /// The handle belongs to another process, of which this one is a fork.
    NotOwner,
    /// The process is still running.
    StillRunning,
    /// The other side is gone, and all that it sent has been received; over TCP, what it sent
    /// last may be lost.
    Disconnected,
    /// The other side died, or was cut off, in the middle of a message: the
    /// connection is closed, and that message is lost.
    Truncated,
    /// The other side did not prove that it knows the key, or may not connect.
    Authentication,
    /// The time given was not enough.
    Timeout,
    /// A value could not be serialised; nothing was sent.
    Serialize,
    /// What was received is not a value of the expected type.
    Deserialize,
    /// What was received breaks the protocol; it was refused.
    Protocol,
    /// A message is longer than the receiver allows.
    TooLong,
    /// The function in the child panicked.
    Panicked,
    /// A method of an object of Python's raised an exception.
    Raised,
    /// The child ended before its function returned.
    Died,
    /// The task was cancelled, or its pool ended, before it was done.
    Cancelled,
    /// The child could not be started, or never began its work.
    Start,
    /// The start method is not available now.
    Unavailable,
    /// The process has no more of a resource: file descriptors, memory.
    Exhausted,
    /// There is nothing of this name.
    NotFound,
    /// A living process uses the name.
    InUse,
    /// The system refused; the source says how.
    System,
}

impl Error {
    /// Returns an error of `kind` that reads `message`.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner { kind, message: message.into(), source: None };
        Self { inner: Box::new(inner) }
    }

    /// Returns what the system said about the operation that `context` names.
    pub(crate) fn io(source: io::Error, context: impl Into<String>) -> Self {
        let message = context.into();
        let (kind, hint) = match source.raw_os_error() {
            Some(libc::EMFILE) => (
                ErrorKind::Exhausted,
                ": this process has no free file descriptor; raise its limit (ulimit -n) or close some",
            ),
            Some(libc::ENFILE) => {
                (ErrorKind::Exhausted, ": the system has no free file descriptor")
            }
            Some(libc::ETOOMANYREFS) => (
                ErrorKind::Exhausted,
                ": too many file descriptors are under way between processes; receive some first",
            ),
            Some(libc::ENOMEM | libc::ENOSPC | libc::ENOBUFS) => {
                (ErrorKind::Exhausted, ": the system has no more memory for it")
            }
            Some(libc::EFBIG) => (
                ErrorKind::Exhausted,
                ": this process may not make files of this size; raise its limit (ulimit -f)",
            ),
            Some(libc::EAGAIN) => {
                (ErrorKind::Exhausted, ": a limit on processes or memory is reached")
            }
            Some(libc::EPIPE | libc::ECONNRESET) => {
                (ErrorKind::Disconnected, ": the other side is gone")
            }
            Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
                (ErrorKind::Disconnected, ": the other side cannot be reached")
            }
            _ => (ErrorKind::System, ""),
        };
        let inner = Inner { kind, message: format!("{message}{hint}"), source: Some(source) };
        Self { inner: Box::new(inner) }
    }

    /// What a program can branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether the time given was not enough.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether the other side is gone: of kind [`ErrorKind::Disconnected`].
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.kind() == ErrorKind::Disconnected
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, source } = &*self.inner;
        let mut out = f.debug_struct("Error");
        out.field("kind", kind).field("message", message);
        if let Some(source) = source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        match &self.inner.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| source as _)
    }
}
