//! A message that goes back if it is not done.

use std::fmt;
use std::ops::Deref;

use super::end::End;

/// A value that was received on lease: see
/// [`Receiver::recv_leased`](crate::queue::Receiver::recv_leased).
///
/// Dropping it gives the message back to the queue; so does the end of its
/// process, killed or not, as soon as another receiver waits in one of the queue's own
/// methods. A copy that a fork made holds nothing.
///
/// ```
/// use kinfolk::queue;
///
/// let (sender, receiver) = queue::bounded(10)?;
/// sender.send(&"a job".to_owned())?;
/// drop(receiver.recv_leased()?);
/// let again = receiver.recv_leased()?;
/// assert_eq!(*again, "a job");
/// again.done();
/// sender.join();
/// # Ok::<(), kinfolk::Error>(())
/// ```
#[must_use = "the message goes back to the queue if its lease is not kept"]
pub struct Lease<'a, T> {
    /// The end that it came from.
    end: &'a End,
    /// The extent with its message, until it is settled.
    index: Option<usize>,
    /// The value.
    value: T,
}

impl<'a, T> Lease<'a, T> {
    /// Holds the message of an extent.
    pub(super) fn new(end: &'a End, index: usize, value: T) -> Self {
        Self { end, index: Some(index), value }
    }

    /// Settles the message: it will not be received again.
    #[doc(alias = "task_done")]
    pub fn done(mut self) {
        if let Some(index) = self.index.take() {
            self.end.ring.free(index);
        }
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        if let Some(index) = self.index.take() {
            self.end.give_back(index);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.value).finish()
    }
}
