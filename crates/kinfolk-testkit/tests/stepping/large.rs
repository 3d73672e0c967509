//! Queues: messages that go through the arena, and the growth of the ring.

use std::time::Duration;

use kinfolk::queue::{self, Options, Receiver, Sender};
use kinfolk_testkit::step::{Me, Proof, Scenario};

use super::know_myself;

/// A queue of bytes.
type Queue = (Sender<Vec<u8>>, Receiver<Vec<u8>>);

/// The size of the arena, in bytes.
const ARENA: usize = 1 << 17;
/// The length of a message that goes through it: there is room for three.
const LARGE: usize = 40_000;
/// The length of a message of which the first ring holds two.
const HALF: usize = 30_000;

/// The bytes of the victim's message.
const MINE: u8 = 100;
/// Those of another one's.
const THEIRS: u8 = 101;
/// Those of the survivor's, so that nobody goes on waiting.
const MORE: u8 = 102;
/// Those of its last.
const LAST: u8 = 103;

pub(crate) fn large((): ()) {
    let mut proof = Proof::new("large messages");
    let send = |(sender, _): &Queue, me: &Me| {
        know_myself();
        me.go();
        sender.send_bytes(&[MINE; LARGE]).unwrap();
    };
    let sent = |queue: &Queue, me: &Me| check(queue, me, 1, &[MINE], 0);
    proof.states(&Scenario::new("send", holding_one, send, sent));
    let first = |queue: &Queue, me: &Me| check(queue, me, 0, &[MINE], 0);
    proof.states(&Scenario {
        peers: &[receive_one],
        ..Scenario::new("send, while one sleeps", new, send, first)
    });
    let received = |queue: &Queue, me: &Me| check(queue, me, 1, &[], 1);
    let receive = |queue: &Queue, me: &Me| {
        know_myself();
        me.go();
        receive_one(queue, me);
    };
    proof.states(&Scenario::new("receive", holding_one, receive, received));
    let view = |(_, receiver): &Queue, me: &Me| {
        know_myself();
        me.go();
        let view = receiver.recv_view().unwrap();
        assert_eq!(view.len(), LARGE);
        me.say(1);
    };
    proof.states(&Scenario::new("receive a view", holding_one, view, received));
}

pub(crate) fn growth((): ()) {
    let mut proof = Proof::new("growth of the ring");
    let send = |(sender, _): &Queue, me: &Me| {
        know_myself();
        me.go();
        sender.send_bytes(&[MINE; HALF]).unwrap();
    };
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &[MINE], 0);
    proof.states(&Scenario::new("send", ring_full, send, sent));
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &[MINE, THEIRS], 0);
    let second = |(sender, _): &Queue, _: &Me| sender.send_bytes(&[THEIRS; HALF]).unwrap();
    proof.double_deaths(
        &Scenario { second, ..Scenario::new("grow after a death", ring_full, send, sent) },
        5,
    );
    let second = |queue: &Queue, me: &Me| receive_one(queue, me);
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &[MINE], 0);
    proof.pairs(&Scenario { second, ..Scenario::new("send, receive", ring_full, send, sent) }, 5);
}

pub(crate) fn sweep((): ()) {
    let mut proof = Proof::new("double deaths of large messages");
    let send = |(sender, _): &Queue, me: &Me| {
        know_myself();
        me.go();
        sender.send_bytes(&[MINE; ARENA]).unwrap();
    };
    // Needs the space that a dead sender has taken.
    let second = |(sender, _): &Queue, _: &Me| {
        sender.send_timeout(&vec![THEIRS; LARGE], Duration::from_millis(2)).unwrap();
    };
    let sent = |queue: &Queue, me: &Me| check(queue, me, 0, &[MINE, THEIRS], 0);
    proof.double_deaths(&Scenario { second, ..Scenario::new("sweep", new, send, sent) }, 4);
}

fn new() -> Queue {
    queue::with_options(Options::new(10).bytes(ARENA)).unwrap()
}

/// One message, of ones, is in the arena.
fn holding_one() -> Queue {
    let queue = new();
    queue.0.send_bytes(&[1; LARGE]).unwrap();
    queue
}

/// Two messages, of ones and of twos, are in the first ring, and no third fits.
fn ring_full() -> Queue {
    let queue = new();
    queue.0.send_bytes(&[1; HALF]).unwrap();
    queue.0.send_bytes(&[2; HALF]).unwrap();
    queue
}

/// Receives a message, which is whole, and says of what bytes it is.
fn receive_one((_, receiver): &Queue, me: &Me) {
    let bytes = receiver.recv_bytes().unwrap();
    let last = *bytes.last().unwrap();
    // What was encoded has its length in front.
    assert!(bytes[3..bytes.len() - 1] == bytes[4..], "torn: {last}");
    assert!([100, HALF, LARGE, LARGE + 3, ARENA].contains(&bytes.len()), "{}", bytes.len());
    me.say(last.into());
}

/// As for small messages: each of `1..=initial`, and of what the survivor sends,
/// comes once; `unsure` ones may, and the victim's must if it was done.
fn check(queue: &Queue, me: &Me, initial: u8, unsure: &[u8], lost: usize) {
    let (sender, receiver) = queue;
    let mut must: Vec<u8> = (1..=initial).collect();
    while me.has_peer(0) && !me.peer(0).is_done() {
        if receiver.is_empty() {
            sender.send_bytes(&[MORE; LARGE]).unwrap();
            must.push(MORE);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    sender.send_bytes(&[LAST; 100]).unwrap();
    must.push(LAST);
    me.done();
    while me.said().last() != Some(&LAST.into()) {
        receive_one(queue, me);
    }
    let own: Vec<u64> = me.said().into_iter().filter(|tag| *tag <= 2).collect();
    assert!(own.is_sorted(), "not in order: {own:?}");
    let mut got: Vec<u64> =
        [me.victim(), me.second(), me.peer(0), *me].iter().flat_map(Me::said).collect();
    if me.victim().is_done() && unsure.first() == Some(&MINE) {
        must.push(MINE);
    }
    let mut missing = Vec::new();
    for tag in must {
        match got.iter().position(|got| *got == u64::from(tag)) {
            Some(place) => drop(got.swap_remove(place)),
            None => missing.push(tag),
        }
    }
    let allowed = if me.victim().is_done() { 0 } else { lost };
    assert!(missing.len() <= allowed, "lost: {missing:?}");
    for tag in unsure {
        if let Some(place) = got.iter().position(|got| *got == u64::from(*tag)) {
            got.swap_remove(place);
        }
    }
    assert!(got.is_empty(), "too many: {got:?}");
    // All of the arena is free again.
    for round in [7, 8] {
        sender.send_bytes(&[round; ARENA]).unwrap();
        assert!(receiver.recv_bytes().unwrap() == [round; ARENA]);
    }
    sender.join();
}
