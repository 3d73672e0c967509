//! Who waits for a ring, and how each is woken.

use std::time::Duration;

use super::mark::Mark;
use super::ring::{Ring, place};
use crate::sys::atomic::Ordering;

/// What the two sides wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A message is in.
    Data,
    /// A message is out.
    Space,
    /// An extent is free.
    Extent,
}

impl Ring {
    /// Sleeps until there may be a message.
    pub(super) fn sleep_for_data(&self, nap: Duration) {
        self.body().data.0.sleep(nap, || !self.is_empty() || self.has_returned());
    }

    /// Sleeps until there may be room: until the ring begins elsewhere than at
    /// `head`, as it did before there was none.
    pub(super) fn sleep_for_space(&self, head: Mark, nap: Duration) {
        self.body().space.0.sleep(nap, || self.head() != head);
    }

    /// A number that each event of a kind changes.
    #[inline]
    pub(super) fn state(&self, of: Event) -> u64 {
        let body = self.body();
        match of {
            Event::Data => {
                // Where the next message will be, which is on its way then, too.
                let next = self.word(place(self.head().position(), self.units()));
                std::hint::black_box(next.map_or(0, |word| word.load(Ordering::Relaxed)));
                body.tail.0.load(Ordering::SeqCst)
            }
            Event::Space => body.head.0.load(Ordering::SeqCst),
            Event::Extent => self.freed(),
        }
    }

    /// Sleeps until a message may have been settled.
    pub(super) fn sleep_until_settled(&self, nap: Duration) {
        self.body().settled.0.sleep(nap, || self.is_settled());
    }

    /// Whether no message is in the queue or on lease.
    pub(super) fn is_settled(&self) -> bool {
        // A message goes from the ring to a lease, or back: never unseen.
        self.is_empty() && self.unsettled() == 0 && self.is_empty()
    }

    /// Wakes who waits until all is settled: it may be.
    pub(super) fn tell_of_settling(&self) {
        self.body().settled.0.wake_all();
        // A lease needs an extent, too.
        if self.has_leases() {
            self.body().data.0.wake_one();
        }
    }

    /// Wakes who waits for data: a message was given back.
    pub(super) fn tell_of_data(&self) {
        self.body().data.0.wake_one();
    }

    /// Wakes all who sleep: one side is gone.
    pub(super) fn wake_all(&self) {
        self.body().data.0.wake_all();
        self.body().space.0.wake_all();
        self.arena().room.wake_all();
    }

    /// Makes the next sender, or who gives a message back, ring the bell. Returns
    /// whether there are messages already; if there is none, `silence` is called first.
    pub(super) fn arm(&self, silence: impl FnOnce()) -> bool {
        // Nobody rings it meanwhile. What another receiver waits for is not silenced: a
        // kill in between has who comes next in the section ring again.
        let _section = self.enter_sending();
        let ready = !self.is_empty() || self.has_returned();
        if !ready {
            silence();
        }
        self.body().armed.store(1, Ordering::SeqCst);
        ready
    }

    /// Whether a sender is adding a message.
    pub(super) fn is_sent_to(&self) -> bool {
        self.body().sending.section.is_held()
    }

    /// Waits for the sender that is adding a message, if one is: it may have rung
    /// the bell already. Returns whether there was one.
    pub(super) fn let_sender_finish(&self) -> bool {
        let busy = self.is_sent_to();
        if busy {
            drop(self.enter_sending());
        }
        busy
    }
}
