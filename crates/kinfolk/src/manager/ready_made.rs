//! Making objects of the ready-made classes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Manager;
use super::objects::ready::plain;
use super::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    ListProxy, LockProxy, NamespaceProxy, PoolProxy, QueueProxy, RLockProxy, SegmentsProxy,
    SemaphoreProxy, SetProxy, ValueProxy,
};
use crate::{Plain, Result};

/// The ready-made classes. The errors are those of [`create`](Manager::create).
impl Manager {
    /// An empty dict.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn dict<K, V>(&self) -> Result<DictProxy<K, V>>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        self.make(&())
    }

    /// A list of items.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn list<'a, T>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<ListProxy<T>>
    where
        T: Serialize + DeserializeOwned + 'a,
    {
        self.make(&plain(items)?)
    }

    /// An empty set.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn set<T: Serialize + DeserializeOwned>(&self) -> Result<SetProxy<T>> {
        self.make(&())
    }

    /// A namespace without values.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    #[doc(alias = "Namespace")]
    pub fn namespace(&self) -> Result<NamespaceProxy> {
        self.make(&())
    }

    /// A value.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn value<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<ValueProxy<T>> {
        self.make(&Plain::from_value(value)?)
    }

    /// An array of items, of their number.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn array<'a, T>(&self, items: impl IntoIterator<Item = &'a T>) -> Result<ArrayProxy<T>>
    where
        T: Serialize + DeserializeOwned + 'a,
    {
        self.make(&plain(items)?)
    }

    /// A lock that nobody holds.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn lock(&self) -> Result<LockProxy> {
        self.make(&())
    }

    /// A recursive lock that nobody holds.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn rlock(&self) -> Result<RLockProxy> {
        self.make(&())
    }

    /// A semaphore with so many permits.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn semaphore(&self, permits: u64) -> Result<SemaphoreProxy> {
        self.make(&permits)
    }

    /// A semaphore with so many permits, and never more.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn bounded_semaphore(&self, permits: u64) -> Result<BoundedSemaphoreProxy> {
        self.make(&permits)
    }

    /// A condition that nobody waits for.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn condition(&self) -> Result<ConditionProxy> {
        self.make(&())
    }

    /// An event that is not set.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn event(&self) -> Result<EventProxy> {
        self.make(&())
    }

    /// A barrier for so many parties.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create); for no parties.
    pub fn barrier(&self, parties: usize) -> Result<BarrierProxy> {
        self.make(&parties)
    }

    /// An empty queue for at most so many items; 0 for no limit.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    pub fn queue<T: Serialize + DeserializeOwned>(&self, most: usize) -> Result<QueueProxy<T>> {
        self.make(&most)
    }

    /// A pool of so many workers; `None` for as many as there are processors.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the manager does not allow
    /// [pools](super::ManagerBuilder::pools). As [`create`](Manager::create), and as [`Pool::new`](crate::Pool::new).
    pub fn pool(&self, workers: Option<usize>) -> Result<PoolProxy> {
        self.make(&workers)
    }

    /// Shared memory with names, which are taken back at the end.
    ///
    /// # Errors
    ///
    /// As [`create`](Manager::create).
    #[doc(alias = "SharedMemoryManager")]
    pub fn segments(&self) -> Result<SegmentsProxy> {
        self.make(&())
    }
}
