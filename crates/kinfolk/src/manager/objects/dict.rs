//! A dict.

use std::borrow::Borrow;
use std::sync::{PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ready::{Ready, proxy, values};
use crate::manager::object::Call;
use crate::plain::Dict as Pairs;
use crate::{Plain, Result};

/// The object.
pub(crate) struct Dict(pub(crate) RwLock<Pairs>);

/// What a proxy asks.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// The value of a key.
    Get(Plain),
    /// Sets it; the answer is the one before.
    Insert(Plain, Plain),
    /// Sets it unless there is one; the answer is what there is then.
    GetOrInsert(Plain, Plain),
    /// Takes it out.
    Remove(Plain),
    /// Takes the last pair out.
    PopLast,
    /// Whether there is such a key.
    ContainsKey(Plain),
    /// Sets several.
    Extend(Vec<(Plain, Plain)>),
    /// Takes all out.
    Clear,
    /// How many there are.
    Len,
    /// The keys.
    Keys,
    /// The values.
    Values,
    /// The pairs.
    Items,
}

impl Ready for Dict {
    const CLASS: &'static str = "dict";
    type Arguments = ();

    fn make((): ()) -> Result<Self> {
        Ok(Self(RwLock::default()))
    }

    fn call(&self, call: &mut Call<'_>) -> Result<()> {
        let ask = call.borrowed::<Ask>()?;
        let look = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let change = || self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Get(key) => call.answer_plainly(&look().get(&key)),
            Ask::Insert(key, value) => {
                let before = change().insert(key, value)?;
                call.answer_plainly(&before)
            }
            Ask::GetOrInsert(key, value) => {
                let mut dict = change();
                if dict.get(&key).is_none() {
                    dict.insert(key.clone(), value)?;
                }
                call.answer_plainly(&dict.get(&key))
            }
            Ask::Remove(key) => {
                let removed = change().remove(&key);
                call.answer_plainly(&removed)
            }
            Ask::PopLast => {
                let last = change().pop_last();
                call.answer_plainly(&last)
            }
            Ask::ContainsKey(key) => call.answer_plainly(&look().contains_key(&key)),
            Ask::Extend(pairs) => {
                // All or none: a key that cannot be one is found before.
                let pairs = Pairs::from_pairs(pairs)?;
                let mut dict = change();
                for (key, value) in pairs.into_pairs() {
                    dict.insert(key, value)?;
                }
                call.answer_plainly(&())
            }
            Ask::Clear => {
                let all = std::mem::take(&mut *change());
                drop(all);
                call.answer_plainly(&())
            }
            Ask::Len => call.answer_plainly(&look().len()),
            Ask::Keys => {
                call.answer_plainly(&look().iter().map(|(key, _)| key).collect::<Vec<_>>())
            }
            Ask::Values => {
                call.answer_plainly(&look().iter().map(|(_, value)| value).collect::<Vec<_>>())
            }
            Ask::Items => call.answer_plainly(&look().iter().collect::<Vec<_>>()),
        }
    }
}

proxy! {
    /// A dict in a manager, in the order in which its keys came: Python's.
    ///
    /// Keys and values are [`Plain`] there; `K` and `V` are how this process sees them. A value
    /// that another process has set and that is no `V` is an error of kind
    /// [`ErrorKind::Deserialize`](crate::ErrorKind::Deserialize). Keys cannot be lists or maps.
    ///
    /// ```standalone_crate
    /// fn main() -> kinfolk::Result<()> {
    ///     let _family = kinfolk::init();
    ///     let manager = kinfolk::Manager::start()?;
    ///     let ages = manager.dict::<String, u32>()?;
    ///     ages.insert("Ada", &36)?;
    ///     assert_eq!(ages.get("Ada")?, Some(36));
    ///     assert_eq!(ages.items()?, [("Ada".to_owned(), 36)]);
    ///     Ok(())
    /// }
    /// ```
    DictProxy<K, V> of Dict
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> DictProxy<K, V> {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// As all calls: see [`manager`](crate::manager#calls).
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.value_of(&Ask::Get(Plain::from_value(key)?))
    }

    /// Sets the value of a key, and returns the one that it had.
    ///
    /// # Errors
    ///
    /// As all calls; for a key that cannot be one.
    pub fn insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.value_of(&Ask::Insert(Plain::from_value(key)?, Plain::from_value(value)?))
    }

    /// The value of a key, which is set first if it had none: in one step, for all clients.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    #[doc(alias = "setdefault")]
    pub fn get_or_insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<V>
    where
        K: Borrow<Q>,
    {
        let ask = Ask::GetOrInsert(Plain::from_value(key)?, Plain::from_value(value)?);
        self.reference.ask::<_, Option<Plain>>(&ask)?.unwrap_or_default().to_value()
    }

    /// Takes the value of a key out.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "pop")]
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.value_of(&Ask::Remove(Plain::from_value(key)?))
    }

    /// Takes the last pair out.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "popitem")]
    pub fn pop_last(&self) -> Result<Option<(K, V)>> {
        let pair: Option<(Plain, Plain)> = self.reference.ask(&Ask::PopLast)?;
        pair.map(|(key, value)| Ok((key.to_value()?, value.to_value()?))).transpose()
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn contains_key<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.reference.ask(&Ask::ContainsKey(Plain::from_value(key)?))
    }

    /// Sets the values of several keys, in one step.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert): then none is set.
    #[doc(alias = "update")]
    pub fn extend<'a>(&self, pairs: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<()>
    where
        K: 'a,
        V: 'a,
    {
        let plain =
            |(key, value): (&K, &V)| Ok((Plain::from_value(key)?, Plain::from_value(value)?));
        self.reference.ask(&Ask::Extend(pairs.into_iter().map(plain).collect::<Result<_>>()?))
    }

    /// Takes all pairs out.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn clear(&self) -> Result<()> {
        self.reference.ask(&Ask::Clear)
    }

    /// The number of pairs.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn len(&self) -> Result<usize> {
        self.reference.ask(&Ask::Len)
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The keys, at one moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn keys(&self) -> Result<Vec<K>> {
        values(&self.reference.ask::<_, Vec<Plain>>(&Ask::Keys)?)
    }

    /// The values, at one moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub fn values(&self) -> Result<Vec<V>> {
        values(&self.reference.ask::<_, Vec<Plain>>(&Ask::Values)?)
    }

    /// The pairs, at one moment.
    ///
    /// # Errors
    ///
    /// As all calls.
    #[doc(alias = "copy")]
    pub fn items(&self) -> Result<Vec<(K, V)>> {
        let pairs: Vec<(Plain, Plain)> = self.reference.ask(&Ask::Items)?;
        pairs.iter().map(|(key, value)| Ok((key.to_value()?, value.to_value()?))).collect()
    }

    /// Asks for a value.
    fn value_of(&self, ask: &Ask) -> Result<Option<V>> {
        let value: Option<Plain> = self.reference.ask(ask)?;
        value.as_ref().map(Plain::to_value).transpose()
    }
}
