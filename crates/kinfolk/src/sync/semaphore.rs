//! Semaphores whose permits return from the dead.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PARTICIPANTS;
use super::object::{Body, Object};
use super::owner::{OwnerWord, Section};
use super::signal::{Naps, Signal};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::identity::Identity;
use crate::{Error, ErrorKind, Result};

/// The most permits.
const MOST: u64 = u32::MAX as u64;

/// A number of permits that processes share.
///
/// It travels inside values. The permits that a process held when it ended,
/// killed or not, return to the semaphore, but never more than it began with: a
/// semaphore that begins with none, used to signal, gets none back. A waiter that
/// is killed leaves no trace.
///
/// At most 1,000 processes hold permits of one semaphore at a time.
///
/// ```
/// use kinfolk::Semaphore;
///
/// let semaphore = Semaphore::new(2)?;
/// let _one = semaphore.acquire()?;
/// let _two = semaphore.acquire()?;
/// assert!(semaphore.try_acquire()?.is_none());
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore {
    /// Its memory.
    pub(super) object: Object<SemaphoreBody>,
}

/// A [`Semaphore`] that never has more permits than it began with: releasing one
/// too many is an error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundedSemaphore {
    /// All but the bound.
    pub(super) semaphore: Semaphore,
}

/// A semaphore in shared memory. All but `section` and `changed` is changed in
/// the section only, by [`commit`](Self::commit).
pub(super) struct SemaphoreBody {
    /// Who changes it.
    section: OwnerWord,
    /// Told when there is a permit.
    changed: Signal,
    /// The permits that nobody holds.
    value: AtomicU64,
    /// The permits that it began with. Written before others know of it.
    initial: AtomicU64,
    /// What is being written.
    ///
    /// | `redo.place` | leaves it by | if killed here |
    /// |---|---|---|
    /// | 0 | whoever is in the section: writes the rest, then → place + 1 | nothing has happened |
    /// | place + 1 | the same: writes value and holder, then → 0 | the next in the section writes them again |
    redo: Redo,
    /// Who holds how many.
    holders: [Holder; PARTICIPANTS],
}

/// A change: absolute values, so that writing them twice is as once.
struct Redo {
    /// The holder's place, plus one; 0 if there is no change.
    place: AtomicU64,
    /// The new value.
    value: AtomicU64,
    /// The holder.
    process: AtomicU64,
    /// The new number of its permits.
    held: AtomicU64,
}

/// A process that holds permits.
struct Holder {
    /// The process; of no meaning if it holds none.
    process: AtomicU64,
    /// The number of its permits.
    held: AtomicU64,
}

// SAFETY: words; without permits when they are zero.
unsafe impl Body for SemaphoreBody {
    const NAME: &'static CStr = c"kinfolk-semaphore";
    const KIND: u64 = u64::from_le_bytes(*b"kf sema1");
}

impl SemaphoreBody {
    /// Enters the section, and completes what a dead process began.
    fn enter(&self) -> Section<'_> {
        let section = self.section.enter();
        if section.after_death {
            self.apply();
        }
        section
    }

    /// Writes a new value and a holder's new number, both or none.
    fn commit(&self, value: u64, place: usize, process: u64, held: u64) {
        self.redo.value.store(value, Ordering::Relaxed);
        self.redo.process.store(process, Ordering::Relaxed);
        self.redo.held.store(held, Ordering::Relaxed);
        self.redo.place.store(place as u64 + 1, Ordering::Release);
        self.apply();
    }

    /// Writes what the redo record says.
    fn apply(&self) {
        let place = self.redo.place.load(Ordering::Acquire);
        let Some(holder) = (place as usize).checked_sub(1).and_then(|at| self.holders.get(at))
        else {
            return;
        };
        holder.process.store(self.redo.process.load(Ordering::Relaxed), Ordering::Relaxed);
        holder.held.store(self.redo.held.load(Ordering::Relaxed), Ordering::Relaxed);
        self.value.store(self.redo.value.load(Ordering::Relaxed), Ordering::Relaxed);
        self.redo.place.store(0, Ordering::Release);
    }

    /// The place of a process: its own, else a free one; and what it holds.
    fn place_of(&self, process: u64) -> Option<(usize, u64)> {
        let mut free = None;
        for (place, holder) in self.holders.iter().enumerate() {
            let held = holder.held.load(Ordering::Relaxed);
            if held == 0 {
                free = free.or(Some((place, 0)));
                // Places are filled from the front.
                if holder.process.load(Ordering::Relaxed) == 0 {
                    break;
                }
            } else if holder.process.load(Ordering::Relaxed) == process {
                return Some((place, held));
            }
        }
        free
    }

    /// Takes one permit in the section; `None` if there is none.
    fn take(&self) -> Result<Option<()>> {
        if self.value.load(Ordering::Relaxed) == 0 && !self.take_back() {
            return Ok(None);
        }
        let mine = Identity::mine().bits();
        let place = match self.place_of(mine) {
            None if self.take_back() => self.place_of(mine),
            place => place,
        };
        let Some((place, held)) = place else {
            return Err(Error::new(
                ErrorKind::Exhausted,
                format!("more than {PARTICIPANTS} processes hold permits of one semaphore"),
            ));
        };
        let value = self.value.load(Ordering::Relaxed);
        self.commit(value.saturating_sub(1), place, mine, held + 1);
        Ok(Some(()))
    }

    /// Returns the permits of the dead. Returns whether there were dead ones, and
    /// a permit.
    fn take_back(&self) -> bool {
        let initial = self.initial.load(Ordering::Relaxed);
        for (place, holder) in self.holders.iter().enumerate() {
            let held = holder.held.load(Ordering::Relaxed);
            let process = holder.process.load(Ordering::Relaxed);
            if process == 0 {
                break;
            }
            if held > 0 && !Identity::from_bits(process).is_some_and(Identity::is_alive) {
                let value = self.value.load(Ordering::Relaxed);
                let back = held.min(initial.saturating_sub(value));
                self.commit(value + back, place, process, 0);
            }
        }
        self.value.load(Ordering::Relaxed) > 0
    }

    /// Makes a process's permits nobody's, in the section.
    fn disown(&self, process: u64) {
        if let Some((place, held)) = self.place_of(process)
            && held > 0
        {
            self.commit(self.value.load(Ordering::Relaxed), place, process, 0);
        }
    }

    /// Returns a permit, in the section: first this process's own, then
    /// others', then new ones, up to `bound`.
    fn give(&self, bound: u64) -> Result<()> {
        let value = self.value.load(Ordering::Relaxed);
        let mine = Identity::mine().bits();
        let holds = |holder: &Holder| holder.held.load(Ordering::Relaxed) > 0;
        let own = self.place_of(mine).filter(|(_, held)| *held > 0).map(|(place, _)| place);
        let place = own.or_else(|| self.holders.iter().position(holds));
        let too_many = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("a semaphore released above {bound} permits"),
            )
        };
        if value >= bound {
            return Err(too_many());
        }
        match place {
            Some(place) => {
                let holder = &self.holders[place];
                let process = holder.process.load(Ordering::Relaxed);
                let held = holder.held.load(Ordering::Relaxed);
                self.commit(value + 1, place, process, held - 1);
            }
            // One word: both before and after a kill it is right.
            None => self.value.store(value + 1, Ordering::Relaxed),
        }
        Ok(())
    }
}

impl Semaphore {
    /// Makes a semaphore with `permits` permits.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new(permits: u32) -> Result<Self> {
        let object = Object::<SemaphoreBody>::new()?;
        object.body().value.store(permits.into(), Ordering::Relaxed);
        object.body().initial.store(permits.into(), Ordering::Relaxed);
        Ok(Self { object })
    }

    /// Another handle of the same semaphore.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// Acquires a permit. Waits until there is one: a release wakes one waiter,
    /// and a holder's end is noticed within 0.1 s.
    ///
    /// # Errors
    ///
    /// If too many processes hold permits: see [`Semaphore`].
    pub fn acquire(&self) -> Result<Permit<'_>> {
        loop {
            if let Some(permit) = self.acquire_until(None)? {
                return Ok(permit);
            }
        }
    }

    /// Acquires a permit if there is one.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Semaphore::acquire).
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        let body = self.object.body();
        let section = body.enter();
        let taken = body.take();
        drop(section);
        Ok(taken?.map(|()| Permit { semaphore: self, bound: MOST, holder: Identity::mine() }))
    }

    /// Acquires a permit, waiting for at most `timeout`: `None` if there was none.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Semaphore::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>> {
        self.acquire_until(Instant::now().checked_add(timeout))
    }

    /// Releases a permit: one of this process, or if it has none, one that another
    /// holds, or if nobody does, a new one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there are as many as can be counted.
    pub fn release(&self) -> Result<()> {
        self.give(MOST)
    }

    /// Makes the permits that this process holds nobody's, on purpose: its end does
    /// not return them. Each remains taken until somebody calls
    /// [`release`](Semaphore::release).
    pub fn leave_taken(&self) {
        let body = self.object.body();
        let _section = body.enter();
        body.disown(Identity::mine().bits());
    }

    /// Returns the permits of the dead now, which is done anyway when there is no
    /// other.
    pub fn reclaim(&self) {
        let body = self.object.body();
        let section = body.enter();
        let any = body.take_back();
        drop(section);
        if any {
            body.changed.wake_one();
        }
    }

    /// The number of permits that nobody holds, at this moment.
    #[must_use]
    pub fn value(&self) -> u32 {
        let value = self.object.body().value.load(Ordering::Relaxed);
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// Acquires a permit until then.
    fn acquire_until(&self, deadline: Option<Instant>) -> Result<Option<Permit<'_>>> {
        let body = self.object.body();
        let mut naps = Naps::short();
        loop {
            if let Some(permit) = self.try_acquire()? {
                // More may have been released, with one wake for all.
                if body.value.load(Ordering::Relaxed) > 0 {
                    body.changed.wake_one();
                }
                return Ok(Some(permit));
            }
            let Some(nap) = naps.next(deadline) else { return Ok(None) };
            body.changed.sleep(nap, || body.value.load(Ordering::SeqCst) > 0);
        }
    }

    /// Releases a permit unless there are `bound`.
    fn give(&self, bound: u64) -> Result<()> {
        let body = self.object.body();
        let section = body.enter();
        let given = body.give(bound);
        drop(section);
        body.changed.wake_one();
        given
    }
}

impl BoundedSemaphore {
    /// Makes a semaphore with `permits` permits, and never more.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new(permits: u32) -> Result<Self> {
        Ok(Self { semaphore: Semaphore::new(permits)? })
    }

    /// Another handle of the same semaphore.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { semaphore: self.semaphore.try_clone()? })
    }

    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire`].
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.semaphore.acquire().map(|permit| self.bounded(permit))
    }

    /// As [`Semaphore::try_acquire`].
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire`].
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        Ok(self.semaphore.try_acquire()?.map(|permit| self.bounded(permit)))
    }

    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Semaphore::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>> {
        Ok(self.semaphore.acquire_timeout(timeout)?.map(|permit| self.bounded(permit)))
    }

    /// Releases a permit: one of this process, or one that another holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if nobody holds one.
    pub fn release(&self) -> Result<()> {
        self.semaphore.give(self.bound())
    }

    /// As [`Semaphore::leave_taken`].
    pub fn leave_taken(&self) {
        self.semaphore.leave_taken();
    }

    /// As [`Semaphore::reclaim`].
    pub fn reclaim(&self) {
        self.semaphore.reclaim();
    }

    /// The number of permits that nobody holds, at this moment.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.semaphore.value()
    }

    /// The number of permits that it began with.
    fn bound(&self) -> u64 {
        self.semaphore.object.body().initial.load(Ordering::Relaxed)
    }

    /// A permit that is not released above the bound.
    fn bounded<'a>(&self, mut permit: Permit<'a>) -> Permit<'a> {
        permit.bound = self.bound();
        permit
    }
}

/// Holds a permit, and releases it when dropped. A copy that a fork made holds
/// nothing.
#[must_use = "the permit is released at once if it is not kept"]
pub struct Permit<'a> {
    /// What it is of.
    semaphore: &'a Semaphore,
    /// The most permits after its release.
    bound: u64,
    /// The process that holds it: not one that a fork gave a copy.
    holder: Identity,
}

impl Permit<'_> {
    /// Keeps the permit from being released by its drop: until somebody calls
    /// `release`, or this process ends.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.holder == Identity::mine() {
            // Somebody may have released it already.
            let _ = self.semaphore.give(self.bound);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
