//! An iterator that stays with the manager.

use std::sync::{Mutex, PoisonError};

use super::{Answer, Arguments, Call, Methods, Raised};
use crate::manager::object::{self, Object};
use crate::{Plain, Result};

/// Items that are given out one after the other.
pub(in crate::manager::python) struct Iterator(Mutex<std::vec::IntoIter<Plain>>);

impl Iterator {
    /// Of these.
    pub(in crate::manager::python) fn new(items: Vec<Plain>) -> Self {
        Self(Mutex::new(items.into_iter()))
    }
}

/// The programs of this library have no proxy for it.
impl Object for Iterator {
    fn class(&self) -> &'static str {
        "Iterator"
    }

    fn fingerprint(&self) -> u64 {
        0
    }

    fn call(&self, call: &mut object::Call<'_>) -> Result<()> {
        Err(call.unknown())
    }
}

impl Methods for Iterator {
    fn exposed(&self) -> &'static [&'static str] {
        &["__next__"]
    }

    fn call(&self, method: &str, args: Arguments, _: &mut Call<'_>) -> Result<Answer, Raised> {
        if method != "__next__" {
            return Err(Raised::NoMethod);
        }
        args.none()?;
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next();
        next.map(Answer::Value).ok_or_else(|| Raised::new("StopIteration", Vec::new()))
    }

    fn repr(&self) -> String {
        "<iterator>".to_owned()
    }
}
