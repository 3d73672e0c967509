//! The classes of which a server makes objects.
#![allow(unsafe_code)] // The place of a function in this program becomes the function again.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::object::{Create, Managed, Object, Own};
use super::objects;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result, process};

/// A class: how its objects are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// Its name.
    pub(super) name: &'static str,
    /// What its proxies are like.
    pub(super) fingerprint: u64,
    /// Makes an object of encoded arguments.
    pub(super) make: fn(&[u8]) -> Result<Arc<dyn Object>>,
}

/// Says what a class is: its place in the program names the class to another process.
type Describe = fn() -> Class;

/// The classes of a server, by their names.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    /// The ready-made ones, and the user's.
    known: HashMap<&'static str, Class>,
    /// Where the user's are described.
    described: Vec<Describe>,
}

impl Classes {
    /// The ready-made classes.
    pub(super) fn new() -> Self {
        let known = objects::CLASSES.iter().map(|class| (class.name, *class)).collect();
        Self { known, described: Vec::new() }
    }

    /// Adds a user's class.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InUse`] if another has its name.
    pub(super) fn add<T: Create>(&mut self) -> Result<()> {
        self.describe(describe::<T>)
    }

    /// Adds the class that a function describes.
    fn describe(&mut self, describe: Describe) -> Result<()> {
        let class = describe();
        if self.known.insert(class.name, class).is_some() {
            return Err(Error::new(
                ErrorKind::InUse,
                format!("a manager has one class of the name {}", class.name),
            ));
        }
        self.described.push(describe);
        Ok(())
    }

    /// The user's classes, for another process of this program.
    ///
    /// # Errors
    ///
    /// If a class is not in the program's main image.
    pub(super) fn places(&self) -> Result<Vec<u64>> {
        self.described.iter().map(|describe| process::offset(*describe as usize)).collect()
    }

    /// The classes that the parent of this process has named by [`places`](Classes::places).
    ///
    /// # Errors
    ///
    /// If they are none of this program.
    pub(super) fn at(places: &[u64]) -> Result<Self> {
        let mut classes = Self::new();
        for place in places {
            let address = process::address_here(*place)?;
            // SAFETY: the place came in the argument of the function that this process was
            // started for, from its parent, which runs the same image: it is where a `Describe`
            // stands, by `places`.
            let describe = unsafe { std::mem::transmute::<usize, Describe>(address) };
            classes.describe(describe)?;
        }
        Ok(classes)
    }

    /// Makes an object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such class, [`ErrorKind::InvalidInput`] if the
    /// client's is another one; what `new` says.
    pub(super) fn make(
        &self,
        name: &str,
        fingerprint: u64,
        arguments: &[u8],
    ) -> Result<Arc<dyn Object>> {
        let Some(class) = self.known.get(name) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "the manager knows no class `{name}`: name it to `ManagerBuilder::register` \
                     where the manager is started"
                ),
            ));
        };
        if class.fingerprint != fingerprint {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the manager's class `{name}` has other methods than this program's"),
            ));
        }
        (class.make)(arguments)
    }
}

/// Describes a user's class.
fn describe<T: Create>() -> Class {
    Class { name: T::NAME, fingerprint: <T as Managed>::FINGERPRINT, make: make::<T> }
}

/// Makes an object of a user's class.
fn make<T: Create>(arguments: &[u8]) -> Result<Arc<dyn Object>> {
    let arguments: T::Arguments = codec::decode_plain(arguments)?;
    Ok(Arc::new(Own(RwLock::new(T::create(arguments)?))))
}
