//! The locks that are measured.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use kinfolk::{Abandoned, Lock};

use crate::bench::Result;
use crate::shared::{Body, InMemory, futex_wait, futex_wake};

/// What one process at a time does something under.
pub(crate) trait Exclusive {
    /// Locks, does something, unlocks. A holder that died is no obstacle.
    fn exclude<R>(&self, inside: impl FnOnce() -> R) -> Result<R>;
}

impl Exclusive for Lock {
    #[inline]
    fn exclude<R>(&self, inside: impl FnOnce() -> R) -> Result<R> {
        let _guard = self.lock().unwrap_or_else(Abandoned::into_inner);
        Ok(inside())
    }
}

/// The floor: a word that is 0 if free, 1 if held, and 2 if somebody may sleep.
/// It is lost with its holder.
pub(crate) struct Word(AtomicU32);

// SAFETY: a word, free if it is zero.
unsafe impl Body for Word {}

/// How often one looks before one sleeps.
const LOOKS: u32 = 100;

impl Word {
    /// Locks it while another holds it.
    #[cold]
    fn lock_slowly(&self) {
        for _ in 0..LOOKS {
            if self.0.load(Ordering::Relaxed) == 0 && self.try_lock() {
                return;
            }
            std::hint::spin_loop();
        }
        while self.0.swap(2, Ordering::Acquire) != 0 {
            futex_wait(&self.0, 2);
        }
    }

    /// Locks it if it is free.
    #[inline]
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl Exclusive for InMemory<Word> {
    #[inline]
    fn exclude<R>(&self, inside: impl FnOnce() -> R) -> Result<R> {
        if !self.try_lock() {
            self.lock_slowly();
        }
        let result = inside();
        if self.0.swap(0, Ordering::Release) == 2 {
            futex_wake(&self.0);
        }
        Ok(result)
    }
}

/// A mutex of the C library that outlives its holder.
pub(crate) struct RobustMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the C library's functions alone use it, and they may from any thread.
unsafe impl Sync for RobustMutex {}
// SAFETY: zeros are a mutex; `robust_mutex` makes it a robust one.
unsafe impl Body for RobustMutex {}

/// Makes a robust mutex for several processes.
pub(crate) fn robust_mutex() -> Result<InMemory<RobustMutex>> {
    let mutex = InMemory::<RobustMutex>::new()?;
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: it initialises what it is given.
    check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
    // SAFETY: nobody else knows the memory yet, which is large enough and aligned.
    check(unsafe { libc::pthread_mutex_init(mutex.0.get(), attributes) })?;
    Ok(mutex)
}

impl Exclusive for InMemory<RobustMutex> {
    #[inline]
    fn exclude<R>(&self, inside: impl FnOnce() -> R) -> Result<R> {
        let mutex = self.0.get();
        // SAFETY: initialised by `robust_mutex`, and mapped as long as `self` lives.
        match unsafe { libc::pthread_mutex_lock(mutex) } {
            // SAFETY: as above; this thread holds it since.
            libc::EOWNERDEAD => check(unsafe { libc::pthread_mutex_consistent(mutex) })?,
            locked => check(locked)?,
        }
        let result = inside();
        // SAFETY: as above; this thread holds it.
        check(unsafe { libc::pthread_mutex_unlock(mutex) })?;
        Ok(result)
    }
}

/// A semaphore of the C library. A holder that dies takes its permit along.
pub(crate) struct Semaphore(UnsafeCell<libc::sem_t>);

// SAFETY: the C library's functions alone use it, and they may from any thread.
unsafe impl Sync for Semaphore {}
// SAFETY: `semaphore` initialises it before anyone uses it.
unsafe impl Body for Semaphore {}

/// Makes a semaphore of one permit for several processes.
pub(crate) fn semaphore() -> Result<InMemory<Semaphore>> {
    let semaphore = InMemory::<Semaphore>::new()?;
    // SAFETY: nobody else knows the memory yet, which is large enough and aligned.
    check_errno(unsafe { libc::sem_init(semaphore.0.get(), 1, 1) })?;
    Ok(semaphore)
}

impl Exclusive for InMemory<Semaphore> {
    #[inline]
    fn exclude<R>(&self, inside: impl FnOnce() -> R) -> Result<R> {
        let semaphore = self.0.get();
        // SAFETY: initialised by `semaphore`, and mapped as long as `self` lives.
        check_errno(unsafe { libc::sem_wait(semaphore) })?;
        let result = inside();
        // SAFETY: as above.
        check_errno(unsafe { libc::sem_post(semaphore) })?;
        Ok(result)
    }
}

/// Checks the error that a function returns.
#[inline]
fn check(error: i32) -> Result<()> {
    if error == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(error).into()) }
}

/// Checks the result of a function that sets the thread's error.
#[inline]
fn check_errno(result: i32) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
