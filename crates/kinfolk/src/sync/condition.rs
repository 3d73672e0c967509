//! Waiting for what another does under a lock.
#![allow(unsafe_code)] // Its memory is made of atomics.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PARTICIPANTS;
use super::abandoned::Abandoned;
use super::lock::{Lock, LockGuard};
use super::object::{Body, Object};
use super::owner::OwnerWord;
use super::signal::Naps;
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;
use crate::sys::identity::Identity;
use crate::{Error, ErrorKind, Result};

/// A waiter's state: it waits.
const WAITING: u32 = 1;
/// A waiter's state: it may go on.
const NOTIFIED: u32 = 2;

/// A condition that processes wait for, under a [`Lock`].
///
/// It travels inside values. A notification wakes as many living waiters as it
/// says, those first who wait longest: a waiter that was killed swallows none,
/// and one that was notified and killed before it went on passes its
/// notification to another, within 0.1 s. No waiter goes on without a
/// notification, except after the death of who was passing one on.
///
/// At most 1,000 wait at a time.
///
/// ```
/// use kinfolk::{Condition, Lock};
///
/// let (lock, condition) = (Lock::new()?, Condition::new()?);
/// let ready = std::sync::atomic::AtomicBool::new(false);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let _guard = lock.lock().unwrap();
///         ready.store(true, std::sync::atomic::Ordering::Relaxed);
///         condition.notify_all();
///     });
///     let guard = lock.lock().unwrap();
///     let is_ready = || ready.load(std::sync::atomic::Ordering::Relaxed);
///     let _guard = condition.wait_while(guard, || !is_ready()).unwrap();
/// });
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "Condvar")]
pub struct Condition {
    /// Its memory.
    pub(super) object: Object<ConditionBody>,
}

/// A condition in shared memory.
pub(super) struct ConditionBody {
    /// Who changes it.
    section: OwnerWord,
    /// The ticket of the next waiter.
    next: AtomicU64,
    /// Who waits.
    waiters: [Waiter; PARTICIPANTS],
}

/// One who waits.
///
/// | state | leaves it by, in the section | if killed here |
/// |---|---|---|
/// | `process` 0: free | waiter: ticket and state, then → itself | nothing has happened |
/// | `WAITING` | notifier: → `NOTIFIED`, and then wakes it | a dead waiter: freed by the next notifier; a dead notifier: the waiter wakes by itself |
/// | | waiter that gives up: → free | as above |
/// | `NOTIFIED` | waiter, once it has the lock: → free | a dead waiter: the next notifier or sleeper notifies another, then frees it |
/// | | waiter that leaves without having waited: notifies another, and then → free | between the two: as above, so it is passed on twice, not never |
struct Waiter {
    /// The process, or 0.
    process: AtomicU64,
    /// Its place among the waiters: the lower waits longer.
    ticket: AtomicU64,
    /// What it does; it sleeps on this.
    state: AtomicU32,
}

// SAFETY: words; without waiters when they are zero.
unsafe impl Body for ConditionBody {
    const NAME: &'static CStr = c"kinfolk-condition";
    const KIND: u64 = u64::from_le_bytes(*b"kf cond1");
}

/// A wait that ended: the lock is held again.
type Waited<'a, T> = Result<T, Abandoned<LockGuard<'a>>>;

impl Condition {
    /// Makes a condition that nobody waits for.
    ///
    /// # Errors
    ///
    /// If there is no memory or no file descriptor for it.
    pub fn new() -> Result<Self> {
        Ok(Self { object: Object::new()? })
    }

    /// Another handle of the same condition.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// Releases the lock, waits for a notification, and acquires the lock again.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the lock's last holder ended with it: it holds the guard.
    ///
    /// # Panics
    ///
    /// If there are too many waiters: see [`Condition`].
    pub fn wait<'a>(&self, guard: LockGuard<'a>) -> Waited<'a, LockGuard<'a>> {
        self.wait_until(guard, None).0
    }

    /// As [`wait`](Condition::wait), for at most `timeout`, not counting the time
    /// that acquiring the lock takes; the second value is whether it was notified.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condition::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Condition::wait).
    pub fn wait_timeout<'a>(
        &self,
        guard: LockGuard<'a>,
        timeout: Duration,
    ) -> Waited<'a, (LockGuard<'a>, bool)> {
        let (guard, notified) = self.wait_until(guard, Instant::now().checked_add(timeout));
        guard.map(|guard| (guard, notified))
    }

    /// Waits as long as `condition` holds, looking at it under the lock, first at
    /// once and then after each notification.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condition::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Condition::wait).
    #[doc(alias = "wait_for")]
    pub fn wait_while<'a>(
        &self,
        mut guard: LockGuard<'a>,
        mut condition: impl FnMut() -> bool,
    ) -> Waited<'a, LockGuard<'a>> {
        while condition() {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Becomes a waiter, for those whose lock is of another kind. They call this
    /// while they hold it, release it, wait, acquire it again, and drop what this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there are too many waiters: see [`Condition`].
    pub fn enlist(&self) -> Result<Enlisted<'_>> {
        let body = self.object.body();
        Ok(Enlisted { body, waiter: body.enlist()?, notified: false, left: false })
    }

    /// The number of processes and threads that wait, at this moment.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.object.body().in_state(WAITING).filter(|waiter| !waiter.is_dead()).count()
    }

    /// Notifies the one that waits longest.
    #[doc(alias = "notify")]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies all that wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Notifies `count` waiters, those that wait longest.
    pub fn notify(&self, count: usize) {
        let body = self.object.body();
        let _section = body.section.enter();
        body.pass_on();
        body.notify(count);
    }

    /// The lock that a guard holds, without it: and whether this was notified.
    fn wait_until<'a>(
        &self,
        guard: LockGuard<'a>,
        deadline: Option<Instant>,
    ) -> (Waited<'a, LockGuard<'a>>, bool) {
        let lock: &'a Lock = guard.lock();
        let mut enlisted = self.enlist().expect("at most 1,000 wait for a condition");
        drop(guard);
        let notified = enlisted.wait_until(deadline);
        // Not before it is dropped: killed while it waits for the lock, it has not
        // gone on.
        (lock.lock(), notified)
    }
}

/// A place among the waiters of a [`Condition`]: see [`Condition::enlist`].
///
/// If its process is killed before it is dropped, its notification goes to another
/// waiter; likewise if it is dropped without having waited for it.
#[must_use = "who does not wait is no waiter any more"]
pub struct Enlisted<'a> {
    /// What it waits for.
    body: &'a ConditionBody,
    /// Its place.
    waiter: &'a Waiter,
    /// Whether it has heard of its notification.
    notified: bool,
    /// Whether the place is its no more.
    left: bool,
}

impl Enlisted<'_> {
    /// Waits for the notification, for at most `timeout`, and returns whether it
    /// came. If not, this is no waiter any more.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// Waits until then.
    fn wait_until(&mut self, deadline: Option<Instant>) -> bool {
        if !self.notified && !self.left {
            self.notified = self.body.sleep(self.waiter, deadline);
            self.left = !self.notified;
        }
        self.notified
    }
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let _section = self.body.section.enter();
        if !self.notified && self.waiter.state.load(Ordering::Relaxed) == NOTIFIED {
            self.body.notify(1);
        }
        self.waiter.process.store(0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Enlisted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enlisted")
    }
}

impl ConditionBody {
    /// Becomes a waiter.
    fn enlist(&self) -> Result<&Waiter> {
        let _section = self.section.enter();
        let is_free = |waiter: &&Waiter| waiter.process.load(Ordering::Relaxed) == 0;
        let free = self.waiters.iter().find(is_free).or_else(|| {
            self.free_the_dead();
            self.waiters.iter().find(is_free)
        });
        let Some(waiter) = free else {
            return Err(Error::new(ErrorKind::Exhausted, "too many wait for a condition"));
        };
        waiter.ticket.store(self.next.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        waiter.state.store(WAITING, Ordering::Relaxed);
        waiter.process.store(Identity::mine().bits(), Ordering::Release);
        Ok(waiter)
    }

    /// Sleeps until notified; returns `false`, and is no waiter any more, if it was
    /// not until the deadline.
    fn sleep(&self, waiter: &Waiter, deadline: Option<Instant>) -> bool {
        let mut naps = Naps::long();
        while waiter.state.load(Ordering::Acquire) == WAITING {
            let Some(nap) = naps.next(deadline) else { break };
            futex::wait(&waiter.state, WAITING, nap);
            if waiter.state.load(Ordering::Acquire) == WAITING {
                let _section = self.section.enter();
                self.pass_on();
            }
        }
        let _section = self.section.enter();
        let notified = waiter.state.load(Ordering::Relaxed) == NOTIFIED;
        if !notified {
            waiter.process.store(0, Ordering::Relaxed);
        }
        notified
    }

    /// Notifies the `count` that wait longest and live, in the section.
    fn notify(&self, count: usize) {
        let mut waiting: Vec<&Waiter> = self.in_state(WAITING).collect();
        waiting.sort_unstable_by_key(|waiter| waiter.ticket.load(Ordering::Relaxed));
        let mut left = count;
        for waiter in waiting {
            if left == 0 {
                break;
            }
            if waiter.is_dead() {
                waiter.process.store(0, Ordering::Relaxed);
                continue;
            }
            waiter.state.store(NOTIFIED, Ordering::Release);
            futex::wake(&waiter.state, 1);
            left -= 1;
        }
    }

    /// Passes on the notifications of the dead, in the section.
    fn pass_on(&self) {
        for waiter in self.in_state(NOTIFIED).filter(|waiter| waiter.is_dead()) {
            // In this order: a kill in between passes it on twice, not never.
            self.notify(1);
            waiter.process.store(0, Ordering::Relaxed);
        }
    }

    /// Makes room, in the section.
    fn free_the_dead(&self) {
        self.pass_on();
        for waiter in self.in_state(WAITING).filter(|waiter| waiter.is_dead()) {
            waiter.process.store(0, Ordering::Relaxed);
        }
    }

    /// The waiters in a state.
    fn in_state(&self, state: u32) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().filter(move |waiter| {
            waiter.process.load(Ordering::Acquire) != 0
                && waiter.state.load(Ordering::Relaxed) == state
        })
    }
}

impl Waiter {
    /// Whether its process has ended.
    fn is_dead(&self) -> bool {
        let process = Identity::from_bits(self.process.load(Ordering::Relaxed));
        process.is_some_and(|process| !process.is_alive())
    }
}
