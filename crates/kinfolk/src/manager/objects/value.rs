//! One value.

use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy};
use crate::manager::object::Call;
use crate::{Plain, Result};

/// The object.
pub(crate) struct Value(pub(crate) RwLock<Plain>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// The value.
    Get,
    /// Sets it; the answer is the one before.
    Set(Plain),
    /// Sets it if it is the first of the two; the answer is whether it was.
    Replace(Plain, Plain),
}

impl Ready for Value {
    const CLASS: &'static str = "Value";
    type Arguments = Plain;

    fn make(value: Plain) -> Result<Self> {
        Ok(Self(RwLock::new(value)))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask>()?;
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Get => {
                call.answer_plainly(&*self.0.read().unwrap_or_else(PoisonError::into_inner))
            }
            Ask::Set(value) => {
                let before = std::mem::replace(&mut *change(), value);
                call.answer_plainly(&before)
            }
            Ask::Replace(expected, value) => {
                let mut now = change();
                let is_expected = *now == expected;
                if is_expected {
                    *now = value;
                }
                drop(now);
                call.answer_plainly(&is_expected)
            }
        }
    }
}

proxy! {
    /// A value in a manager.
    ///
    /// It is [`Plain`] there; `T` is how this process sees it. For a number that many processes
    /// of one machine change, [`Value`](crate::Value) in shared memory is faster.
    ValueProxy<T> of Value
}

impl<T: Serialize + DeserializeOwned> ValueProxy<T> {
    /// The value.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls).
    pub fn get(&self) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Get)?.to_value()
    }

    /// Sets the value, and returns the one before.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn set(&self, value: &T) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Set(Plain::from_value(value)?))?.to_value()
    }

    /// Sets the value if it is `expected`; `false` if it was another. So a change that depends
    /// on the value before is one step: read, and try until nobody was in between.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn compare_and_set(&self, expected: &T, value: &T) -> Result<bool> {
        let ask = Ask::Replace(Plain::from_value(expected)?, Plain::from_value(value)?);
        self.reference.ask(&ask)
    }
}
