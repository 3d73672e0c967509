//! A set.

use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, plain, proxy, values};
use crate::manager::object::Call;
use crate::plain::Set as Items;
use crate::{Plain, Result};

/// The object.
pub(crate) struct Set(pub(crate) RwLock<Items>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Puts an item in; the answer is whether it is new.
    Insert(Plain),
    /// Takes an item out; the answer is whether it was there.
    Remove(Plain),
    /// Takes the last item out.
    PopLast,
    /// Whether an item is there.
    Contains(Plain),
    /// Puts several in.
    Extend(Vec<Plain>),
    /// Takes all out.
    Clear,
    /// How many there are.
    Len,
    /// All.
    Items,
}

impl Ready for Set {
    const CLASS: &'static str = "set";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(RwLock::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask>()?;
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Insert(item) => {
                let is_new = change().insert(item)?;
                call.answer_plainly(&is_new)
            }
            Ask::Remove(item) => {
                let was_there = change().remove(&item);
                call.answer_plainly(&was_there)
            }
            Ask::PopLast => {
                let last = change().pop_last();
                call.answer_plainly(&last)
            }
            Ask::Contains(item) => call.answer_plainly(&look().contains(&item)),
            Ask::Extend(items) => {
                // All or none: an item that cannot be one is found before.
                let items = Items::from_items(items)?;
                let mut set = change();
                for item in items.into_items() {
                    set.insert(item)?;
                }
                call.answer_plainly(&())
            }
            Ask::Clear => {
                let all = std::mem::take(&mut *change());
                drop(all);
                call.answer_plainly(&())
            }
            Ask::Len => call.answer_plainly(&look().len()),
            Ask::Items => call.answer_plainly(&look().iter().collect::<Vec<_>>()),
        }
    }
}

proxy! {
    /// A set in a manager: Python's.
    ///
    /// The items are [`Plain`] there; `T` is how this process sees them. They cannot be lists or
    /// maps.
    SetProxy<T> of Set
}

impl<T: Serialize + DeserializeOwned> SetProxy<T> {
    /// Puts an item in; `false` if there is an equal one.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls); for an item that cannot be one.
    #[doc(alias = "add")]
    pub fn insert(&self, item: &T) -> Result<bool> {
        self.reference.ask(&Ask::Insert(Plain::from_value(item)?))
    }

    /// Takes an item out; `false` if it was not there.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "discard")]
    pub fn remove(&self, item: &T) -> Result<bool> {
        self.reference.ask(&Ask::Remove(Plain::from_value(item)?))
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "pop")]
    pub fn pop_last(&self) -> Result<Option<T>> {
        let item: Option<Plain> = self.reference.ask(&Ask::PopLast)?;
        item.as_ref().map(Plain::to_value).transpose()
    }

    /// Whether an item is there.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn contains(&self, item: &T) -> Result<bool> {
        self.reference.ask(&Ask::Contains(Plain::from_value(item)?))
    }

    /// Puts several items in, in one step.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert): then none is put in.
    #[doc(alias = "update")]
    pub fn extend<'a>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<()>
    where
        T: 'a,
    {
        self.reference.ask(&Ask::Extend(plain(items)?))
    }

    /// Takes all items out.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn clear(&self) -> Result<()> {
        self.reference.ask(&Ask::Clear)
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

    /// The items, at one moment, in the order in which they came.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        values(&self.reference.ask::<_, Vec<Plain>>(&Ask::Items)?)
    }
}
