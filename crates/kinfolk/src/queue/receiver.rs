//! The receiving end of a queue.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::arena::Take;
use super::end::End;
use super::lease::Lease;
use super::message::{Message, Messages};
use super::ring::Taken;
use super::view::View;
use super::waiting::Event;
use crate::sys::poll::Watch;
use crate::sys::sides;
use crate::wire::codec;
use crate::{Error, ErrorKind, Result};

/// How often a receiver that does not wait asks for dead holders of leases, in
/// milliseconds.
const ASKING: u64 = 20;

/// How often one leaves the processor to a sender that has rung the bell, and may have
/// lost the processor for it, before one sleeps until it has sent.
const YIELDS: u32 = 16;

/// The receiving end of a queue of `T`.
///
/// It can be used by several threads, cloned, and sent to other processes inside
/// any value; each message is received once.
///
/// A receiver that is killed loses at most the messages of the one call that it
/// was in. A receiver that waits is woken by a message, and by the end of the last
/// sender, killed ones included: that is an error of kind
/// [`ErrorKind::Disconnected`], after all messages sent before.
///
/// It can be waited for, with [`wait`](crate::wait()) and
/// [`WaitSet`](crate::WaitSet): it is ready when there is a message, also one that was
/// given back, and when there is no sender. It does not learn of the death of who held
/// a message on lease, which comes back when some receiver receives, or looks whether
/// there is something to receive. (Two more cases: a sender that was killed in the middle has
/// made it ready for nothing, and one that finds no free file descriptor when it is
/// first waited for is always ready.) Another poller must ask for its descriptor
/// before each of its waits.
pub struct Receiver<T> {
    /// The end.
    end: Arc<End>,
    /// Watches the bell and the senders' side, once it is waited for.
    watch: OnceLock<Option<Watch>>,
    /// When it last asked for dead holders of leases, in milliseconds.
    asked: AtomicU64,
    /// What is received.
    types: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    /// Makes a receiver.
    pub(super) fn new(end: Arc<End>) -> Self {
        Self { end, watch: OnceLock::new(), asked: AtomicU64::new(0), types: PhantomData }
    }

    /// Another receiver of the same queue.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self::new(Arc::new(self.end.try_clone()?)))
    }

    /// The number of messages in the queue, at this moment.
    #[must_use]
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.end.ring.len()
    }

    /// Whether the queue is empty, at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.ring.is_empty()
    }

    /// The most messages in the queue.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.ring.capacity()
    }

    /// Closes this end. Dropping it does the same.
    pub fn close(self) {
        drop(self);
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Receives a value. Waits until there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the queue is empty and no sender is left;
    /// [`ErrorKind::Deserialize`] if the message is no such value: it is lost;
    /// [`ErrorKind::Exhausted`] if there is no memory for it: it stays.
    #[doc(alias = "get")]
    pub fn recv(&self) -> Result<T> {
        loop {
            if let Some(value) = self.recv_until(None)? {
                return Ok(value);
            }
        }
    }

    /// Receives a value if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn try_recv(&self) -> Result<Option<T>> {
        self.recv_until(Some(Instant::now()))
    }

    /// As [`recv`](Receiver::recv), for at most `timeout`; `None` if nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<T>> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Receives all values that there are, at most `most`, waiting until there is
    /// one. They leave the queue at once.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv); all of them are lost if one is no such value.
    pub fn recv_many(&self, most: usize) -> Result<Vec<T>> {
        let ring = &self.end.ring;
        let mut messages = Messages::new();
        let mut keep = |taken| messages.keep(ring, taken);
        while self.pop(most.max(1), Take::ToRead, None, &mut keep)?.is_none() {}
        let mut values = Vec::with_capacity(messages.len());
        messages.hand_over(&self.end, |bytes| {
            values.push(codec::decode_plain(bytes)?);
            Ok(())
        })?;
        Ok(values)
    }

    /// Receives a value on lease: if its holder drops it without
    /// [`done`](Lease::done), the message goes back to the queue, before all others,
    /// and is received again; if its holder dies, when a receiver notices it: at once
    /// if it would wait, within 20 ms if there are others to receive. So a value is
    /// worked on at least once.
    ///
    /// At most 1,024 messages of a queue are on lease, or larger than 32 KiB, at a
    /// time: with more, this waits.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_leased(&self) -> Result<Lease<'_, T>> {
        loop {
            if let Some(lease) = self.lease_until(None)? {
                return Ok(lease);
            }
        }
    }

    /// As [`recv_leased`](Receiver::recv_leased), for at most `timeout`; `None` if
    /// nothing came.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_leased_timeout(&self, timeout: Duration) -> Result<Option<Lease<'_, T>>> {
        self.lease_until(Instant::now().checked_add(timeout))
    }

    /// Receives a value on lease until then.
    fn lease_until(&self, deadline: Option<Instant>) -> Result<Option<Lease<'_, T>>> {
        let mut message = None;
        let mut keep = |taken| {
            message = Some(taken);
            Ok(())
        };
        self.pop(1, Take::OnLease, deadline, &mut keep)?;
        let Some(Taken::Extent(index)) = message else { return Ok(None) };
        let mut bytes = Vec::new();
        self.end.read_extent(index, &mut bytes)?;
        match codec::decode_plain(&bytes) {
            Ok(value) => Ok(Some(Lease::new(&self.end, index, value))),
            Err(error) => {
                // It would be no better the next time.
                self.end.ring.free(index);
                Err(error)
            }
        }
    }

    /// Receives values until no sender is left. A message that is no such value
    /// ends the iteration too; [`recv`](Receiver::recv) tells them apart.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives a value until then.
    fn recv_until(&self, deadline: Option<Instant>) -> Result<Option<T>> {
        let ring = &self.end.ring;
        let mut message = Message::new();
        match self.pop(1, Take::ToRead, deadline, &mut |taken| message.keep(ring, taken))? {
            None => Ok(None),
            Some(()) => message.hand_over(&self.end, codec::decode_plain).map(Some),
        }
    }
}

impl<T> Receiver<T> {
    /// Receives a message as bytes, without decoding it.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        self.recv_view()?.into_vec()
    }

    /// Receives a message as bytes, without decoding it, and, if it is larger than
    /// 32 KiB, without copying it: the view keeps its space in the queue until it
    /// is dropped.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn recv_view(&self) -> Result<View<'_>> {
        loop {
            if let Some(view) = self.view_until(None)? {
                return Ok(view);
            }
        }
    }

    /// As [`recv_view`](Receiver::recv_view), if there is a message.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv).
    pub fn try_recv_view(&self) -> Result<Option<View<'_>>> {
        self.view_until(Some(Instant::now()))
    }

    /// Receives all messages that there are, at most `most`, as bytes, waiting for
    /// one until then.
    pub(super) fn bytes_until(
        &self,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<Vec<u8>>> {
        let ring = &self.end.ring;
        let mut kept = Messages::new();
        let mut keep = |taken| kept.keep(ring, taken);
        self.pop(most.max(1), Take::ToRead, deadline, &mut keep)?;
        let mut messages = Vec::with_capacity(kept.len());
        kept.hand_over(&self.end, |bytes| {
            messages.push(bytes.to_vec());
            Ok(())
        })?;
        Ok(messages)
    }

    /// Receives a message as bytes until then.
    pub(super) fn view_until(&self, deadline: Option<Instant>) -> Result<Option<View<'_>>> {
        let ring = &self.end.ring;
        let mut bytes = Vec::new();
        let mut extent = None;
        let mut keep = |taken| match taken {
            Taken::Bytes { place, length } => ring.read(place, length, &mut bytes),
            Taken::Extent(index) => {
                extent = Some(index);
                Ok(())
            }
        };
        if self.pop(1, Take::ToRead, deadline, &mut keep)?.is_none() {
            return Ok(None);
        }
        match extent {
            Some(index) => View::of_extent(&self.end, index).map(Some),
            None => Ok(Some(View::of_bytes(&self.end, bytes))),
        }
    }

    /// Takes up to `most` messages, waiting for the first; `None` if there was
    /// none until then.
    #[inline]
    fn pop(
        &self,
        most: usize,
        take: Take,
        deadline: Option<Instant>,
        each: &mut impl FnMut(Taken) -> Result<()>,
    ) -> Result<Option<()>> {
        // Of a lease that found no extent: how often extents had become free before.
        let unlent = Cell::new(None);
        let attempt = |look| match self.pop_now(most, take, look, &unlent, each)? {
            false if look => self.pop_after_looking(most, take, &unlent, each),
            popped => Ok(popped.then_some(())),
        };
        self.end.wait(deadline, Event::Data, attempt, |ring, nap| match unlent.get() {
            Some(freed) => ring.sleep_for_extent(freed, nap),
            None => ring.sleep_for_data(nap),
        })
    }

    /// Looks for senders, for there was no message, and takes up to `most` if there
    /// are any now.
    fn pop_after_looking(
        &self,
        most: usize,
        take: Take,
        unlent: &Cell<Option<u64>>,
        each: &mut impl FnMut(Taken) -> Result<()>,
    ) -> Result<Option<()>> {
        let ring = &self.end.ring;
        let gone = self.end.other_is_gone()?;
        // The last one may have sent something before it went; another one rings the
        // bell before it sends; and with too many extents in use nothing is lent.
        for _ in 0..YIELDS {
            if !ring.is_sent_to() {
                break;
            }
            std::thread::yield_now();
        }
        ring.let_sender_finish();
        if take == Take::OnLease {
            ring.sweep()?;
        }
        if self.pop_now(most, take, false, unlent, each)? {
            return Ok(Some(()));
        }
        // What is on lease may come back.
        if gone && ring.is_settled() {
            return Err(Error::new(
                ErrorKind::Disconnected,
                "no sender of the queue is left, and all that they sent has been received",
            ));
        }
        Ok(None)
    }

    /// Takes up to `most` messages; returns whether there were any. Those of dead
    /// holders are found if `look` says so, and every now and then.
    #[inline]
    fn pop_now(
        &self,
        most: usize,
        take: Take,
        look: bool,
        unlent: &Cell<Option<u64>>,
        each: &mut impl FnMut(Taken) -> Result<()>,
    ) -> Result<bool> {
        let ring = &self.end.ring;
        if ring.has_leases()
            && let Some(index) = ring.take_returned(take, look || self.asks_now())
        {
            each(Taken::Extent(index))?;
            return Ok(true);
        }
        let freed = (take == Take::OnLease).then(|| ring.freed());
        let popped = ring.pop(most, take, each)?;
        unlent.set(if popped.is_none() { freed } else { None });
        Ok(popped.unwrap_or(0) > 0)
    }

    /// Whether it is time again to ask for dead holders of leases: a receiver that
    /// never waits finds them, too.
    fn asks_now(&self) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.asked.load(Ordering::Relaxed);
        let order = Ordering::Relaxed;
        now.saturating_sub(last) >= ASKING
            && self.asked.compare_exchange(last, now, order, order).is_ok()
    }

    /// Makes the next message ring the bell; it rings now if there is one already.
    pub(super) fn listen(&self) {
        if self.end.ring.arm(|| sides::silence(&self.end.bell)) {
            sides::ring(&self.end.bell);
        }
    }

    /// Has it waited for by a descriptor that it makes now, and not when it is first
    /// waited for, where it could only go without.
    ///
    /// # Errors
    ///
    /// If this process has no free file descriptor.
    pub(crate) fn prepare(&self) -> Result<()> {
        let made = self.make_watch();
        let watch = made.map_err(|error| Error::io(error, "preparing to wait for a queue"))?;
        self.watch.get_or_init(|| Some(watch));
        Ok(())
    }

    /// What is to be watched in place of this receiver, once: a set knows it for ever.
    fn watch(&self) -> Option<&Watch> {
        self.watch.get_or_init(|| self.make_watch().ok()).as_ref()
    }

    /// Watches the bell and the senders' side.
    fn make_watch(&self) -> std::io::Result<Watch> {
        let watch = Watch::new()?;
        watch.add(self.end.bell.as_fd(), 0)?;
        if let Some(side) = self.end.side() {
            watch.add(side, 1)?;
        }
        Ok(watch)
    }
}

/// To wait for: readable when there is a message or no sender is left.
impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.end.side().is_none() {
            // Of a queue of both sides no sender is ever gone.
            self.listen();
            return self.end.bell.as_fd();
        }
        // Without a descriptor to watch both with, it is always ready: a waiter
        // finds nothing, but never misses anything.
        let Some(watch) = self.watch() else {
            sides::ring(&self.end.bell);
            return self.end.bell.as_fd();
        };
        self.listen();
        watch.as_fd()
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.end.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        End::deserialize(deserializer).map(|end| Self::new(Arc::new(end)))
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Receiver, {} of {} messages>", self.len(), self.capacity())
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The values of a [`Receiver`], as they come.
#[derive(Debug)]
pub struct Iter<'a, T> {
    /// Where they come from.
    receiver: &'a Receiver<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}
