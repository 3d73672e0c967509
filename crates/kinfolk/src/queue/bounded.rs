//! Making a queue.

use std::sync::Arc;

use super::end::End;
use super::receiver::Receiver;
use super::ring::Ring;
use super::sender::Sender;
use crate::Result;

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
#[must_use = "options do nothing until a queue is made with them"]
pub struct Options {
    /// The most messages.
    capacity: usize,
    /// The most bytes.
    bytes: usize,
}

impl Options {
    /// A queue of at most `capacity` messages, in at most 64 MiB.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, bytes: 64 << 20 }
    }

    /// Limits the bytes in the queue, from 64 KiB to 4 GiB, separately for those in
    /// messages of at most 32 KiB, of which each takes 8 more, and for those in
    /// larger ones, of which each takes whole pages. A message may be as large as
    /// this. Memory is used as it is needed, and kept until the queue is gone.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Makes the memory of a queue of these limits.
    pub(super) fn ring(self) -> Result<Ring> {
        Ring::new(self.capacity, self.bytes)
    }
}

/// Makes a queue of at most `capacity` messages and 64 MiB.
///
/// Both ends can be cloned and sent to other processes, inside any value.
///
/// ```standalone_crate
/// use kinfolk::{Process, queue};
///
/// fn work((jobs, results): (queue::Receiver<u32>, queue::Sender<u64>)) {
///     for job in &jobs {
///         results.send(&(u64::from(job) * 2)).expect("the parent receives");
///     }
/// }
///
/// fn main() -> kinfolk::Result<()> {
///     let _family = kinfolk::init();
///     let (jobs, to_do) = queue::bounded(100)?;
///     let (done, results) = queue::bounded(100)?;
///     let worker = Process::spawn(work, (to_do, done))?;
///     jobs.send_many(&[1, 2, 3])?;
///     jobs.close();
///     assert_eq!(results.iter().collect::<Vec<_>>(), [2, 4, 6]);
///     worker.join()
/// }
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for no message or
/// more than 8,388,607; or if there is no memory or no file descriptor for it.
#[doc(alias = "Queue")]
pub fn bounded<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    with_options(Options::new(capacity))
}

/// Makes a queue with limits of its own.
///
/// # Errors
///
/// As [`bounded`].
pub fn with_options<T>(options: Options) -> Result<(Sender<T>, Receiver<T>)> {
    let (sending, receiving) = End::pair(options.ring()?)?;
    Ok((Sender::new(Arc::new(sending)), Receiver::new(Arc::new(receiving))))
}
