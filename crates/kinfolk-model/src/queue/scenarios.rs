//! What a queue must keep.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::arena::Take;
use super::ring::{Piece, Ring, Taken};
use crate::machine::{Bounds, explore, start};
use crate::sys::atomic::{AtomicU32, Ordering};
use crate::sys::futex;
use crate::sys::memory::Shared;

/// The number of the last message.
const LAST: u64 = 99;

/// What a scenario saw leave the queue, in this order.
type Received = Rc<RefCell<Vec<u64>>>;

/// Makes a queue of so many messages and bytes.
fn queue(capacity: usize, bytes: usize) -> Rc<Ring> {
    Rc::new(Ring::new(capacity, bytes).expect("memory"))
}

/// The message of a number: it and what belongs to it.
fn message(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_ne_bytes());
    bytes[8..].copy_from_slice(&(!number).to_ne_bytes());
    bytes
}

/// The number of a message, which is whole.
fn number(bytes: &[u8]) -> u64 {
    let ([one, two], []) = bytes.as_chunks() else { panic!("not a message: {bytes:?}") };
    let number = u64::from_ne_bytes(*one);
    assert_eq!(u64::from_ne_bytes(*two), !number, "a message is seen before it is written");
    number
}

/// Sends messages one by one, as a sender does, waiting for room.
fn send(ring: &Ring, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        while ring.push(&[Piece::Bytes(&message(number))], || ()).expect("memory") == 0 {
            ring.sleep_for_space(Duration::ZERO);
        }
    }
}

/// Receives messages one by one, as a receiver does, up to the last.
fn receive(ring: &Ring, received: &Received) {
    while received.borrow().last() != Some(&LAST) {
        receive_one(ring, received);
    }
}

/// Receives a message, waiting for it.
fn receive_one(ring: &Ring, received: &Received) {
    while !(pop(ring, received) || (ring.let_sender_finish() && pop(ring, received))) {
        ring.sleep_for_data(Duration::ZERO);
    }
}

/// Receives a message if there is one.
fn pop(ring: &Ring, received: &Received) -> bool {
    let mut bytes = Vec::new();
    let mut seen = Vec::new();
    let taken = ring.pop(1, &mut bytes, Take::ToRead, |taken| match taken {
        Taken::Bytes(end) => seen.push(end),
        Taken::Extent(_) => panic!("the message is small"),
    });
    assert_eq!(taken.expect("nobody overwrites it"), seen.len());
    received.borrow_mut().extend(seen.iter().map(|end| number(&bytes[..*end])));
    !seen.is_empty()
}

/// Messages of one sender are received once each, whole, in order. A killed sender
/// has sent the first of them, and another goes on.
pub fn messages_stay_whole_and_in_order() {
    let bounds = Bounds { undisturbed: 3, crashed: 2 };
    explore(bounds, 1..=1, || send_and_receive(&queue(1, 64), 1));
}

/// The same while the ring grows.
pub fn a_ring_that_grows_keeps_its_messages() {
    let bounds = Bounds { undisturbed: 2, crashed: 1 };
    explore(bounds, 1..=1, || send_and_receive(&queue(8, 128), 3));
}

fn send_and_receive(ring: &Rc<Ring>, count: u64) {
    let received = Received::default();
    let (to, from, list) = (ring.clone(), ring.clone(), received.clone());
    let sender = start(move || send(&to, 1..=count));
    let receiver = start(move || receive(&from, &list));
    let died = sender.join().is_none();
    send(ring, [LAST]);
    receiver.join();
    let sent = received.borrow().len() as u64 - 1;
    assert!(sent == count || (died && sent < count));
    assert!(received.borrow().iter().copied().eq((1..=sent).chain([LAST])));
}

/// Of two senders each message is received once, and those sent together are seen
/// together.
pub fn messages_of_two_senders_are_all_received() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, || {
        let (ring, received) = (queue(4, 128), Received::default());
        let (first, second) = (ring.clone(), ring.clone());
        let pair = start(move || {
            let messages = [message(1), message(2)];
            let pieces = messages.each_ref().map(|bytes| Piece::Bytes(bytes));
            assert_eq!(first.push(&pieces, || ()).expect("memory"), 2, "there is room");
        });
        let single = start(move || send(&second, [3]));
        // Between the two of a pair nobody sees one of them.
        let seen = ring.len();
        assert!(seen <= 3);
        receive_one(&ring, &received);
        if received.borrow()[0] == 1 {
            assert!(pop(&ring, &received), "half of what was sent together");
        }
        let died = pair.join().is_none();
        single.join();
        while pop(&ring, &received) {}
        let received = received.borrow();
        let pair: Vec<_> = received.iter().filter(|number| **number != 3).collect();
        assert!(pair == [&1, &2] || (died && pair.is_empty()), "{received:?}");
        assert_eq!(received.len(), pair.len() + 1);
    });
}

/// Of two receivers each message reaches one; one that is killed loses at most the
/// one that it had taken.
pub fn a_killed_receiver_loses_one_message_at_most() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 2..=2, || {
        let ring = queue(1, 64);
        let (to, from) = (ring.clone(), ring.clone());
        let (here, there) = (Received::default(), Received::default());
        let list = there.clone();
        let sender = start(move || send(&to, 1..=2));
        let receiver = start(move || receive_one(&from, &list));
        receive_one(&ring, &here);
        let died = receiver.join().is_none();
        sender.join();
        while pop(&ring, &here) {}
        assert!(here.borrow().is_sorted());
        let mut all = [here.take(), there.take()].concat();
        all.sort_unstable();
        assert!(all == [1, 2] || (died && (all == [1] || all == [2])), "{all:?}");
    });
}

/// Who waits for the bell of a queue hears it when there is a message.
pub fn a_message_rings_the_bell_of_who_waits_for_it() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || {
        let (ring, received) = (queue(2, 64), Received::default());
        let bell = Rc::new(Bell(Shared::new(128)));
        let (to, rung) = (ring.clone(), bell.clone());
        let sender = start(move || send_and_ring(&to, &rung, 1));
        let (from, heard, list) = (ring.clone(), bell.clone(), received.clone());
        let receiver = start(move || {
            while !(pop(&from, &list) || (from.let_sender_finish() && pop(&from, &list))) {
                heard.silence();
                if !from.arm() {
                    heard.wait();
                }
            }
        });
        if sender.join().is_none() {
            send_and_ring(&ring, &bell, 2);
        }
        receiver.join();
        assert!([1, 2].contains(&received.borrow()[0]));
    });
}

fn send_and_ring(ring: &Ring, bell: &Bell, number: u64) {
    let message = message(number);
    let sent = ring.push(&[Piece::Bytes(&message)], || bell.ring());
    assert_eq!(sent.expect("memory"), 1, "there is room");
}

/// Large messages, of which the arena has room for one at a time, are received
/// whole, and in order; who waits for room is woken.
pub fn large_messages_stay_whole() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=2, || {
        let (ring, received) = (queue(2, 64), Received::default());
        let (to, from, list) = (ring.clone(), ring.clone(), received.clone());
        let sender = start(move || {
            for number in 1..=2 {
                send_large(&to, number);
            }
        });
        let receiver = start(move || {
            while !pop_large(&from, &list) {
                from.sleep_for_data(Duration::ZERO);
            }
        });
        let receiver_died = receiver.join().is_none();
        let sender_died = sender.join().is_none();
        while pop_large(&ring, &received) {}
        let received = received.borrow();
        match **received {
            [1, 2] => {}
            _ => assert!(receiver_died || sender_died, "{received:?}"),
        }
    });
}

/// Sends a message in an extent, as a sender does, waiting for one.
fn send_large(ring: &Ring, number: u64) {
    let message = message(number);
    let index = loop {
        if let Some(index) = ring.allocate(message.len()).expect("memory") {
            break index;
        }
        if !ring.sweep().expect("nobody overwrites it") {
            ring.sleep_for_space(Duration::ZERO);
        }
    };
    ring.write_extent(index, &message).expect("it has this length");
    while ring.push(&[Piece::Extent(index)], || ()).expect("memory") == 0 {
        ring.sleep_for_space(Duration::ZERO);
    }
}

/// Receives a message in an extent if there is one.
fn pop_large(ring: &Ring, received: &Received) -> bool {
    let mut index = None;
    let taken = ring.pop(1, &mut Vec::new(), Take::ToRead, |taken| match taken {
        Taken::Bytes(_) => panic!("the message is large"),
        Taken::Extent(number) => index = Some(number),
    });
    taken.expect("nobody overwrites it");
    let Some(index) = index else { return false };
    let mut bytes = Vec::new();
    ring.read_extent(index, &mut bytes).expect("nobody overwrites it");
    received.borrow_mut().push(number(&bytes));
    ring.free(index);
    true
}

/// A message on lease comes back if its holder dies, and is done once otherwise.
pub fn a_message_on_lease_outlives_its_holder() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || {
        let ring = queue(2, 8192);
        send(&ring, [1]);
        let done = Rc::new(Cell::new(0));
        let work = |take| {
            let (ring, done) = (ring.clone(), done.clone());
            move || {
                if let Some(index) = take_any(&ring, take) {
                    let mut bytes = Vec::new();
                    ring.read_extent(index, &mut bytes).expect("nobody overwrites it");
                    assert_eq!(number(&bytes), 1);
                    done.set(done.get() + 1);
                    ring.free(index);
                }
            }
        };
        let holder = start(work(Take::OnLease));
        let other = start(work(Take::OnLease));
        let died = holder.join().is_none();
        other.join();
        work(Take::OnLease)();
        assert!(done.get() == 1 || (died && done.get() == 2), "done {} times", done.get());
        assert!(ring.is_settled());
    });
}

/// Takes a message, given back or from the ring.
fn take_any(ring: &Ring, take: Take) -> Option<usize> {
    ring.take_returned(take, true).or_else(|| {
        let mut index = None;
        let taken = ring.pop(1, &mut Vec::new(), take, |taken| match taken {
            Taken::Bytes(_) => panic!("a lease is of an extent"),
            Taken::Extent(number) => index = Some(number),
        });
        taken.expect("nobody overwrites it");
        index
    })
}

/// What a sender rings for a receiver that waits for many: the word of an eventfd.
struct Bell(Shared);

impl Bell {
    /// Rings it.
    fn ring(&self) {
        self.word().swap(1, Ordering::AcqRel);
        futex::wake(self.word(), 1);
    }

    /// Makes it silent.
    fn silence(&self) {
        self.word().swap(0, Ordering::AcqRel);
    }

    /// Waits until it rings.
    fn wait(&self) {
        while self.word().load(Ordering::Acquire) == 0 {
            futex::wait(self.word(), 0, Duration::ZERO);
        }
    }

    /// Its word.
    fn word(&self) -> &AtomicU32 {
        self.0.view()
    }
}
