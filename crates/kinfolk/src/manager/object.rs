//! What a manager owns, and a call of it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, Session};
use super::protocol::{self, VALUE};
use super::proxy::Proxy;
use crate::process;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// A type that a manager can own: [`managed`](crate::managed) makes it one.
///
/// Each object is behind an `RwLock`: methods that take `&self` run at the same time, those
/// that take `&mut self` alone. If one panics, its caller gets an error of kind
/// [`ErrorKind::Panicked`], and the object goes on as the panic left it.
pub trait Managed: Send + Sync + Sized + 'static {
    /// The class's name.
    const NAME: &'static str;

    /// A number that differs when names or signatures of the methods do.
    #[doc(hidden)]
    const FINGERPRINT: u64;

    /// The proxy.
    type Proxy: Proxy;

    /// Calls the method that the call names.
    #[doc(hidden)]
    fn call(object: &RwLock<Self>, call: &mut Call<'_>) -> Result<()>;
}

/// A type of which clients can make objects: its [`managed`](crate::managed) block has a `new`.
pub trait Create: Managed {
    /// The arguments of `new`: nothing, a value, or a tuple of several.
    type Arguments: Serialize + DeserializeOwned;

    /// Makes an object.
    #[doc(hidden)]
    fn create(arguments: Self::Arguments) -> Result<Self>;
}

/// The error of a `new` that has failed.
#[doc(hidden)]
pub fn not_made(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the object was not made: {why}"))
}

/// An object of a server, of any class.
pub(crate) trait Object: Any + Send + Sync {
    /// The name of its class.
    fn class(&self) -> &'static str;

    /// What its class is like: a proxy's must be equal.
    fn fingerprint(&self) -> u64;

    /// Calls the method that the call names, and has the call answer.
    fn call(&self, call: &mut Call<'_>) -> Result<()>;

    /// A client has ended: what it holds of this object is given up.
    fn give_up(&self, _session: &Session) {}
}

/// An object of a user's class.
pub(super) struct Own<T>(pub(super) RwLock<T>);

impl<T: Managed> Object for Own<T> {
    fn class(&self) -> &'static str {
        T::NAME
    }

    fn fingerprint(&self) -> u64 {
        T::FINGERPRINT
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        T::call(&self.0, call)
    }
}

/// A call of a method, and its answer.
#[doc(hidden)]
pub struct Call<'a> {
    /// What is left of the request.
    rest: &'a [u8],
    /// The answer.
    answer: &'a mut Vec<u8>,
    /// Who calls.
    caller: &'a Arc<Caller>,
    /// What is called, and its number.
    object: (u64, &'a Arc<dyn Object>),
    /// Takes the call's effect back if its answer cannot be sent.
    undo: Option<Undo>,
}

/// Takes the effect of a call back.
pub(super) type Undo = Box<dyn FnOnce()>;

impl<'a> Call<'a> {
    /// A call, as it came.
    pub(super) fn new(
        rest: &'a [u8],
        answer: &'a mut Vec<u8>,
        caller: &'a Arc<Caller>,
        object: (u64, &'a Arc<dyn Object>),
    ) -> Self {
        Self { rest, answer, caller, object, undo: None }
    }

    /// The method's number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if there is none.
    pub fn method(&mut self) -> Result<u32> {
        protocol::take(&mut self.rest)
    }

    /// The arguments.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deserialize`] if they are of other types.
    pub fn arguments<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T> {
        codec::decode_plain(self.rest)
    }

    /// What the call asks, of a ready-made class.
    pub(super) fn borrowed<T: Deserialize<'a>>(&self) -> Result<T> {
        codec::decode_own(self.rest)
    }

    /// Calls a method that does not change the object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Panicked`] if it panics.
    pub fn look<T, R>(&self, object: &RwLock<T>, method: impl FnOnce(&T) -> R) -> Result<R> {
        caught(|| method(&object.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Calls a method that changes the object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Panicked`] if it panics.
    pub fn change<T, R>(&self, object: &RwLock<T>, method: impl FnOnce(&mut T) -> R) -> Result<R> {
        caught(|| method(&mut object.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Answers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Serialize`] if the result cannot travel.
    pub fn answer<T: Serialize>(&mut self, result: &T) -> Result<()> {
        self.answer.clear();
        self.answer.push(VALUE);
        codec::append(result, self.answer)
    }

    /// As [`answer`](Call::answer), of a ready-made class, whose values are plain.
    pub(super) fn answer_plainly<T: Serialize>(&mut self, result: &T) -> Result<()> {
        self.answer.clear();
        self.answer.push(VALUE);
        codec::append_own(result, self.answer)
    }

    /// The error for a method that there is not.
    #[must_use]
    pub fn unknown(&self) -> Error {
        let class = self.object.1.class();
        Error::new(ErrorKind::Protocol, format!("refused a call: {class} has no such method"))
    }

    /// Who calls.
    pub(super) fn caller(&self) -> &'a Arc<Caller> {
        self.caller
    }

    /// Notes that the caller may hold something of the object from now on.
    pub(super) fn note_holding(&self) {
        self.caller.session().note_holding(self.object.0, self.object.1);
    }

    /// Says how to take the call's effect back if its answer cannot be sent.
    pub(super) fn undo_by(&mut self, undo: impl FnOnce() + 'static) {
        self.undo = Some(Box::new(undo));
    }

    /// How to take the call's effect back.
    pub(super) fn into_undo(self) -> Option<Undo> {
        self.undo
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("class", &self.object.1.class()).finish_non_exhaustive()
    }
}

/// Calls `work`; a panic is an error.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    process::catch(work).map_err(|(message, location)| {
        let place = location.map(|place| format!(" at {place}")).unwrap_or_default();
        Error::new(ErrorKind::Panicked, format!("the method panicked{place}: {message}"))
    })
}
