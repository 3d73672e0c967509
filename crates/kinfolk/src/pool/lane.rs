//! A worker as its pool sees it: what it was sent, in order, and what came back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::Body;
use super::job::{Batch, Chunk, Death, Failure};
use super::protocol::{self, CHUNK_HEAD, RESULTS_HEAD};
use super::slate::Slate;
use crate::queue::{Receiver, Sender};
use crate::{Error, ErrorKind, ExitStatus, Result};

/// How much work may wait at a busy worker, in nanoseconds: more than it takes to
/// send it the next chunk.
const AHEAD: u64 = 1_000_000;
/// The most chunks at a worker.
const MOST_SENT: usize = 64;

/// How much a worker is given before it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All there is.
    All,
    /// So many items.
    Items(u64),
    /// So many chunks.
    Chunks(u64),
}

/// A worker.
pub(super) struct Lane {
    /// Which of the lanes of its pool, ever.
    pub(super) number: u64,
    /// Its process.
    pub(super) process: Arc<Body>,
    /// What it is called in errors.
    pub(super) label: Arc<str>,
    /// Where chunks go; `None` when it is to take no more.
    pub(super) requests: Option<Sender<()>>,
    /// Where results come from.
    pub(super) results: Arc<Receiver<()>>,
    /// What it tells, unless another thread passes that on now, or nobody wants to know.
    #[cfg(feature = "tracing")]
    pub(super) records: Option<super::records::Records>,
    /// Where its last results are if it dies.
    pub(super) slate: Slate,
    /// What it was sent and has not done, in order.
    pub(super) sent: VecDeque<Sent>,
    /// How long that is going to take, in nanoseconds, at a guess.
    pub(super) nanos: u64,
    /// The number of the next item that it is sent.
    pub(super) next: u32,
    /// Whether it has begun, or said why it cannot.
    pub(super) ready: bool,
    /// Since when it is found gone. That it has ended will be seen soon; or it has only
    /// closed its descriptors, and is ended for it.
    pub(super) gone: Option<Instant>,
    /// Since when the first of what it was sent is at its turn.
    pub(super) since: Instant,
    /// Why it is to end, and when it is killed for it.
    pub(super) doom: Option<Doom>,
    /// How many items it was sent.
    pub(super) items: u64,
    /// How many chunks.
    pub(super) chunks: u64,
    /// How long it has worked.
    pub(super) busy: Duration,
    /// When it was started.
    pub(super) started: Instant,
}

/// A chunk that a worker was sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// The chunk.
    pub(super) chunk: Chunk,
    /// The number of its first item in the lane.
    pub(super) first: u32,
    /// How many of its items are done.
    pub(super) done: u32,
    /// How long it is going to take, in nanoseconds, at a guess.
    pub(super) nanos: u64,
}

/// That a worker is to end because of what it runs.
#[derive(Debug)]
pub(super) struct Doom {
    /// What comes of what it runs.
    pub(super) failure: Failure,
    /// When it is killed, if it has not ended by then.
    pub(super) kill_at: Instant,
}

/// What a worker has said.
pub(super) enum Said {
    /// That it takes chunks.
    Ready,
    /// That it cannot begin, and why.
    Failed(String),
    /// What came of items of this job, which took so long, in nanoseconds.
    Results(u64, Batch, u64),
    /// Nothing that a worker says.
    Nonsense,
}

impl Lane {
    /// A worker that was just started.
    pub(super) fn new(
        number: u64,
        process: Body,
        (requests, results): (Sender<()>, Receiver<()>),
        slate: Slate,
    ) -> Self {
        let label = format!("worker `{}` (pid {})", process.name(), process.pid());
        let now = Instant::now();
        Self {
            number,
            process: Arc::new(process),
            label: label.into(),
            requests: Some(requests),
            results: Arc::new(results),
            #[cfg(feature = "tracing")]
            records: None,
            slate,
            sent: VecDeque::new(),
            nanos: 0,
            next: 0,
            ready: false,
            gone: None,
            since: now,
            doom: None,
            items: 0,
            chunks: 0,
            busy: Duration::ZERO,
            started: now,
        }
    }

    /// How many items it may still be given of its share.
    pub(super) fn left_of(&self, share: Share) -> u64 {
        match share {
            Share::All => u64::MAX,
            Share::Items(items) => items.saturating_sub(self.items),
            Share::Chunks(chunks) if self.chunks < chunks => u64::MAX,
            Share::Chunks(_) => 0,
        }
    }

    /// Has it end: it is to take no more.
    pub(super) fn let_go(&mut self) {
        if let Some(requests) = self.requests.take()
            && self.process.is_hosted()
        {
            // It was sent nothing else, so there is room; else its host kills it.
            let _ = requests.try_send_bytes(&[]);
        }
    }

    /// Whether it takes chunks.
    pub(super) fn takes_chunks(&self) -> bool {
        self.requests.is_some() && self.doom.is_none() && self.gone.is_none()
    }

    /// How much it has to do before it would come to one more chunk; `None` if it
    /// takes none now, or has had its share of items.
    ///
    /// Only chunks of one job wait at a worker: if it is ended because of what it runs,
    /// that costs no other job.
    pub(super) fn load(&self, chunk: &Chunk, share: Share) -> Option<usize> {
        if !self.takes_chunks() || self.left_of(share) == 0 {
            return None;
        }
        // Those behind the first are of its job, and ahead as well.
        let Some(Sent { chunk: first, .. }) = self.sent.front() else { return Some(0) };
        let may = chunk.ahead
            && first.ahead
            && first.job == chunk.job
            && (self.sent.len() < 2 || (self.nanos < AHEAD && self.sent.len() < MOST_SENT));
        may.then_some(self.sent.len())
    }

    /// Sends a chunk, whose items take so long each. Gives it back with the reason if
    /// it cannot be sent, with none if there is only no room for it now.
    pub(super) fn send(
        &mut self,
        mut chunk: Chunk,
        item_nanos: Option<f64>,
    ) -> Result<(), (Chunk, Option<Error>)> {
        let Some(requests) = &self.requests else { return Err((chunk, None)) };
        chunk.message[..16].copy_from_slice(&chunk.call.to_bytes());
        chunk.message[16..20].copy_from_slice(&self.next.to_le_bytes());
        chunk.message[20..CHUNK_HEAD].copy_from_slice(&chunk.count.to_le_bytes());
        match requests.try_send_bytes(&chunk.message) {
            Ok(true) => {}
            Ok(false) => return Err((chunk, None)),
            Err(error) => {
                if error.is_disconnected() {
                    self.gone.get_or_insert_with(Instant::now);
                }
                return Err((chunk, Some(error)));
            }
        }
        if self.sent.is_empty() {
            self.since = Instant::now();
        }
        let nanos = item_nanos.map_or(AHEAD, |each| (each * f64::from(chunk.count)) as u64);
        self.nanos = self.nanos.saturating_add(nanos);
        let first = self.next;
        self.next = first.wrapping_add(chunk.count);
        self.items += u64::from(chunk.count);
        self.chunks += 1;
        self.sent.push_back(Sent { chunk, first, done: 0, nanos });
        Ok(())
    }

    /// What it has said since it was last asked; `None` if that is nothing.
    /// With `look` it is also noted if it is gone.
    pub(super) fn hear(&mut self, look: bool) -> Option<Said> {
        if self.results.is_empty() && !look {
            return None;
        }
        let message = match self.results.try_recv_view() {
            Ok(Some(mut view)) => view.take().ok_or_else(|| (view.head(), view.len())),
            Ok(None) => return None,
            Err(error) => {
                if error.is_disconnected() {
                    self.gone.get_or_insert_with(Instant::now);
                }
                return None;
            }
        };
        let said = match message {
            Ok(message) => self.understand(message),
            Err((head, length)) => head.and_then(|head| self.lose(head, length)),
        };
        Some(said.unwrap_or(Said::Nonsense))
    }

    /// What a message of this head and length says for which there is no memory: its
    /// results are lost.
    #[cold]
    fn lose(&mut self, head: [u8; RESULTS_HEAD], length: usize) -> Option<Said> {
        let (first, count, nanos) = protocol::read_results_head(&head)?;
        let (job, number) = self.advance(first, count)?;
        self.busy += Duration::from_nanos(nanos);
        let text = format!("no memory for results of {length} bytes");
        let failure = Failure::new(ErrorKind::Exhausted, text);
        Some(Said::Results(job, Batch::failed(number, count, failure), nanos))
    }

    /// What a message says; `None` if it is not one of a worker's.
    fn understand(&mut self, message: Vec<u8>) -> Option<Said> {
        let (kind, rest) = message.split_first()?;
        match *kind {
            protocol::READY => Some(Said::Ready),
            protocol::FAILED => Some(Said::Failed(String::from_utf8_lossy(rest).into_owned())),
            protocol::RESULTS => {
                let (first, count, nanos) = protocol::read_results_head(&message)?;
                self.busy += Duration::from_nanos(nanos);
                let (job, batch) = self.done(first, count, message, RESULTS_HEAD)?;
                Some(Said::Results(job, batch, nanos))
            }
            _ => None,
        }
    }

    /// Notes that items are done, whose results are in `bytes` from `place` on.
    fn done(
        &mut self,
        first: u32,
        count: u32,
        bytes: Vec<u8>,
        place: usize,
    ) -> Option<(u64, Batch)> {
        bytes.get(place..)?;
        let (job, number) = self.advance(first, count)?;
        Some((job, Batch::sent(number, count, bytes, place, Arc::clone(&self.label))))
    }

    /// Notes that items are done; returns their job, and the number of the first in it.
    fn advance(&mut self, first: u32, count: u32) -> Option<(u64, u64)> {
        let sent = self.sent.front_mut()?;
        let left = sent.chunk.count - sent.done;
        let expected = sent.first.wrapping_add(sent.done);
        if first != expected || count == 0 || count > left {
            return None;
        }
        let number = sent.chunk.first + u64::from(sent.done);
        let job = sent.chunk.job;
        sent.done += count;
        if count == left {
            self.nanos = self.nanos.saturating_sub(sent.nanos);
            self.sent.pop_front();
        }
        self.since = Instant::now();
        Some((job, number))
    }

    /// What a worker that has ended had done, and not said.
    pub(super) fn read_slate(&mut self) -> Option<(u64, Batch)> {
        let (first, count, mut bytes) = self.slate.read();
        let sent = self.sent.front()?;
        // What it had sent of it before it forgot it is known already.
        let known = sent.first.wrapping_add(sent.done).wrapping_sub(first);
        let place = protocol::length_of(&bytes, known.min(count))?;
        let length = protocol::length_of(&bytes, count)?;
        bytes.truncate(length);
        self.done(first.wrapping_add(known), count.checked_sub(known)?, bytes, place)
    }

    /// Takes what it was sent and has not done: what it was at when it ended, if it
    /// was at any, and what it had not begun.
    pub(super) fn take_undone(&mut self) -> (Option<Chunk>, Vec<Chunk>) {
        let waiting = self.requests.as_ref().map_or(0, Sender::len);
        let mut undone: VecDeque<Chunk> = VecDeque::new();
        let begun = self.sent.len() > waiting;
        for Sent { mut chunk, done, .. } in self.sent.drain(..) {
            if done == 0 {
                undone.push_back(chunk);
            } else if let Some(rest) = chunk.split_off(done) {
                undone.push_back(rest);
            }
        }
        let current = if begun { undone.pop_front() } else { None };
        (current, undone.into())
    }

    /// Kills the worker, and what it started as far as that can be found.
    pub(super) fn kill(&self) {
        self.process.kill_tree();
    }

    /// What comes of the item that it was at when it ended so.
    pub(super) fn failure(&self, number: u64, status: ExitStatus, limited: bool) -> Failure {
        if let Some(doom) = &self.doom {
            return doom.failure.clone();
        }
        let hint = if limited { ", perhaps at its limit of memory" } else { "" };
        let text = format!("{} {status} while running item {number}{hint}", self.label);
        let death = Death { pid: self.process.pid(), status };
        Failure { death: Some(death), ..Failure::new(ErrorKind::Died, text) }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("label", &self.label).field("sent", &self.sent).finish()
    }
}
