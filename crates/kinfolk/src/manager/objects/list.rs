//! A list.

use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, plain, proxy, values};
use crate::manager::object::Call;
use crate::{Error, ErrorKind, Plain, Result};

/// The object.
pub(crate) struct List(pub(crate) RwLock<Vec<Plain>>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// The item at a place.
    Get(usize),
    /// Replaces it; the answer is the one before.
    Set(usize, Plain),
    /// Appends an item.
    Push(Plain),
    /// Puts an item before the one at a place.
    Insert(usize, Plain),
    /// Takes the last item out.
    Pop,
    /// Takes the item at a place out.
    Remove(usize),
    /// The first place of an item.
    Position(Plain),
    /// Appends several.
    Extend(Vec<Plain>),
    /// Turns the order round.
    Reverse,
    /// Takes all out.
    Clear,
    /// How many there are.
    Len,
    /// All.
    Items,
}

impl Ready for List {
    const CLASS: &'static str = "list";
    type Arguments = Vec<Plain>;

    fn make(items: Vec<Plain>) -> Result<Self> {
        Ok(Self(RwLock::new(items)))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask>()?;
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Get(place) => call.answer_plainly(&look().get(place)),
            Ask::Set(place, item) => {
                let mut list = change();
                let length = list.len();
                let old = list.get_mut(place).ok_or_else(|| outside(place, length))?;
                let before = std::mem::replace(old, item);
                drop(list);
                call.answer_plainly(&before)
            }
            Ask::Push(item) => {
                change().push(item);
                call.answer_plainly(&())
            }
            Ask::Insert(place, item) => {
                let mut list = change();
                if place > list.len() {
                    return Err(outside(place, list.len()));
                }
                list.insert(place, item);
                call.answer_plainly(&())
            }
            Ask::Pop => {
                let last = change().pop();
                call.answer_plainly(&last)
            }
            Ask::Remove(place) => {
                let mut list = change();
                if place >= list.len() {
                    return Err(outside(place, list.len()));
                }
                let removed = list.remove(place);
                drop(list);
                call.answer_plainly(&removed)
            }
            Ask::Position(item) => {
                call.answer_plainly(&look().iter().position(|other| *other == item))
            }
            Ask::Extend(items) => {
                change().extend(items);
                call.answer_plainly(&())
            }
            Ask::Reverse => {
                change().reverse();
                call.answer_plainly(&())
            }
            Ask::Clear => {
                let all = std::mem::take(&mut *change());
                drop(all);
                call.answer_plainly(&())
            }
            Ask::Len => call.answer_plainly(&look().len()),
            Ask::Items => call.answer_plainly(&*look()),
        }
    }
}

/// A place that a list or array has not.
pub(super) fn outside(place: usize, length: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("there is no place {place} among {length} items"))
}

proxy! {
    /// A list in a manager: Python's.
    ///
    /// The items are [`Plain`] there; `T` is how this process sees them. One that another process
    /// has put there and that is no `T` is an error of kind
    /// [`ErrorKind::Deserialize`](crate::ErrorKind::Deserialize).
    ListProxy<T> of List
}

impl<T: Serialize + DeserializeOwned> ListProxy<T> {
    /// The item at a place, from 0 on.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls).
    pub fn get(&self, place: usize) -> Result<Option<T>> {
        self.item_of(&Ask::Get(place))
    }

    /// Replaces the item at a place, and returns the one before.
    ///
    /// # Errors
    ///
    /// As all calls; [`ErrorKind::InvalidInput`] if there is no such place.
    pub fn set(&self, place: usize, item: &T) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Set(place, Plain::from_value(item)?))?.to_value()
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "append")]
    pub fn push(&self, item: &T) -> Result<()> {
        self.reference.ask(&Ask::Push(Plain::from_value(item)?))
    }

    /// Puts an item before the one at a place, or at the end.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn insert(&self, place: usize, item: &T) -> Result<()> {
        self.reference.ask(&Ask::Insert(place, Plain::from_value(item)?))
    }

    /// Takes the last item out.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn pop(&self) -> Result<Option<T>> {
        self.item_of(&Ask::Pop)
    }

    /// Takes the item at a place out.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn remove(&self, place: usize) -> Result<T> {
        self.reference.ask::<_, Plain>(&Ask::Remove(place))?.to_value()
    }

    /// The first place of an item that is equal.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "index")]
    pub fn position(&self, item: &T) -> Result<Option<usize>> {
        self.reference.ask(&Ask::Position(Plain::from_value(item)?))
    }

    /// Appends several items, in one step.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn extend<'a>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<()>
    where
        T: 'a,
    {
        self.reference.ask(&Ask::Extend(plain(items)?))
    }

    /// Turns the order round.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn reverse(&self) -> Result<()> {
        self.reference.ask(&Ask::Reverse)
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

    /// The items, at one moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        values(&self.reference.ask::<_, Vec<Plain>>(&Ask::Items)?)
    }

    /// Asks for an item.
    fn item_of(&self, ask: &Ask) -> Result<Option<T>> {
        let item: Option<Plain> = self.reference.ask(ask)?;
        item.as_ref().map(Plain::to_value).transpose()
    }
}
