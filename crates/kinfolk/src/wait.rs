//! Waiting for many: sentinels, connections and anything with a file descriptor.
//!
//! Used by every room above; uses `sys`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::sys::poll::{self, Watch};
use crate::{Error, Result};

/// Waits until at least one of `objects` is ready, and returns the places of
/// all that are; none if `timeout` passed first.
///
/// A process is ready when it has ended, a connection when a message can be
/// received or the other side is gone, a file descriptor when it can be read or
/// its other side is gone. For the same objects again and again, a [`WaitSet`]
/// is cheaper.
///
/// ```standalone_crate
/// use kinfolk::{Process, wait};
///
/// fn forever(_: ()) {
///     loop {
///         std::thread::park();
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let one = Process::spawn(forever, ())?;
///     let two = Process::spawn(|()| (), ())?;
///     assert_eq!(wait(&[&one, &two], None)?, [1]);
///     one.kill()
/// }
/// ```
///
/// # Errors
///
/// If a descriptor is closed, or there are more objects than this process may
/// have descriptors.
pub fn wait(objects: &[&dyn AsFd], timeout: Option<Duration>) -> Result<Vec<usize>> {
    let fds: Vec<BorrowedFd<'_>> = objects.iter().map(|object| object.as_fd()).collect();
    poll::readable(&fds, deadline(timeout))
        .map_err(|error| Error::io(error, format!("waiting for {} objects", fds.len())))
}

/// The end of a timeout; `None` if it never ends.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(timeout?)
}

/// Names an object in a [`WaitSet`]; never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

/// A set of objects to wait for in a loop: each is registered once.
///
/// The set owns its objects, so none can be closed while it is waited for. `T`
/// may be a reference, or `Box<dyn AsFd>` for objects of several types.
///
/// ```
/// use kinfolk::{Connection, WaitSet, pipe};
///
/// let (a, b) = pipe::<String, String>()?;
/// let mut set: WaitSet<Connection<String, String>> = WaitSet::new()?;
/// let key = set.insert(b)?;
/// a.send(&"hello".to_owned())?;
/// for ready in set.wait(None)? {
///     assert_eq!(ready, key);
///     assert_eq!(set.get(ready).unwrap().recv()?, "hello");
/// }
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug)]
pub struct WaitSet<T: AsFd> {
    /// What the kernel watches.
    watch: Watch,
    /// The objects.
    members: BTreeMap<u64, Member<T>>,
    /// The next key.
    next: u64,
}

/// An object of a set.
#[derive(Debug)]
struct Member<T> {
    /// The object.
    object: T,
    /// How it is watched.
    watched: Watched,
}

/// How an object is watched.
#[derive(Debug)]
enum Watched {
    /// By its own descriptor.
    Itself,
    /// By a duplicate, because its descriptor is in the set already.
    Duplicate(OwnedFd),
    /// Not at all: it is of a kind that is always ready, a regular file.
    Always,
}

impl<T: AsFd> WaitSet<T> {
    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// If the process has no free file descriptor.
    pub fn new() -> Result<Self> {
        let watch = Watch::new().map_err(|error| Error::io(error, "making a wait set"))?;
        Ok(Self { watch, members: BTreeMap::new(), next: 0 })
    }

    /// Adds an object.
    ///
    /// # Errors
    ///
    /// If the system's limit on watched descriptors is reached.
    pub fn insert(&mut self, object: T) -> Result<Key> {
        let key = self.next;
        let watched = self
            .watch(object.as_fd(), key)
            .map_err(|error| Error::io(error, "adding to a wait set"))?;
        self.next += 1;
        self.members.insert(key, Member { object, watched });
        Ok(Key(key))
    }

    /// Removes an object and gives it back.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let Member { object, watched } = self.members.remove(&key.0)?;
        // What the kernel does not know any more needs no removal.
        let _ = match &watched {
            Watched::Itself => self.watch.remove(object.as_fd()),
            Watched::Duplicate(fd) => self.watch.remove(fd.as_fd()),
            Watched::Always => Ok(()),
        };
        Some(object)
    }

    /// The object of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        Some(&self.members.get(&key.0)?.object)
    }

    /// The objects with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.members.iter().map(|(key, member)| (Key(*key), &member.object))
    }

    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits until at least one object is ready, and returns the keys of all
    /// that are; none if `timeout` passed first. An empty set without a timeout
    /// is an error, for nothing could end the wait.
    ///
    /// # Errors
    ///
    /// If the set is empty and there is no timeout.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Key>> {
        if self.is_empty() && timeout.is_none() {
            return Err(Error::new(
                crate::ErrorKind::InvalidInput,
                "waiting without a timeout for an empty set would never end",
            ));
        }
        let always = |(key, member): (&u64, &Member<T>)| {
            matches!(member.watched, Watched::Always).then_some(Key(*key))
        };
        let mut ready: Vec<Key> = self.members.iter().filter_map(always).collect();
        let limit = if ready.is_empty() { deadline(timeout) } else { Some(Instant::now()) };
        for member in self.members.values() {
            // A queue's end prepares to be waited for when it is asked for it.
            let _ = member.object.as_fd();
        }
        let watched = self
            .watch
            .wait(self.len(), limit)
            .map_err(|error| Error::io(error, "waiting for a set"))?;
        ready.extend(watched.into_iter().filter(|key| self.members.contains_key(key)).map(Key));
        Ok(ready)
    }

    /// Has the kernel watch a descriptor.
    fn watch(&self, fd: BorrowedFd<'_>, key: u64) -> std::io::Result<Watched> {
        match self.watch.add(fd, key) {
            Ok(true) => Ok(Watched::Itself),
            Ok(false) => Ok(Watched::Always),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let duplicate = fd.try_clone_to_owned()?;
                self.watch.add(duplicate.as_fd(), key)?;
                Ok(Watched::Duplicate(duplicate))
            }
            Err(error) => Err(error),
        }
    }
}
