//! What a method raises.

use crate::wire::pickle::{Class, Exception};
use crate::{Error, ErrorKind, Plain};

/// Why a method has no result.
#[derive(Debug)]
pub(super) enum Raised {
    /// As the reference's own method raises it.
    Exception(Exception),
    /// There is no such method.
    NoMethod,
    /// The call has failed.
    Failed(Error),
}

impl Raised {
    /// A builtin exception without arguments but these.
    pub(super) fn new(name: &'static str, args: Vec<Plain>) -> Self {
        Self::Exception(Exception { class: Class { module: "builtins", name }, args })
    }

    /// A builtin exception that says this.
    pub(super) fn saying(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(name, vec![Plain::Text(message.into())])
    }

    /// A `TypeError`.
    pub(super) fn type_error(message: impl Into<String>) -> Self {
        Self::saying("TypeError", message)
    }

    /// `queue.Empty` or `queue.Full`.
    pub(super) fn queue(name: &'static str) -> Self {
        Self::Exception(Exception { class: Class { module: "queue", name }, args: Vec::new() })
    }
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        match error.kind() {
            // A list as a key.
            ErrorKind::InvalidInput => Self::type_error(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}
