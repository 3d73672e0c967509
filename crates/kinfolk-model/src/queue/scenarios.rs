//! What a queue must keep.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::EXTENTS;
use super::arena::Take;
use super::ring::{Piece, Ring, Taken};
use crate::machine::{Bounds, Process, explore, start};
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

/// Where messages travel.
#[derive(Debug, Clone, Copy)]
enum Size {
    /// In the ring.
    Small,
    /// In the arena.
    Large,
}

/// Sends messages one by one, as a sender does, waiting for room.
fn send(ring: &Ring, size: Size, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let bytes = message(number);
        let piece = match size {
            Size::Small => Piece::Bytes(&bytes),
            Size::Large => Piece::Extent(extent(ring, &bytes)),
        };
        loop {
            let head = ring.head();
            if ring.push(&[piece], || ()).expect("memory") > 0 {
                break;
            }
            ring.sleep_for_space(head, Duration::ZERO);
        }
    }
}

/// An extent with a message, waiting for one.
fn extent(ring: &Ring, message: &[u8]) -> usize {
    let index = loop {
        let freed = ring.freed();
        if let Some(index) = ring.allocate(message.len()).expect("memory") {
            break index;
        }
        if !ring.sweep().expect("nobody overwrites it") {
            ring.sleep_for_extent(freed, Duration::ZERO);
        }
    };
    ring.write_extent(index, message).expect("it has this length");
    index
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
    let mut extent = None;
    let taken = ring.pop(1, Take::ToRead, |taken| match taken {
        Taken::Bytes { place, length } => ring.read(place, length, &mut bytes),
        Taken::Extent(index) => {
            extent = Some(index);
            Ok(())
        }
    });
    if taken.expect("nobody overwrites it") != Some(1) {
        return false;
    }
    if let Some(index) = extent {
        ring.read_extent(index, &mut bytes, || ()).expect("nobody overwrites it");
        ring.free(index);
    }
    received.borrow_mut().push(number(&bytes));
    true
}

/// Messages of one sender are received once each, whole, in order. A killed sender
/// has sent the first of them, and another goes on.
pub fn messages_stay_whole_and_in_order() {
    let bounds = Bounds { undisturbed: 3, crashed: 2 };
    explore(bounds, 1..=1, || send_and_receive(&queue(1, 64), Size::Small, 1));
}

/// The same while the ring grows.
pub fn a_ring_that_grows_keeps_its_messages() {
    let bounds = Bounds { undisturbed: 2, crashed: 0 };
    explore(bounds, 1..=1, || send_and_receive(&queue(8, 128), Size::Small, 3));
}

/// The same with large messages, for one of which the arena has room.
pub fn large_messages_stay_whole_and_in_order() {
    let bounds = Bounds { undisturbed: 2, crashed: 1 };
    explore(bounds, 1..=1, || send_and_receive(&queue(2, 64), Size::Large, 1));
}

fn send_and_receive(ring: &Rc<Ring>, size: Size, count: u64) {
    let received = Received::default();
    let (to, from, list) = (ring.clone(), ring.clone(), received.clone());
    let sender = start(move || send(&to, size, 1..=count));
    let receiver = start(move || receive(&from, &list));
    let died = sender.join().is_none();
    send(ring, size, [LAST]);
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
        let single = start(move || send(&second, Size::Small, [3]));
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

/// Who waits for room is woken when its message fits, whoever else has looked.
pub fn room_wakes_two_senders() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, || {
        let (ring, received) = (queue(2, 64), Received::default());
        send(&ring, Size::Small, [1, 2]);
        let senders = [3, 4].map(|number| {
            let ring = ring.clone();
            start(move || send(&ring, Size::Small, [number]))
        });
        receive_one(&ring, &received);
        receive_one(&ring, &received);
        let sent = senders.into_iter().filter_map(Process::join).count();
        while pop(&ring, &received) {}
        assert_eq!(received.borrow()[..2], [1, 2]);
        assert!((0..=1).contains(&(received.borrow().len() - 2 - sent)));
    });
}

/// Of two receivers each message reaches one; one that is killed loses at most the
/// one that it had taken.
pub fn a_killed_receiver_loses_one_message_at_most() {
    let bounds = Bounds { undisturbed: 2, crashed: 1 };
    explore(bounds, 2..=2, || share_messages(Size::Small));
}

/// The same with large messages, whose memory does not die with it.
pub fn a_killed_receiver_loses_one_large_message_at_most() {
    let bounds = Bounds { undisturbed: 1, crashed: 0 };
    explore(bounds, 2..=2, || share_messages(Size::Large));
}

fn share_messages(size: Size) {
    let ring = queue(1, 64);
    let (to, from) = (ring.clone(), ring.clone());
    let (here, there) = (Received::default(), Received::default());
    let list = there.clone();
    let sender = start(move || send(&to, size, 1..=2));
    let receiver = start(move || receive_one(&from, &list));
    receive_one(&ring, &here);
    let died = receiver.join().is_none();
    sender.join();
    while pop(&ring, &here) {}
    assert!(here.borrow().is_sorted());
    let mut all = [here.take(), there.take()].concat();
    all.sort_unstable();
    assert!(all == [1, 2] || (died && (all == [1] || all == [2])), "{all:?}");
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
                listen(&from, &heard);
            }
        });
        if sender.join().is_none() {
            send_and_ring(&ring, &bell, 2);
        }
        receiver.join();
        assert!([1, 2].contains(&received.borrow()[0]));
    });
}

/// The same, while another that was about to wait for it is killed.
pub fn a_killed_receiver_silences_no_bell_of_others() {
    explore(Bounds { undisturbed: 2, crashed: 2 }, 1..=1, || {
        let (ring, received) = (queue(2, 64), Received::default());
        let bell = Rc::new(Bell(Shared::new(128)));
        let (from, heard) = (ring.clone(), bell.clone());
        let other = start(move || from.arm(|| heard.silence()));
        let (from, heard, list) = (ring.clone(), bell.clone(), received.clone());
        let receiver = start(move || {
            while !(pop(&from, &list) || (from.let_sender_finish() && pop(&from, &list))) {
                listen(&from, &heard);
            }
        });
        send_and_ring(&ring, &bell, 1);
        receiver.join();
        other.join();
        assert_eq!(received.take(), [1]);
    });
}

/// Who waits for the bell of a queue hears it when a message is given back.
pub fn a_message_given_back_rings_the_bell_of_who_waits_for_it() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, || {
        let ring = queue(2, 8192);
        let bell = Rc::new(Bell(Shared::new(128)));
        send(&ring, Size::Large, [1]);
        let (to, rung) = (ring.clone(), bell.clone());
        let giver = start(move || {
            if let Some(index) = take_any(&to, Take::ToRead) {
                to.give_back(index, || rung.ring());
            }
        });
        let (from, heard) = (ring.clone(), bell.clone());
        let taker = start(move || {
            loop {
                let taken = take_any(&from, Take::ToRead);
                match taken.or_else(|| take_any_after(&from)) {
                    Some(index) => return from.free(index),
                    None => listen(&from, &heard),
                }
            }
        });
        if giver.join().is_none() {
            // The first may be lost with it.
            let second = Piece::Extent(extent(&ring, &message(2)));
            assert_eq!(ring.push(&[second], || bell.ring()).expect("memory"), 1);
        }
        taker.join();
    });
}

/// As [`take_any`], if a sender was in its section, and has left it.
fn take_any_after(ring: &Ring) -> Option<usize> {
    if ring.let_sender_finish() { take_any(ring, Take::ToRead) } else { None }
}

/// Waits for the bell as a receiver does.
fn listen(ring: &Ring, bell: &Bell) {
    if !ring.arm(|| bell.silence()) {
        bell.wait();
    }
}

fn send_and_ring(ring: &Ring, bell: &Bell, number: u64) {
    let message = message(number);
    let sent = ring.push(&[Piece::Bytes(&message)], || bell.ring());
    assert_eq!(sent.expect("memory"), 1, "there is room");
}

/// A message on lease comes back if its holder dies, and is done once otherwise.
pub fn a_message_on_lease_outlives_its_holder() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || {
        let ring = queue(2, 8192);
        send(&ring, Size::Small, [1]);
        let done = [(); 3].map(|()| Rc::new(Cell::new(0)));
        let work = |done: &Rc<Cell<u32>>| {
            let (ring, done) = (ring.clone(), done.clone());
            move || {
                if let Some(index) = take_any(&ring, Take::OnLease) {
                    let mut bytes = Vec::new();
                    ring.read_extent(index, &mut bytes, || ()).expect("nobody overwrites it");
                    assert_eq!(number(&bytes), 1);
                    done.set(done.get() + 1);
                    ring.free(index);
                }
            }
        };
        let holder = start(work(&done[0]));
        let other = start(work(&done[1]));
        let died = holder.join().is_none();
        other.join();
        work(&done[2])();
        // Again, for what must not be there.
        work(&done[2])();
        let (by_holder, by_others) = (done[0].get(), done[1].get() + done[2].get());
        // Killed after its work and before it said so, it has done it in vain.
        let in_vain = died && by_holder == 1 && by_others == 1;
        assert!(by_holder + by_others == 1 || in_vain, "{by_holder} + {by_others} times");
        assert!(ring.is_settled());
    });
}

/// Who waits for a message is woken by one that is given back, also if it was not on
/// lease; of one that a killed process was about to give back nothing stays.
pub fn a_message_given_back_wakes_who_waits() {
    for take in [Take::OnLease, Take::ToRead] {
        explore(Bounds { undisturbed: 3, crashed: 1 }, 1..=1, move || {
            let ring = queue(2, 8192);
            send(&ring, Size::Large, [1]);
            let (from, to) = (ring.clone(), ring.clone());
            let giver = start(move || {
                if let Some(index) = take_any(&to, take) {
                    to.give_back(index, || ());
                }
            });
            let taker = start(move || {
                loop {
                    if let Some(index) = take_any(&from, Take::ToRead) {
                        return from.free(index);
                    }
                    from.sleep_for_data(Duration::ZERO);
                }
            });
            if giver.join().is_none() {
                // The first may be lost with it.
                send(&ring, Size::Large, [2]);
            }
            taker.join();
            while let Some(index) = take_any(&ring, Take::ToRead) {
                ring.free(index);
            }
            ring.sweep().expect("nobody overwrites it");
            for _ in 0..EXTENTS {
                ring.allocate(1).expect("memory").expect("an extent is lost");
            }
        });
    }
}

/// Who finds no extent to put a message on lease in goes on when one is free, or its
/// message given back; and what it was woken for, another receives.
pub fn an_extent_wakes_who_waits_to_put_a_message_on_lease() {
    for give_back in [false, true] {
        explore(Bounds { undisturbed: 2, crashed: 0 }, 1..=1, move || {
            let ring = queue(4, 8192);
            send(&ring, Size::Small, [1, 2]);
            let held = [(); EXTENTS].map(|()| take_any(&ring, Take::OnLease).expect("it is there"));
            let (on_lease, to_read) = (ring.clone(), ring.clone());
            let lessee = start(move || lease_one(&on_lease));
            let reader = start(move || {
                let received = Received::default();
                receive_one(&to_read, &received);
                assert_eq!(received.take(), [3]);
            });
            send(&ring, Size::Small, [3]);
            reader.join();
            if give_back {
                ring.give_back(held[0], || ());
            } else {
                ring.free(held[0]);
                send(&ring, Size::Small, [4]);
            }
            lessee.join();
        });
    }
}

/// Receives a message on lease as a receiver does, waiting for it.
fn lease_one(ring: &Ring) {
    loop {
        let freed = ring.freed();
        if ring.take_returned(Take::OnLease, true).is_some() {
            return;
        }
        match ring.pop(1, Take::OnLease, |_| Ok(())).expect("nobody overwrites it") {
            Some(0) => ring.sleep_for_data(Duration::ZERO),
            Some(_) => return,
            None => ring.sleep_for_extent(freed, Duration::ZERO),
        }
    }
}

/// Who waits until a queue is settled is woken when its last message is received,
/// or done if it is on lease.
pub fn the_last_message_wakes_who_waits_until_all_is_settled() {
    for take in [Take::ToRead, Take::OnLease] {
        explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, move || {
            let ring = queue(2, 8192);
            send(&ring, Size::Small, [1]);
            let (from, to) = (ring.clone(), ring.clone());
            let receiver = start(move || match take {
                Take::ToRead => receive_one(&from, &Received::default()),
                Take::OnLease => from.free(take_any(&from, take).expect("it is there")),
            });
            let waiter = start(move || {
                while !to.is_settled() {
                    to.sleep_until_settled(Duration::ZERO);
                }
            });
            if receiver.join().is_none() {
                let rest = ring.take_returned(Take::ToRead, true);
                rest.into_iter().for_each(|index| ring.free(index));
                pop(&ring, &Received::default());
            }
            waiter.join();
        });
    }
}

/// Takes a message, given back or from the ring.
fn take_any(ring: &Ring, take: Take) -> Option<usize> {
    ring.take_returned(take, true).or_else(|| {
        let mut index = None;
        let taken = ring.pop(1, take, |taken| match taken {
            Taken::Bytes { .. } => panic!("a lease is of an extent"),
            Taken::Extent(number) => {
                index = Some(number);
                Ok(())
            }
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
