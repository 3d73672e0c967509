//! Objects of a manager of Python's, with types.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{PythonObject, error};
use super::raised::Raised;
use crate::wire::pickle::Object;
use crate::{Plain, Result};

/// Makes the proxy of a type of Python's.
macro_rules! proxy {
    ($(#[$attribute:meta])* $name:ident $(<$($type:ident),+>)?) => {
        $(#[$attribute])*
        pub struct $name $(<$($type),+>)? {
            /// The object.
            object: PythonObject,
            /// The types of its values.
            types: PhantomData<fn() -> ($($($type,)+)?)>,
        }

        /// An object that is of this type, which nobody checks.
        impl $(<$($type),+>)? From<PythonObject> for $name $(<$($type),+>)? {
            fn from(object: PythonObject) -> Self {
                Self { object, types: PhantomData }
            }
        }

        impl $(<$($type),+>)? fmt::Debug for $name $(<$($type),+>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.object).finish()
            }
        }
    };
}

proxy! {
    /// A dict in a manager of Python's.
    ///
    /// Calls block until the manager answers, and fail as [`PythonObject::call`] does; what is
    /// no plain data there is an error.
    PythonDict<K, V>
}

proxy! {
    /// A list in a manager of Python's; its calls are as those of [`PythonDict`].
    PythonList<T>
}

proxy! {
    /// A queue in a manager of Python's; its calls are as those of [`PythonDict`].
    ///
    /// An item that was on its way to a process which is killed is lost: the manager is
    /// Python's. So is one that is no `T`, for it has left the queue.
    PythonQueue<T>
}

proxy! {
    /// A lock in a manager of Python's. A process that is killed with it leaves it locked:
    /// the manager is Python's.
    PythonLock
}

proxy! {
    /// Values by names in a manager of Python's; its calls are as those of [`PythonDict`].
    PythonNamespace
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> PythonDict<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let answer = ask(&self.object, "__getitem__", vec![Plain::from_value(key)?]);
        unless(answer, "KeyError")
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn insert(&self, key: &K, value: &V) -> Result<()> {
        let pair = [Plain::from_value(key)?, Plain::from_value(value)?];
        self.object.call("__setitem__", &pair)
    }

    /// Takes the value of a key out.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    #[doc(alias = "pop")]
    pub fn remove(&self, key: &K) -> Result<Option<V>> {
        unless(ask(&self.object, "pop", vec![Plain::from_value(key)?]), "KeyError")
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn contains_key(&self, key: &K) -> Result<bool> {
        self.object.call("__contains__", &[Plain::from_value(key)?])
    }

    /// The number of pairs.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn len(&self) -> Result<usize> {
        self.object.call("__len__", &[])
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The pairs, at one moment.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn items(&self) -> Result<Vec<(K, V)>> {
        self.object.call("items", &[])
    }
}

impl<T: Serialize + DeserializeOwned> PythonList<T> {
    /// The item at a place, from 0 on.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn get(&self, place: usize) -> Result<Option<T>> {
        unless(ask(&self.object, "__getitem__", vec![Plain::from_value(&place)?]), "IndexError")
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`]; there must be such a place.
    pub fn set(&self, place: usize, item: &T) -> Result<()> {
        self.object.call("__setitem__", &[Plain::from_value(&place)?, Plain::from_value(item)?])
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    #[doc(alias = "append")]
    pub fn push(&self, item: &T) -> Result<()> {
        self.object.call("append", &[Plain::from_value(item)?])
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn pop(&self) -> Result<Option<T>> {
        unless(ask(&self.object, "pop", Vec::new()), "IndexError")
    }

    /// The number of items.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn len(&self) -> Result<usize> {
        self.object.call("__len__", &[])
    }

    /// Whether there is no item.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The items, at one moment.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn items(&self) -> Result<Vec<T>> {
        let all = Object::Slice([Plain::None, Plain::None, Plain::None]);
        let items = self.object.ask("__getitem__", Object::Tuple(vec![all]), None);
        items.map_err(error)?.to_value()
    }
}

impl<T: Serialize + DeserializeOwned> PythonQueue<T> {
    /// Puts an item in. Waits while there is no room.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn put(&self, item: &T) -> Result<()> {
        self.object.call("put", &[Plain::from_value(item)?])
    }

    /// As [`put`](Self::put), for at most `timeout`; `false` if there was no room.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<bool> {
        let arguments = vec![Plain::from_value(item)?, true.into(), seconds(timeout, ().into())];
        let put = ask_within(&self.object, "put", arguments, timeout);
        Ok(unless::<()>(put, "Full")?.is_some())
    }

    /// Puts an item in if there is room; `false` if there is none.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn try_put(&self, item: &T) -> Result<bool> {
        self.put_timeout(item, Duration::ZERO)
    }

    /// Takes the first item. Waits until there is one.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn get(&self) -> Result<T> {
        self.object.call("get", &[])
    }

    /// As [`get`](Self::get), for at most `timeout`; `None` if nothing came.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`]; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if the
    /// manager has not answered for the options'
    /// [`deadline`](crate::ConnectionOptions::deadline) after that, as one that is stopped.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        let arguments = vec![true.into(), seconds(timeout, ().into())];
        unless(ask_within(&self.object, "get", arguments, timeout), "Empty")
    }

    /// Takes the first item if there is one.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn try_get(&self) -> Result<Option<T>> {
        self.get_timeout(Duration::ZERO)
    }

    /// The number of items, at this moment.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        self.object.call("qsize", &[])
    }

    /// Whether there is no item, at this moment.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl PythonLock {
    /// Acquires the lock; waits while another holds it.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn acquire(&self) -> Result<()> {
        while !self.object.call::<bool>("acquire", &[])? {}
        Ok(())
    }

    /// As [`acquire`](Self::acquire), for at most `timeout`; `false` if another held it all
    /// the time.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<bool> {
        let arguments = vec![true.into(), seconds(timeout, (-1.0).into())];
        ask_within(&self.object, "acquire", arguments, timeout).map_err(error)?.to_value()
    }

    /// Acquires the lock if nobody holds it; `false` if another does.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn try_acquire(&self) -> Result<bool> {
        let arguments = vec![false.into()];
        ask_within(&self.object, "acquire", arguments, Duration::ZERO).map_err(error)?.to_value()
    }

    /// Releases the lock, whoever holds it.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`]; somebody must hold it.
    pub fn release(&self) -> Result<()> {
        self.object.call("release", &[])
    }
}

impl PythonNamespace {
    /// The value of a name, if there is one.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        unless(ask(&self.object, "__getattribute__", vec![name.into()]), "AttributeError")
    }

    /// Sets the value of a name.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.object.call("__setattr__", &[name.into(), Plain::from_value(value)?])
    }

    /// Takes the value of a name out; `false` if there was none.
    ///
    /// # Errors
    ///
    /// As [`PythonObject::call`].
    pub fn remove(&self, name: &str) -> Result<bool> {
        let removed = ask(&self.object, "__delattr__", vec![name.into()]);
        Ok(unless::<()>(removed, "AttributeError")?.is_some())
    }
}

/// Calls a method.
fn ask(object: &PythonObject, method: &str, arguments: Vec<Plain>) -> Result<Plain, Raised> {
    object.ask(method, Object::Plain(Plain::Tuple(arguments)), None)
}

/// Calls a method that waits for at most this time.
fn ask_within(
    object: &PythonObject,
    method: &str,
    arguments: Vec<Plain>,
    time: Duration,
) -> Result<Plain, Raised> {
    object.ask(method, Object::Plain(Plain::Tuple(arguments)), Some(time))
}

/// A time as Python has it, or what stands there for ever, which some centuries are: Python
/// refuses them.
fn seconds(time: Duration, forever: Plain) -> Plain {
    const LONGEST: Duration = Duration::from_secs(1 << 32);
    if time < LONGEST { time.as_secs_f64().into() } else { forever }
}

/// What a call has answered; `None` if it raised an exception of this name.
fn unless<T: DeserializeOwned>(answer: Result<Plain, Raised>, name: &str) -> Result<Option<T>> {
    match answer {
        Ok(value) => value.to_value().map(Some),
        Err(Raised::Exception(exception)) if exception.class.name == name => Ok(None),
        Err(raised) => Err(error(raised)),
    }
}
