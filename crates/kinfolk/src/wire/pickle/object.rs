//! What a pickle is of.

use std::fmt;

use super::globals::Class;
use crate::wire::plain::Plain;
use crate::{Error, ErrorKind, Result};

/// What a pickle of the manager's protocol is of: plain data, and the few objects that
/// the protocol has beside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Object {
    /// Plain data.
    Plain(Plain),
    /// A tuple with something in it that is not plain.
    Tuple(Vec<Object>),
    /// An exception.
    Exception(Exception),
    /// The name of a manager's object.
    Token(Token),
    /// A part of a list: its start, stop and step.
    Slice([Plain; 3]),
}

/// An exception, by its class and arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exception {
    /// Its class.
    pub(crate) class: Class,
    /// What it was made with.
    pub(crate) args: Vec<Plain>,
}

/// The name of a manager's object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The name under which its type is registered.
    pub(crate) typeid: String,
    /// Where its manager listens.
    pub(crate) address: Plain,
    /// Its name in the manager.
    pub(crate) id: String,
}

impl Object {
    /// The items, if it is a tuple or a list.
    pub(crate) fn into_items(self) -> Option<Vec<Self>> {
        match self {
            Self::Tuple(items) => Some(items),
            Self::Plain(Plain::Tuple(items) | Plain::List(items)) => {
                Some(items.into_iter().map(Self::Plain).collect())
            }
            _ => None,
        }
    }

    /// The plain data that it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if it is not.
    pub(crate) fn plain(self) -> Result<Plain> {
        let what = match self {
            Self::Plain(plain) => return Ok(plain),
            Self::Tuple(items) => {
                return Ok(Plain::Tuple(
                    items.into_iter().map(Self::plain).collect::<Result<_>>()?,
                ));
            }
            Self::Exception(exception) => format!("a {}", exception.class.name),
            Self::Token(_) => "a manager's token".to_owned(),
            Self::Slice(_) => "a slice".to_owned(),
        };
        Err(wrong(&format!("it has {what} in it, which is not plain data")))
    }
}

/// As Python shows it.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.name)?;
        match &self.args[..] {
            [] => Ok(()),
            [Plain::Text(text)] if self.class.name != "KeyError" => write!(f, ": {text}"),
            [arg] => write!(f, ": {arg}"),
            args => write!(f, ": {}", Plain::Tuple(args.to_vec())),
        }
    }
}

/// The error for bytes that are not such a pickle.
pub(super) fn wrong(reason: &str) -> Error {
    Error::new(ErrorKind::Deserialize, format!("the pickle was refused: {reason}"))
}

/// A call that is not of plain data.
pub(super) fn no_call() -> Error {
    wrong("it makes an object in a way that plain data is not made")
}
