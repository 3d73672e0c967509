//! What a manager and its clients say to each other, after authentication.
//!
//! | message | bytes |
//! |---|---|
//! | a client's first | [`MAGIC`], a [`Hello`] |
//! | each other of a client | a [`Request`], and what belongs to it |
//! | an answer | [`VALUE`] and the value; [`ERROR`], its kind and its text |
//!
//! Values are postcard's. Each message of a client has one answer, in order, except
//! [`Request::Release`], which has none. Python's protocol begins with a pickle, which never
//! begins as [`MAGIC`] does.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// What a client begins with: the protocol's name and version.
pub(super) const MAGIC: &[u8] = b"kinfolk manager 1\n";

/// The longest message of a client before it is welcome, in bytes.
pub(super) const LONGEST_HELLO: usize = 1024;

/// The longest name of a client, in bytes: what is beyond is cut off.
pub(super) const LONGEST_NAME: usize = 256;

/// An answer: the value follows.
pub(super) const VALUE: u8 = 0;
/// An answer: an error's kind and text follow.
pub(super) const ERROR: u8 = 1;

/// Who a client is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The session that the connection belongs to; `None` for a new one.
    pub(super) session: Option<SessionKey>,
    /// The client's process id, for people.
    pub(super) pid: u32,
    /// The client's name or its beginning, for people.
    pub(super) name: String,
}

/// What a client is let in with: its connections are one session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct SessionKey {
    /// Which one.
    pub(super) number: u64,
    /// What only its client knows.
    pub(super) secret: [u8; 16],
}

/// The answer to a [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// A number that no other server has.
    pub(super) server: u64,
    /// The session.
    pub(super) session: SessionKey,
    /// The longest message that the server takes, in bytes.
    pub(super) largest: u64,
}

/// What a client asks for. The variants' order is the wire's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// A method of an object; its number and arguments follow.
    Call {
        /// The object.
        object: u64,
    },
    /// The client has no more use for these; no answer.
    Release {
        /// The objects, each as often as it is released.
        objects: Vec<u64>,
    },
    /// A new object; its arguments follow. The answer is its number.
    Create {
        /// The class.
        class: &'a str,
        /// What the client's class is like.
        fingerprint: u64,
    },
    /// A reference to an object that this client has not made.
    Acquire {
        /// The object.
        object: u64,
        /// What the client's class is like.
        fingerprint: u64,
        /// The ticket that it travelled with.
        ticket: u64,
    },
    /// An object begins to travel; the answer is a ticket, which keeps it.
    Pass {
        /// The object.
        object: u64,
    },
    /// Gives an object a name.
    Register {
        /// The name.
        name: &'a str,
        /// The object.
        object: u64,
    },
    /// Takes a name back.
    Unregister {
        /// The name.
        name: &'a str,
    },
    /// A reference to the object of a name. The answer is its number.
    Get {
        /// The name.
        name: &'a str,
        /// What the client's class is like.
        fingerprint: u64,
    },
    /// How much the server has: the answer is a `Statistics`.
    Statistics,
    /// The server is to end.
    Shutdown,
}

/// The kinds of errors, by their number on the wire.
const KINDS: [ErrorKind; 20] = [
    ErrorKind::System,
    ErrorKind::InvalidInput,
    ErrorKind::NotInitialised,
    ErrorKind::NotOwner,
    ErrorKind::StillRunning,
    ErrorKind::Disconnected,
    ErrorKind::Timeout,
    ErrorKind::Serialize,
    ErrorKind::Deserialize,
    ErrorKind::Protocol,
    ErrorKind::TooLong,
    ErrorKind::Panicked,
    ErrorKind::Died,
    ErrorKind::Cancelled,
    ErrorKind::Start,
    ErrorKind::Unavailable,
    ErrorKind::Exhausted,
    ErrorKind::NotFound,
    ErrorKind::InUse,
    ErrorKind::Authentication,
];

/// Makes `answer` the answer that says an error.
pub(super) fn write_error(error: &Error, answer: &mut Vec<u8>) {
    answer.clear();
    let kind = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(0);
    answer.extend([ERROR, kind as u8]);
    answer.extend(error.to_string().bytes());
}

/// The value in an answer, as bytes.
///
/// # Errors
///
/// The one that the answer says.
pub(super) fn read_answer(answer: &[u8]) -> Result<&[u8]> {
    match answer {
        [VALUE, value @ ..] => Ok(value),
        [ERROR, kind, text @ ..] => {
            let kind = KINDS.get(usize::from(*kind)).copied().unwrap_or(ErrorKind::System);
            Err(Error::new(kind, String::from_utf8_lossy(text)))
        }
        _ => Err(Error::new(ErrorKind::Protocol, "refused an answer: it is no manager's")),
    }
}

/// Takes a value off the beginning of `bytes`.
pub(super) fn take<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, rest)) => {
            *bytes = rest;
            Ok(value)
        }
        Err(error) => Err(Error::new(ErrorKind::Protocol, format!("refused a message: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{read_answer, write_error};
    use crate::{Error, ErrorKind};

    #[test]
    fn an_error_travels() {
        let mut answer = vec![7];
        write_error(&Error::new(ErrorKind::Panicked, "it panicked"), &mut answer);
        let error = read_answer(&answer).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Panicked, "it panicked".into()));
    }

    #[test]
    fn no_answer_is_an_error() {
        for hostile in [&[][..], &[2], &[1]] {
            assert_eq!(read_answer(hostile).unwrap_err().kind(), ErrorKind::Protocol);
        }
        assert_eq!(read_answer(&[1, 255]).unwrap_err().kind(), ErrorKind::System);
    }
}
