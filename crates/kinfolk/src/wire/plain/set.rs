//! A set of plain data.

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash, Hasher};

use indexmap::IndexSet;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Plain;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// A set of plain data, in the order in which its items came: Python's `set`.
///
/// ```
/// use kinfolk::plain::Set;
///
/// let mut set = Set::new();
/// assert!(set.insert(1)?);
/// assert!(!set.insert(true)?, "it is equal to 1, as in Python");
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// The items; boxed, so that a number takes no more than it must.
    items: Box<IndexSet<Plain>>,
}

impl Set {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of items; of equal ones the first.
    ///
    /// # Errors
    ///
    /// As [`insert`](Set::insert).
    pub fn from_items(items: impl IntoIterator<Item = Plain>) -> Result<Self> {
        let mut set = Self::new();
        for item in items {
            set.insert(item)?;
        }
        Ok(set)
    }

    /// Puts an item in; `false` if there is an equal one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for an item that cannot be in a set: a list or a
    /// dict.
    #[doc(alias = "add")]
    pub fn insert(&mut self, item: impl Into<Plain>) -> Result<bool> {
        let item = item.into();
        if !item.is_hashable() {
            return Err(unhashable(&item));
        }
        Ok(self.items.insert(item))
    }

    /// Whether there is an equal item.
    #[must_use]
    pub fn contains(&self, item: &Plain) -> bool {
        self.items.contains(item)
    }

    /// Takes an item out; `false` if there was none. The others stay in order, which
    /// takes longer the more there are.
    #[doc(alias = "discard")]
    pub fn remove(&mut self, item: &Plain) -> bool {
        self.items.shift_remove(item)
    }

    /// Takes the last item out.
    #[doc(alias = "pop")]
    pub fn pop_last(&mut self) -> Option<Plain> {
        self.items.pop()
    }

    /// Takes all items out.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Plain> + ExactSizeIterator {
        self.items.iter()
    }

    /// The items, in order, taken out.
    pub fn into_items(self) -> impl DoubleEndedIterator<Item = Plain> + ExactSizeIterator {
        self.items.into_iter()
    }
}

/// Equal sets have equal hashes, in whatever order.
impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let each = BuildHasherDefault::<DefaultHasher>::default();
        let sum = self.iter().fold(0_u64, |sum, item| sum.wrapping_add(each.hash_one(item)));
        sum.hash(state);
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Set {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Reads items, without trust in how many are announced.
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Set;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a set of plain data")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Set, A::Error> {
                let mut set = Set::new();
                while let Some(item) = seq.next_element::<Plain>()? {
                    if !item.is_hashable() {
                        codec::note(&unhashable_reason(&item));
                        return Err(A::Error::custom(unhashable_reason(&item)));
                    }
                    set.items.insert(item);
                }
                Ok(set)
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// The error for what cannot be a key or in a set.
pub(super) fn unhashable(value: &Plain) -> Error {
    Error::new(ErrorKind::InvalidInput, unhashable_reason(value))
}

/// Why a value cannot be a key or in a set.
pub(super) fn unhashable_reason(value: &Plain) -> String {
    let inside = if matches!(value, Plain::Tuple(_)) { " with a list or dict in it" } else { "" };
    format!("a {}{inside} can be no key of a dict, nor in a set", value.type_name())
}
