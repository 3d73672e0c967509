//! A pool's operations with a state, and its maps with options.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::map::{Map, MapOptions, MapUnordered};
use super::process_pool::{Pool, collect};
#[cfg(feature = "indicatif")]
use super::progress;
use super::task::{MapTask, Task};
use super::worker::Call;
use crate::Result;

/// The operations of a [`Pool`] with functions that get the worker's state: see
/// [`Pool::stateful`].
pub struct Stateful<'a, S> {
    /// The pool.
    pool: &'a Pool<S>,
    /// What is chosen for maps.
    options: MapOptions,
}

impl<'a, S> Stateful<'a, S> {
    /// Those of a pool.
    pub(super) fn new(pool: &'a Pool<S>) -> Self {
        Self { pool, options: MapOptions::default() }
    }

    /// As [`Pool::chunked`].
    #[must_use]
    pub fn chunked(mut self, size: usize) -> Self {
        self.options.chunk = Some(size);
        self
    }

    /// As [`Pool::progress`].
    #[must_use]
    pub fn progress(mut self, report: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        self.options.report = Some(Arc::new(report));
        self
    }

    /// As [`Pool::progress_bar`].
    #[cfg(feature = "indicatif")]
    #[must_use]
    pub fn progress_bar(mut self, bar: &indicatif::ProgressBar) -> Self {
        self.options.report = Some(progress::on_bar(bar));
        self
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
        self.pool.start_all(Call::with(function)?, items.into_iter(), &self.options)
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
        self.pool.feed(Call::with(function)?, items.into_iter(), &self.options).map(Map::new)
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
        self.pool
            .feed(Call::with(function)?, items.into_iter(), &self.options)
            .map(MapUnordered::new)
    }
}

/// The maps of a [`Pool`] with options: see [`Pool::chunked`] and [`Pool::progress`].
pub struct Maps<'a, S> {
    /// The pool.
    pool: &'a Pool<S>,
    /// What is chosen for them.
    options: MapOptions,
}

impl<'a, S> Maps<'a, S> {
    /// Those of a pool.
    pub(super) fn new(pool: &'a Pool<S>) -> Self {
        Self { pool, options: MapOptions::default() }
    }

    /// As [`Pool::chunked`].
    #[must_use]
    pub fn chunked(mut self, size: usize) -> Self {
        self.options.chunk = Some(size);
        self
    }

    /// As [`Pool::progress`].
    #[must_use]
    pub fn progress(mut self, report: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        self.options.report = Some(Arc::new(report));
        self
    }

    /// As [`Pool::progress_bar`].
    #[cfg(feature = "indicatif")]
    #[must_use]
    pub fn progress_bar(mut self, bar: &indicatif::ProgressBar) -> Self {
        self.options.report = Some(progress::on_bar(bar));
        self
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
        self.pool.start_all(Call::plain(function)?, items.into_iter(), &self.options)
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
        self.pool.feed(Call::plain(function)?, items.into_iter(), &self.options).map(Map::new)
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
        self.pool
            .feed(Call::plain(function)?, items.into_iter(), &self.options)
            .map(MapUnordered::new)
    }
}

impl<S> fmt::Debug for Stateful<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Stateful of {:?}>", self.pool)
    }
}

impl<S> fmt::Debug for Maps<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Maps of {:?}>", self.pool)
    }
}
