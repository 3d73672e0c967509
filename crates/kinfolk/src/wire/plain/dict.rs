//! A mapping of plain data.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Plain;
use super::set::{unhashable, unhashable_reason};
use crate::Result;
use crate::wire::codec;

/// A mapping of plain data, in the order in which its keys came: Python's `dict`.
///
/// ```
/// use kinfolk::plain::Dict;
///
/// let mut dict = Dict::new();
/// dict.insert("one", 1)?;
/// assert_eq!(dict.insert(2, "two")?, None);
/// assert_eq!(dict.get(&2.0.into()), Some(&"two".into()));
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Dict {
    /// The pairs; boxed, so that a number takes no more than it must.
    pairs: Box<IndexMap<Plain, Plain>>,
}

impl Dict {
    /// An empty dict.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A dict of pairs; of those with the same key the last.
    ///
    /// # Errors
    ///
    /// As [`insert`](Dict::insert).
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Plain, Plain)>) -> Result<Self> {
        let mut dict = Self::new();
        for (key, value) in pairs {
            dict.insert(key, value)?;
        }
        Ok(dict)
    }

    /// Sets the value of a key, and returns the one that it had.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a key that
    /// cannot be one: a list or a dict.
    pub fn insert(
        &mut self,
        key: impl Into<Plain>,
        value: impl Into<Plain>,
    ) -> Result<Option<Plain>> {
        let key = key.into();
        if !key.is_hashable() {
            return Err(unhashable(&key));
        }
        Ok(self.pairs.insert(key, value.into()))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &Plain) -> Option<&Plain> {
        self.pairs.get(key)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &Plain) -> Option<&mut Plain> {
        self.pairs.get_mut(key)
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &Plain) -> bool {
        self.pairs.contains_key(key)
    }

    /// Takes a key's value out. The other keys stay in order, which takes longer the
    /// more there are.
    #[doc(alias = "pop")]
    pub fn remove(&mut self, key: &Plain) -> Option<Plain> {
        self.pairs.shift_remove(key)
    }

    /// Takes the last pair out.
    #[doc(alias = "popitem")]
    pub fn pop_last(&mut self) -> Option<(Plain, Plain)> {
        self.pairs.pop()
    }

    /// Takes all pairs out.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Plain, &Plain)> + ExactSizeIterator {
        self.pairs.iter()
    }

    /// The pairs, in order, taken out.
    pub fn into_pairs(self) -> impl DoubleEndedIterator<Item = (Plain, Plain)> + ExactSizeIterator {
        self.pairs.into_iter()
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Dict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Dict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Reads pairs, without trust in how many are announced.
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Dict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dict of plain data")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dict, A::Error> {
                let mut dict = Dict::new();
                while let Some((key, value)) = map.next_entry::<Plain, Plain>()? {
                    if !key.is_hashable() {
                        codec::note(&unhashable_reason(&key));
                        return Err(A::Error::custom(unhashable_reason(&key)));
                    }
                    dict.pairs.insert(key, value);
                }
                Ok(dict)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
