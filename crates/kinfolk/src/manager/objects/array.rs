//! An array: a list of a length that is fixed.

use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::list::outside;
use super::ready::{Ready, proxy, values};
use crate::manager::object::Call;
use crate::{Plain, Result};

/// The object.
pub(crate) struct Array(pub(crate) RwLock<Box<[Plain]>>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// The item at a place.
    Get(usize),
    /// Replaces it; the answer is the one before.
    Set(usize, Plain),
    /// How many there are.
    Len,
    /// All.
    Items,
}

impl Ready for Array {
    const CLASS: &'static str = "Array";
    type Arguments = Vec<Plain>;

    fn make(items: Vec<Plain>) -> Result<Self> {
        Ok(Self(RwLock::new(items.into())))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask>()?;
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Get(place) => {
                let items = look();
                call.answer_plainly(items.get(place).ok_or_else(|| outside(place, items.len()))?)
            }
            Ask::Set(place, item) => {
                let mut items = self.0.write().unwrap_or_else(PoisonError::into_inner);
                let length = items.len();
                let old = items.get_mut(place).ok_or_else(|| outside(place, length))?;
                let before = std::mem::replace(old, item);
                drop(items);
                call.answer_plainly(&before)
            }
            Ask::Len => call.answer_plainly(&look().len()),
            Ask::Items => call.answer_plainly(&&look()[..]),
        }
    }
}

proxy! {
    /// An array in a manager: items in a number that is fixed.
    ///
    /// They are [`Plain`] there; `T` is how this process sees them. For numbers that many
    /// processes of one machine change, [`Array`](crate::Array) in shared memory is faster.
    ArrayProxy<T> of Array
}

impl<T: Serialize + DeserializeOwned> ArrayProxy<T> {
    /// The item at a place, from 0 on.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls);
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if there is no such place.
    pub fn get(&self, place: usize) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Get(place))?.to_value()
    }

    /// Replaces the item at a place, and returns the one before.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn set(&self, place: usize, item: &T) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Set(place, Plain::from_value(item)?))?.to_value()
    }

    /// The number of items.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn len(&self) -> Result<usize> {
        self.reference.ask(&Ask::Len)
    }

    /// Whether there is no item.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The items, at one moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        values(&self.reference.ask::<_, Vec<Plain>>(&Ask::Items)?)
    }
}
