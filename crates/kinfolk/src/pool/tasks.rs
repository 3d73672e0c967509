//! A pool's operations, with options, for functions of either kind.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::map::{Map, MapOptions, MapUnordered};
use super::process_pool::Pool;
#[cfg(feature = "indicatif")]
use super::progress;
use super::task::{Task, all, only};
use super::worker::Call;
use crate::Result;

/// What functions a pool's operations take.
pub trait Kind<S>: private::Sealed {
    /// A function of an item.
    type Function<A, R>;

    /// How a worker calls it.
    #[doc(hidden)]
    fn call<A: DeserializeOwned, R: Serialize>(
        function: Self::Function<A, R>,
    ) -> Result<private::Call>;
}

/// Functions of an item: `fn(A) -> R`.
#[derive(Debug)]
pub enum Stateless {}

/// Functions of the worker's state and an item: `fn(&mut S, A) -> R`.
#[derive(Debug)]
pub enum Stateful {}

impl<S> Kind<S> for Stateless {
    type Function<A, R> = fn(A) -> R;

    fn call<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Result<private::Call> {
        Call::plain(function).map(private::Call)
    }
}

impl<S> Kind<S> for Stateful {
    type Function<A, R> = fn(&mut S, A) -> R;

    fn call<A: DeserializeOwned, R: Serialize>(
        function: fn(&mut S, A) -> R,
    ) -> Result<private::Call> {
        Call::with(function).map(private::Call)
    }
}

/// What nobody else implements or makes.
mod private {
    use super::{Stateful, Stateless};

    /// A kind of functions.
    pub trait Sealed {}
    impl Sealed for Stateless {}
    impl Sealed for Stateful {}

    /// A function and how it is called.
    #[derive(Debug)]
    pub struct Call(pub(in super::super) super::Call);
}

/// The operations of a [`Pool`] with options, for functions of one kind: see
/// [`Pool::stateful`], [`Pool::chunked`] and [`Pool::progress`].
pub struct Tasks<'a, S, K = Stateless> {
    /// The pool.
    pool: &'a Pool<S>,
    /// What is chosen for maps.
    options: MapOptions,
    /// What functions it takes.
    kind: PhantomData<K>,
}

impl<'a, S, K: Kind<S>> Tasks<'a, S, K> {
    /// Those of a pool.
    pub(super) fn new(pool: &'a Pool<S>) -> Self {
        Self { pool, options: MapOptions::default(), kind: PhantomData }
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
    pub fn apply<A, R>(&self, function: K::Function<A, R>, argument: A) -> Result<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.pool.start(K::call(function)?.0, &argument, true, only::<R>)?.get()
    }

    /// As [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn apply_async<A, R>(&self, function: K::Function<A, R>, argument: A) -> Result<Task<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.pool.start(K::call(function)?.0, &argument, false, only::<R>).map(Task::new)
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn map<A, R>(
        &self,
        function: K::Function<A, R>,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items = items.into_iter();
        let least = items.size_hint().0;
        collect(self.imap(function, items)?, least)
    }

    /// As [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<A, R>(
        &self,
        function: K::Function<A, R>,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Task<Vec<R>>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned + 'static,
    {
        let call = K::call(function)?.0;
        self.pool.start_all(call, items.into_iter(), &self.options, all::<R>).map(Task::new)
    }

    /// As [`Pool::imap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap<A, R, I>(
        &self,
        function: K::Function<A, R>,
        items: I,
    ) -> Result<Map<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool.feed(K::call(function)?.0, items.into_iter(), &self.options).map(Map::new)
    }

    /// As [`Pool::imap_unordered`].
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap_unordered<A, R, I>(
        &self,
        function: K::Function<A, R>,
        items: I,
    ) -> Result<MapUnordered<I::IntoIter, R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.pool
            .feed(K::call(function)?.0, items.into_iter(), &self.options)
            .map(MapUnordered::new)
    }
}

/// All values, of which there are so many at least, or the first error, after all have
/// come.
pub(super) fn collect<R>(results: impl Iterator<Item = Result<R>>, least: usize) -> Result<Vec<R>> {
    let (mut values, mut failed) = (Vec::new(), None);
    // Without memory for all, it ends at the one that there is none for.
    let _ = values.try_reserve(least);
    results.for_each(|result| match (result, &failed) {
        (Ok(value), None) => values.push(value),
        (Err(error), None) => failed = Some(error),
        (_, Some(_)) => {}
    });
    failed.map_or(Ok(values), Err)
}

impl<S, K> fmt::Debug for Tasks<'_, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Tasks of {:?}>", self.pool)
    }
}
