//! A pool's operations with a state, and with chunks of a fixed size.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::map::{Map, MapUnordered};
use super::process_pool::{Pool, collect};
use super::task::{MapTask, Task};
use super::worker::Call;
use crate::Result;

/// The operations of a [`Pool`] with functions that get the worker's state: see
/// [`Pool::stateful`].
#[derive(Debug, Clone, Copy)]
pub struct Stateful<'a, S> {
    /// The pool.
    pool: &'a Pool<S>,
    /// How many items a chunk has, if that is fixed.
    chunk: Option<usize>,
}

impl<'a, S> Stateful<'a, S> {
    /// Those of a pool.
    pub(super) fn new(pool: &'a Pool<S>) -> Self {
        Self { pool, chunk: None }
    }

    /// As [`Pool::chunked`].
    #[must_use]
    pub fn chunked(self, size: usize) -> Self {
        Self { chunk: Some(size), ..self }
    }

    /// As [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`].
    pub fn apply<A, R>(&self, function: fn(&mut S, A) -> R, argument: A) -> Result<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.start(Call::with(function)?, &argument, true)?.get()
    }

    /// As [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn apply_async<A, R>(&self, function: fn(&mut S, A) -> R, argument: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.start(Call::with(function)?, &argument, false)
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn map<A, R>(
        &self,
        function: fn(&mut S, A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect(self.imap(function, items)?)
    }

    /// As [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<A, R>(
        &self,
        function: fn(&mut S, A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<MapTask<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.start_all(Call::with(function)?, items.into_iter(), self.chunk)
    }

    /// As [`Pool::imap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap<A, R, I>(
        &self,
        function: fn(&mut S, A) -> R,
        items: I,
    ) -> Result<Map<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool.feed(Call::with(function)?, items.into_iter(), self.chunk).map(Map::new)
    }

    /// As [`Pool::imap_unordered`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap_unordered<A, R, I>(
        &self,
        function: fn(&mut S, A) -> R,
        items: I,
    ) -> Result<MapUnordered<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool.feed(Call::with(function)?, items.into_iter(), self.chunk).map(MapUnordered::new)
    }
}

/// The maps of a [`Pool`] with chunks of a fixed size: see [`Pool::chunked`].
#[derive(Debug, Clone, Copy)]
pub struct Chunked<'a, S> {
    /// The pool.
    pool: &'a Pool<S>,
    /// How many items a chunk has.
    chunk: Option<usize>,
}

impl<'a, S> Chunked<'a, S> {
    /// Those of a pool, with chunks of this size.
    pub(super) fn new(pool: &'a Pool<S>, size: usize) -> Self {
        Self { pool, chunk: Some(size) }
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        collect(self.imap(function, items)?)
    }

    /// As [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<A, R>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<MapTask<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.start_all(Call::plain(function)?, items.into_iter(), self.chunk)
    }

    /// As [`Pool::imap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Map<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool.feed(Call::plain(function)?, items.into_iter(), self.chunk).map(Map::new)
    }

    /// As [`Pool::imap_unordered`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap_unordered<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Result<MapUnordered<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool.feed(Call::plain(function)?, items.into_iter(), self.chunk).map(MapUnordered::new)
    }
}
