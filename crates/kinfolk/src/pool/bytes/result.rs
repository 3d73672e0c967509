//! What has come of items.

use super::super::job::{Batch, Taken};
use super::super::protocol::Status;
use crate::{Error, ErrorKind, ExitStatus};

/// Results of consecutive items of a job.
#[derive(Debug)]
pub struct ByteBatch {
    /// The results.
    inner: Batch,
}

/// The result of an item.
#[derive(Debug)]
pub enum ByteResult<'a> {
    /// What the function returned.
    Value(&'a [u8]),
    /// What it raised, and the name of the worker.
    Raised(&'a [u8], &'a str),
    /// Its worker died.
    Died {
        /// The worker's process id.
        pid: u32,
        /// How that process ended.
        status: ExitStatus,
        /// The same in words.
        text: &'a str,
    },
    /// It was not run, or not to its end.
    Failed(Error),
}

impl ByteBatch {
    /// Wraps a batch.
    pub(super) fn new(inner: Batch) -> Self {
        Self { inner }
    }

    /// How many results are left.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.inner.count
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.count == 0
    }

    /// Takes the first result, with the number of its item.
    pub fn take_next(&mut self) -> Option<(u64, ByteResult<'_>)> {
        let (number, taken) = self.inner.next_bytes()?;
        let result = match taken {
            Taken::Sent(Some((Status::Done, value)), _) => ByteResult::Value(value),
            Taken::Sent(Some((Status::Panicked, value)), worker) => {
                ByteResult::Raised(value, worker)
            }
            Taken::Sent(Some((_, reason)), worker) => {
                let reason = String::from_utf8_lossy(reason);
                let text = format!("{worker} has no result of item {number}: {reason}");
                ByteResult::Failed(Error::new(ErrorKind::Serialize, text))
            }
            Taken::Sent(None, worker) => {
                let text = format!("{worker} sent no result of item {number}");
                ByteResult::Failed(Error::new(ErrorKind::Protocol, text))
            }
            Taken::Failed(failure) => match failure.death {
                Some(death) => {
                    ByteResult::Died { pid: death.pid, status: death.status, text: &failure.text }
                }
                None => ByteResult::Failed(failure.to_error()),
            },
        };
        Some((number, result))
    }
}
