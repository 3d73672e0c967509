//! What was asked of a pool in one call, and what has come of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::protocol::{self, CHUNK_HEAD, ITEM_HEAD, Panic, Status};
use super::worker::Call;
use crate::wire::{codec, packed};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// Consecutive items of a job, on their way to a worker.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The job.
    pub(super) job: u64,
    /// What is called for each.
    pub(super) call: Call,
    /// The number of the first in the job.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u32,
    /// The message to a worker: room for its head, and the items, each behind its own.
    pub(super) message: Vec<u8>,
    /// The size of what is before the items: the head, and a function that travels along.
    head: usize,
    /// How many workers have died with its first item.
    pub(super) deaths: u32,
    /// Whether it may wait at a worker that is busy: it is one of many.
    pub(super) ahead: bool,
}

impl Chunk {
    /// An empty chunk.
    pub(super) fn new(job: u64, call: Call, first: u64, ahead: bool) -> Self {
        let (message, head) = (vec![0; CHUNK_HEAD], CHUNK_HEAD);
        Self { job, call, first, count: 0, message, head, deaths: 0, ahead }
    }

    /// An empty chunk of items as bytes, and what is called for each, which travels along.
    pub(super) fn of_bytes(job: u64, first: u64, function: &[u8], ahead: bool) -> Self {
        let mut chunk = Self::new(job, Call::Bytes { job, length: function.len() }, first, ahead);
        chunk.message.extend_from_slice(function);
        chunk.head = chunk.message.len();
        chunk
    }

    /// Adds an item that `write` appends to the message. What it returns as an error comes
    /// back, and nothing is added then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if it is larger than 1 GiB.
    pub(super) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), E>> {
        let start = self.message.len();
        self.message.extend([0; ITEM_HEAD]);
        let written = write(&mut self.message);
        let length = self.message.len().saturating_sub(start + ITEM_HEAD);
        if written.is_err() || length > protocol::LARGEST {
            self.message.truncate(start);
        }
        if written.is_err() {
            return Ok(written);
        }
        if length > protocol::LARGEST {
            return Err(Error::new(ErrorKind::TooLong, "an argument is larger than 1 GiB"));
        }
        let head = protocol::item_head(length, Status::Done);
        self.message[start..start + ITEM_HEAD].copy_from_slice(&head);
        self.count += 1;
        Ok(written)
    }

    /// Adds an item.
    ///
    /// # Errors
    ///
    /// If it cannot be serialised; it is not added then.
    #[inline]
    pub(super) fn push<A: serde::Serialize>(&mut self, item: &A) -> Result<()> {
        let mut room = [0; codec::SMALL];
        match packed::write(item, &mut room[ITEM_HEAD..])? {
            Some(length) => {
                room[..ITEM_HEAD].copy_from_slice(&protocol::item_head(length, Status::Done));
                self.message.extend_from_slice(&room[..ITEM_HEAD + length]);
            }
            None => self.push_large(item)?,
        }
        self.count += 1;
        Ok(())
    }

    /// Adds an item that is not small, uncounted.
    fn push_large<A: serde::Serialize>(&mut self, item: &A) -> Result<()> {
        let start = self.message.len();
        self.message.extend([0; ITEM_HEAD]);
        let appended = packed::append(item, &mut self.message);
        let length = self.message.len() - start - ITEM_HEAD;
        if let Err(error) = appended {
            self.message.truncate(start);
            return Err(error);
        }
        if length > protocol::LARGEST {
            self.message.truncate(start);
            return Err(Error::new(ErrorKind::TooLong, "an argument is larger than 1 GiB"));
        }
        let head = protocol::item_head(length, Status::Done);
        self.message[start..start + ITEM_HEAD].copy_from_slice(&head);
        Ok(())
    }

    /// Splits off what is behind the first `count` items; `None` if that is nothing.
    pub(super) fn split_off(&mut self, count: u32) -> Option<Self> {
        let length = protocol::length_of(self.message.get(self.head..)?, count)?;
        let mut message = self.message[..self.head].to_vec();
        message.extend_from_slice(&self.message[self.head + length..]);
        self.message.truncate(self.head + length);
        let rest = Self {
            first: self.first + u64::from(count),
            count: self.count.checked_sub(count)?,
            message,
            deaths: 0,
            ..*self
        };
        self.count = count;
        (rest.count > 0).then_some(rest)
    }
}

/// Why an item has no result.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// The kind of its error.
    pub(super) kind: ErrorKind,
    /// Its text.
    pub(super) text: Arc<str>,
    /// How its worker died, if that is why.
    pub(super) death: Option<Death>,
}

/// How a worker died.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// Its process id.
    pub(super) pid: u32,
    /// How that process ended.
    pub(super) status: ExitStatus,
}

impl Failure {
    /// A failure of a kind that reads so.
    pub(super) fn new(kind: ErrorKind, text: impl Into<Arc<str>>) -> Self {
        Self { kind, text: text.into(), death: None }
    }

    /// As an error.
    pub(super) fn to_error(&self) -> Error {
        Error::new(self.kind, &*self.text)
    }
}

/// What has come of consecutive items.
#[derive(Debug)]
pub(super) struct Batch {
    /// The number of the first in the job.
    pub(super) first: u64,
    /// How many are left.
    pub(super) count: u32,
    /// Their results.
    content: Content,
}

/// The results of a batch.
#[derive(Debug)]
enum Content {
    /// As the worker of this name sent them; the first is there.
    Sent { bytes: Vec<u8>, place: usize, worker: Arc<str> },
    /// None.
    Failed(Failure),
}

impl Batch {
    /// As a worker sent them, behind `place` in its message.
    pub(super) fn sent(
        first: u64,
        count: u32,
        bytes: Vec<u8>,
        place: usize,
        worker: Arc<str>,
    ) -> Self {
        Self { first, count, content: Content::Sent { bytes, place, worker } }
    }

    /// None.
    pub(super) fn failed(first: u64, count: u32, failure: Failure) -> Self {
        Self { first, count, content: Content::Failed(failure) }
    }

    /// Whether all results are values.
    pub(super) fn is_successful(&self) -> bool {
        match &self.content {
            Content::Failed(_) => false,
            Content::Sent { bytes, place, .. } => {
                let mut rest = bytes.get(*place..).unwrap_or_default();
                let mut taken = (0..self.count).map(|_| protocol::take_item(&mut rest));
                taken.all(|item| item.is_some_and(|(status, _)| status == Status::Done))
            }
        }
    }

    /// Takes the first result, with its number, as bytes.
    pub(super) fn next_bytes(&mut self) -> Option<(u64, Taken<'_>)> {
        self.count = self.count.checked_sub(1)?;
        let number = self.first;
        self.first += 1;
        let taken = match &mut self.content {
            Content::Failed(failure) => Taken::Failed(failure),
            Content::Sent { bytes, place, worker } => {
                let mut rest = bytes.get(*place..).unwrap_or_default();
                let item = protocol::take_item(&mut rest);
                *place = bytes.len() - rest.len();
                Taken::Sent(item, worker)
            }
        };
        Some((number, taken))
    }

    /// Takes the first result.
    #[inline]
    pub(super) fn next<R: DeserializeOwned>(&mut self) -> Option<(u64, Result<R>)> {
        self.count = self.count.checked_sub(1)?;
        let number = self.first;
        self.first += 1;
        let result = match &mut self.content {
            Content::Failed(failure) => Err(failure.to_error()),
            Content::Sent { bytes, place, worker } => {
                let mut rest = bytes.get(*place..).unwrap_or_default();
                let result = result(&mut rest, number, worker);
                *place = bytes.len() - rest.len();
                result
            }
        };
        Some((number, result))
    }

    /// Takes all results.
    #[inline]
    pub(super) fn fold<R: DeserializeOwned, B>(
        self,
        init: B,
        fold: &mut impl FnMut(B, Result<R>) -> B,
    ) -> B {
        let numbers = self.first..self.first + u64::from(self.count);
        match &self.content {
            Content::Failed(failure) => {
                numbers.fold(init, |folded, _| fold(folded, Err(failure.to_error())))
            }
            Content::Sent { bytes, place, worker } => {
                let mut rest = bytes.get(*place..).unwrap_or_default();
                numbers.fold(init, |folded, number| fold(folded, result(&mut rest, number, worker)))
            }
        }
    }
}

/// A result as bytes.
pub(super) enum Taken<'a> {
    /// As the worker of this name sent it, if it is whole.
    Sent(Option<(Status, &'a [u8])>, &'a Arc<str>),
    /// None.
    Failed(&'a Failure),
}

/// Takes the first result, that of an item of this number, off what a worker sent.
#[inline]
fn result<R: DeserializeOwned>(bytes: &mut &[u8], number: u64, worker: &str) -> Result<R> {
    match protocol::take_item(bytes) {
        Some((Status::Done, content)) => {
            packed::read(content).map_err(|error| unreadable(number, &error))
        }
        taken => Err(refused(taken, number, worker)),
    }
}

/// That the result of an item is not of its type.
#[cold]
fn unreadable(number: u64, error: &Error) -> Error {
    let text = format!("the result of item {number} cannot be deserialised: {error}");
    Error::new(ErrorKind::Deserialize, text)
}

/// What a worker says of an item that has no value.
#[cold]
fn refused(taken: Option<(Status, &[u8])>, number: u64, worker: &str) -> Error {
    let text = |content| String::from_utf8_lossy(content);
    match taken {
        Some((Status::Panicked, content)) => match codec::decode(content, Vec::new()) {
            Ok(panic) => panicked(worker, number, panic),
            Err(error) => error,
        },
        Some((Status::BadArgument, content)) => Error::new(
            ErrorKind::Deserialize,
            format!("{worker} could not deserialise item {number}: {}", text(content)),
        ),
        Some((Status::BadResult, content)) => Error::new(
            ErrorKind::Serialize,
            format!("{worker} could not serialise the result of item {number}: {}", text(content)),
        ),
        Some((Status::Done, _)) | None => {
            Error::new(ErrorKind::Protocol, format!("{worker} sent no result of item {number}"))
        }
    }
}

/// The error of an item whose function panicked.
pub(super) fn panicked(worker: &str, number: u64, panic: Panic) -> Error {
    let place = panic.location.map(|place| format!(" at {place}")).unwrap_or_default();
    let trace = panic.backtrace.map(|trace| format!("\n{trace}")).unwrap_or_default();
    let message = panic.message;
    let text = format!("{worker} panicked at item {number}{place}: {message}{trace}");
    Error::new(ErrorKind::Panicked, text)
}

/// What is called when a job is done, with all that has come of it.
pub(super) type Callback = Box<dyn FnOnce(BTreeMap<u64, Batch>) + Send>;

/// What was asked for in one call.
#[derive(Default)]
pub(super) struct Job {
    /// What has come and was not taken, by the number of the first item.
    pub(super) batches: BTreeMap<u64, Batch>,
    /// How many items have been added and are not done.
    pub(super) open: u64,
    /// How many items are done.
    pub(super) done: u64,
    /// How long an item takes, in nanoseconds, by the last that came.
    pub(super) item_nanos: Option<f64>,
    /// Whether it goes on while nobody waits for it.
    pub(super) in_background: bool,
    /// Whether nobody wants it any more.
    pub(super) cancelled: bool,
    /// Whether nobody will ask what has come of it.
    pub(super) detached: bool,
    /// Whether the host is told of its end.
    pub(super) to_tell: bool,
    /// What is called at its end.
    pub(super) callback: Option<Callback>,
    /// How long an item may take.
    pub(super) timeout: Option<Duration>,
    /// How often an item is tried again whose worker has died.
    pub(super) retries: u32,
}

impl Job {
    /// Adds what has come. Returns whether the job is done with it.
    pub(super) fn add(&mut self, batch: Batch) -> bool {
        let count = u64::from(batch.count);
        self.open = self.open.saturating_sub(count);
        self.done += count;
        self.batches.insert(batch.first, batch);
        self.open == 0
    }

    /// Learns how long items take.
    pub(super) fn learn(&mut self, nanos: u64, count: u32) {
        let each = nanos as f64 / f64::from(count.max(1));
        self.item_nanos = Some(self.item_nanos.map_or(each, |before| before.midpoint(each)));
    }
}
