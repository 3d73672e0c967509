//! Values by names.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Plain, Result};

/// The object.
pub(crate) struct Namespace(pub(crate) RwLock<BTreeMap<String, Plain>>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask<'a> {
    /// The value of a name.
    Get(&'a str),
    /// Sets it.
    Set(&'a str, Plain),
    /// Takes it out; the answer is whether there was one.
    Remove(&'a str),
    /// The names.
    Names,
}

impl Ready for Namespace {
    const CLASS: &'static str = "Namespace";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(RwLock::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask<'_>>()?;
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Get(name) => call.answer_plainly(&look().get(name)),
            Ask::Set(name, value) => {
                change().insert(name.to_owned(), value);
                call.answer_plainly(&())
            }
            Ask::Remove(name) => {
                let removed = change().remove(name).is_some();
                call.answer_plainly(&removed)
            }
            Ask::Names => call.answer_plainly(&look().keys().collect::<Vec<_>>()),
        }
    }
}

proxy! {
    /// Values of any types by names, in a manager.
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::start()?;
    ///     let settings = manager.namespace()?;
    ///     settings.set("depth", &3)?;
    ///     settings.set("title", "A tree")?;
    ///     assert_eq!(settings.get::<u32>("depth")?, 3);
    ///     Ok(())
    /// }
    /// ```
    NamespaceProxy of Namespace
}

impl NamespaceProxy {
    /// The value of a name.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls); [`ErrorKind::NotFound`] if there is
    /// none, [`ErrorKind::Deserialize`] if it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value: Option<Plain> = self.reference.ask(&Ask::Get(name))?;
        let missing =
            || Error::new(ErrorKind::NotFound, format!("the namespace has no value `{name}`"));
        value.ok_or_else(missing)?.to_value()
    }

    /// Sets the value of a name.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.reference.ask(&Ask::Set(name, Plain::from_value(value)?))
    }

    /// Takes the value of a name out; `false` if there was none.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.reference.ask(&Ask::Remove(name))
    }

    /// The names, in alphabetical order.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn names(&self) -> Result<Vec<String>> {
        self.reference.ask(&Ask::Names)
    }
}
