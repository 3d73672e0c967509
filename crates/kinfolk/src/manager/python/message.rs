//! Requests and answers.

use crate::wire::pickle::{self, Exception, Object, Token};
use crate::{Error, ErrorKind, Plain, Result};

/// What a client asks.
#[derive(Debug)]
pub(super) struct Request {
    /// The object; `None` for the manager.
    pub(super) object: Option<String>,
    /// The method.
    pub(super) method: String,
    /// Its arguments.
    pub(super) args: Vec<Object>,
    /// Those with a name.
    pub(super) named: Plain,
}

/// What the manager answers.
#[derive(Debug)]
pub(super) enum Reply {
    /// What the method returned.
    Return(Object),
    /// What it raised.
    Error(Exception),
    /// A new object: its methods, and its name.
    Proxy(Vec<Plain>, Token),
    /// Why nothing was called.
    Traceback(String),
    /// Why the result cannot travel.
    Unserializable(String),
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if it is none, or with arguments that are not plain data.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let parts = pickle::read(bytes)?.into_items().unwrap_or_default();
        let [object, method, args, named] =
            <[Object; 4]>::try_from(parts).map_err(|_| strange("request"))?;
        Ok(Self {
            object: object.plain()?.to_value()?,
            method: method.plain()?.to_value()?,
            args: args.into_items().ok_or_else(|| strange("request"))?,
            named: named.plain()?,
        })
    }
}

impl Reply {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if it is none; [`ErrorKind::Deserialize`] if what is in it is
    /// not known here.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let parts = pickle::read(bytes)?.into_items().unwrap_or_default();
        let [kind, value] = <[Object; 2]>::try_from(parts).map_err(|_| strange("reply"))?;
        let kind = kind.plain()?.to_value::<String>()?;
        Ok(match (&*kind, value) {
            ("#RETURN", value) => Self::Return(value),
            ("#ERROR", Object::Exception(exception)) => Self::Error(exception),
            ("#PROXY", value) => match value.into_items().unwrap_or_default().pop() {
                // Its methods are known by its type.
                Some(Object::Token(token)) => Self::Proxy(Vec::new(), token),
                _ => return Err(strange("reply")),
            },
            ("#TRACEBACK", Object::Plain(Plain::Text(text))) => Self::Traceback(text),
            ("#UNSERIALIZABLE", Object::Plain(Plain::Text(text))) => Self::Unserializable(text),
            _ => return Err(strange("reply")),
        })
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`] if the value in it is too deep.
    pub(super) fn write(self) -> Result<Vec<u8>> {
        let text = |text: String| Object::Plain(text.into());
        let (kind, value) = match self {
            Self::Return(value) => ("#RETURN", value),
            Self::Error(exception) => ("#ERROR", Object::Exception(exception)),
            Self::Proxy(methods, token) => {
                let methods = Object::Plain(Plain::Tuple(methods));
                ("#PROXY", Object::Tuple(vec![methods, Object::Token(token)]))
            }
            Self::Traceback(why) => ("#TRACEBACK", text(why)),
            Self::Unserializable(why) => ("#UNSERIALIZABLE", text(why)),
        };
        pickle::write(&Object::Tuple(vec![text(kind.to_owned()), value]))
    }
}

/// The error for a message that is none of the protocol.
pub(super) fn strange(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("refused a {what}: it is not the manager's protocol"))
}
