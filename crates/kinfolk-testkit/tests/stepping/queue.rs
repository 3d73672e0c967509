//! Queues: messages in the ring.

use std::collections::BTreeSet;
use std::time::Duration;

use kinfolk::queue::{self, Receiver, Sender};
use kinfolk_testkit::step::{Me, Proof, Scenario, Start};

use super::know_myself;

/// A queue.
pub(crate) type Queue = (Sender<u64>, Receiver<u64>);

/// What the victim sends.
const MINE: [u64; 3] = [100, 101, 102];
/// What the survivor sends, so that nobody goes on waiting.
const MORE: u64 = 800;
/// What it sends last.
const LAST: u64 = 900;
/// What others send, each one plus its process id.
const THEIRS: u64 = 1 << 32;
/// Said of a value that was sent, and not received.
const SENT: u64 = 1 << 40;

pub(crate) fn sending((): ()) {
    let mut proof = Proof::new("sending");
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &MINE[..1], 0);
    proof.states(&Scenario::new("send", holding_two, send, sent));
    let first = |queue: &Queue, me: &Me| check(queue, me, 0, &MINE[..1], 0);
    proof.states(&Scenario {
        peers: &[receive_one, receive_one],
        ..Scenario::new("send, while two sleep", empty, send, first)
    });
    proof.states(&Scenario {
        peers: &[wait_and_receive],
        ..Scenario::new("send, while one waits for the bell", empty, send, first)
    });
    proof.states(&Scenario {
        peers: &[send_theirs],
        from: Start::Sleep(|queue, me| {
            queue.1.recv_many(2).unwrap().into_iter().for_each(|value| me.say(value));
        }),
        ..Scenario::new("wake up to send, while one more sleeps", full, send, sent)
    });
    let many = |(sender, _): &Queue, me: &Me| {
        know_myself();
        me.go();
        sender.send_many(&MINE).unwrap();
    };
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &MINE, 0);
    proof.states(&Scenario::new("send many", holding_two, many, sent));
    let sent = |queue: &Queue, me: &Me| check(queue, me, 0, &MINE, 0);
    proof.states(&Scenario {
        peers: &[receive_one, receive_one],
        ..Scenario::new("send many, while two sleep", empty, many, sent)
    });
    let in_vain = |(sender, _): &Queue, me: &Me| {
        me.go();
        assert!(!sender.send_timeout(&MINE[0], Duration::from_millis(2)).unwrap());
    };
    let not_sent = |queue: &Queue, me: &Me| check(queue, me, 2, &[], 0);
    proof.states(&Scenario {
        from: Start::Sleep(|_, _| ()),
        ..Scenario::new("send in vain", full, in_vain, not_sent)
    });
}

pub(crate) fn receiving((): ()) {
    let mut proof = Proof::new("receiving");
    let received = |queue: &Queue, me: &Me| check(queue, me, 2, &[], 1);
    proof.states(&Scenario::new("receive", holding_two, receive, received));
    proof.states(&Scenario {
        peers: &[send_theirs, send_theirs],
        ..Scenario::new("receive, while two sleep", full, receive, received)
    });
    let received = |queue: &Queue, me: &Me| check(queue, me, 0, &[], 1);
    proof.states(&Scenario {
        peers: &[receive_one],
        from: Start::Sleep(|queue, me| {
            let values = [THEIRS, THEIRS + 1];
            queue.0.send_many(&values).unwrap();
            values.iter().for_each(|value| me.say(SENT + value));
        }),
        ..Scenario::new("wake up to receive, while one more sleeps", empty, receive, received)
    });
    let many = |(_, receiver): &Queue, me: &Me| {
        know_myself();
        me.go();
        receiver.recv_many(2).unwrap().into_iter().for_each(|value| me.say(value));
    };
    let received = |queue: &Queue, me: &Me| check(queue, me, 2, &[], 2);
    proof.states(&Scenario::new("receive many", holding_two, many, received));
    proof.states(&Scenario {
        peers: &[send_theirs],
        ..Scenario::new("receive many, while one sleeps", full, many, received)
    });
}

pub(crate) fn leases((): ()) {
    let mut proof = Proof::new("leases");
    let settle = |(_, receiver): &Queue, me: &Me| {
        know_myself();
        me.go();
        let lease = receiver.recv_leased().unwrap();
        // Before it is done: else it is not known to have been.
        me.say(*lease);
        lease.done();
    };
    // A message that was worked on may come again, unless all was done.
    let comes_again = |(sender, receiver): &Queue, me: &Me| {
        // That of a dead holder comes when it is noticed, perhaps after the next.
        let mut got: Vec<u64> = Vec::new();
        while !sender.join_timeout(Duration::ZERO) {
            let lease = receiver.recv_leased().unwrap();
            me.done();
            got.push(*lease);
            lease.done();
        }
        got.sort_unstable();
        let worked_on = !me.victim().said().is_empty();
        assert!(got == [1, 2] || worked_on && got == [2], "{got:?}");
        assert!(!me.victim().is_done() || got == [2], "{got:?}");
        is_as_new(sender, receiver);
    };
    proof.states(&Scenario::new("receive on lease and settle", holding_two, settle, comes_again));
    let undone = |(_, receiver): &Queue, me: &Me| {
        know_myself();
        me.go();
        drop(receiver.recv_leased().unwrap());
    };
    let all_come = |(sender, receiver): &Queue, me: &Me| {
        let got = [receiver.recv_leased().unwrap(), receiver.recv_leased().unwrap()];
        me.done();
        let mut numbers = got.each_ref().map(|lease| **lease);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
        assert!(!sender.join_timeout(Duration::ZERO));
        got.into_iter().for_each(kinfolk::queue::Lease::done);
        is_as_new(sender, receiver);
    };
    proof.states(&Scenario::new("drop a lease", holding_two, undone, all_come));
    // Who takes a message over from a dead holder is killed too.
    let second = |(_, receiver): &Queue, _: &Me| drop(receiver.recv_leased().unwrap());
    proof.double_deaths(
        &Scenario { second, ..Scenario::new("take over", holding_two, undone, all_come) },
        4,
    );
}

pub(crate) fn pairs((): ()) {
    let mut proof = Proof::new("pairs of queue");
    let roles: [(fn(&Queue, &Me), fn(&Queue, &Me)); 4] =
        [(send, send_theirs), (send, receive_one), (receive, send_theirs), (receive, receive_one)];
    for (number, (victim, second)) in roles.into_iter().enumerate() {
        let judge: fn(&Queue, &Me) = if number < 2 {
            |queue, me| check(queue, me, 2, &MINE[..1], 0)
        } else {
            |queue, me| check(queue, me, 2, &[], 1)
        };
        let scenario = Scenario::new(NAMES[number], holding_two, victim, judge);
        proof.pairs(&Scenario { second, ..scenario }, STRIDE);
    }
}

/// The names of the pairs.
const NAMES: [&str; 4] = ["send, send", "send, receive", "receive, send", "receive, receive"];
/// Of the states of each of a pair, one of this many is taken where time is short.
const STRIDE: usize = 3;

pub(crate) fn double_deaths((): ()) {
    let mut proof = Proof::new("double deaths of queue");
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &MINE[..1], 0);
    let sending = Scenario::new("send", holding_two, send, sent);
    // Killed too, the second may have sent.
    proof.double_deaths(&Scenario { second: send_theirs, ..sending }, 1);
    let received = |queue: &Queue, me: &Me| check(queue, me, 2, &[], 2);
    let receiving = Scenario::new("receive", holding_two, receive, received);
    proof.double_deaths(&Scenario { second: receive_one, ..receiving }, 1);
}

/// The first operation of a fork, which must get to know itself.
pub(crate) fn forked((): ()) {
    let mut proof = Proof::new("the first operation of a fork");
    let cold = |(sender, _): &Queue, me: &Me| {
        me.go();
        sender.send(&MINE[0]).unwrap();
    };
    let sent = |queue: &Queue, me: &Me| check(queue, me, 2, &MINE[..1], 0);
    proof.states(&Scenario::new("send", holding_two, cold, sent));
}

fn empty() -> Queue {
    queue::bounded(10).unwrap()
}

/// A queue with 1 and 2 in it, and room.
fn holding_two() -> Queue {
    let queue = empty();
    queue.0.send_many(&[1, 2]).unwrap();
    queue
}

/// A queue with 1 and 2 in it, and no room.
fn full() -> Queue {
    let queue = queue::bounded(2).unwrap();
    queue.0.send_many(&[1, 2]).unwrap();
    queue
}

fn send((sender, _): &Queue, me: &Me) {
    know_myself();
    me.go();
    sender.send(&MINE[0]).unwrap();
}

fn receive((_, receiver): &Queue, me: &Me) {
    know_myself();
    me.go();
    me.say(receiver.recv().unwrap());
}

fn receive_one((_, receiver): &Queue, me: &Me) {
    me.say(receiver.recv().unwrap());
}

fn send_theirs((sender, _): &Queue, me: &Me) {
    let value = THEIRS + u64::from(std::process::id());
    sender.send(&value).unwrap();
    me.say(SENT + value);
}

fn wait_and_receive((_, receiver): &Queue, me: &Me) {
    loop {
        kinfolk::wait(&[receiver], None).unwrap();
        // A sender that was killed may have rung for nothing.
        if let Some(value) = receiver.try_recv().unwrap() {
            me.say(value);
            return;
        }
    }
}

/// Ends the waiting of all peers and receives all messages that are left. Each that
/// was sent must have come once: of `initial` messages, and those that were said to
/// be sent. Those of the victim, `mine`, may have come, all of them, and must have
/// if it was done. At most `lost` are lost to each receiver that was not done.
fn check(queue: &Queue, me: &Me, initial: u64, mine: &[u64], lost: usize) {
    let (sender, receiver) = queue;
    let peers_are_done = || (0..2).all(|peer| me.peer(peer).is_done() || !me.has_peer(peer));
    let mut more = MORE;
    while !peers_are_done() {
        if sender.capacity() > 2 && receiver.is_empty() {
            sender.send(&more).unwrap();
            me.say(SENT + more);
            more += 1;
        } else if sender.capacity() == 2 && !receiver.is_empty() {
            // They wait for room.
            me.say(receiver.recv().unwrap());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    while !sender.try_send(&LAST).unwrap() {
        me.say(receiver.recv().unwrap());
    }
    me.done();
    while me.said().last() != Some(&LAST) {
        me.say(receiver.recv().unwrap());
    }
    let all = [me.victim(), me.second(), me.peer(0), me.peer(1), *me];
    let (sent, got): (Vec<u64>, Vec<u64>) =
        all.iter().flat_map(Me::said).partition(|value| *value >= SENT);
    let mut must: BTreeSet<u64> = (1..=initial).chain([LAST]).collect();
    must.extend(sent.iter().map(|value| value - SENT));
    let (victim_done, second) = (me.victim().is_done(), me.second());
    let mut may = BTreeSet::new();
    if victim_done { &mut must } else { &mut may }.extend(mine);
    if second.pid() > 0 && !second.is_done() {
        may.insert(THEIRS + u64::from(second.pid()));
    }
    let came: BTreeSet<u64> = got.iter().copied().collect();
    assert_eq!(came.len(), got.len(), "twice: {got:?}");
    assert!(came.iter().all(|value| must.contains(value) || may.contains(value)), "{got:?}");
    let of_mine = mine.iter().filter(|value| came.contains(value)).count();
    assert!(of_mine == 0 || of_mine == mine.len(), "a part of {mine:?}: {got:?}");
    let missing: Vec<_> = must.difference(&came).collect();
    let unfinished = usize::from(!victim_done) + usize::from(second.pid() > 0 && !second.is_done());
    assert!(missing.len() <= lost * unfinished, "lost {missing:?} of {must:?}");
    // What the survivor got of one sender is in order.
    for of_one in [0..100, 100..200, MORE..LAST] {
        let own: Vec<u64> = me.said().into_iter().filter(|value| of_one.contains(value)).collect();
        assert!(own.is_sorted(), "not in order: {own:?}");
    }
    is_as_new(sender, receiver);
}

/// The queue has no message, on lease or not, and room for all that it promises.
fn is_as_new(sender: &Sender<u64>, receiver: &Receiver<u64>) {
    sender.join();
    assert!(receiver.is_empty());
    for round in 0..2 {
        let values: Vec<u64> = (0..sender.capacity() as u64).map(|n| n + round).collect();
        sender.send_many(&values).unwrap();
        assert_eq!(receiver.recv_many(values.len()).unwrap(), values);
    }
    assert!(sender.is_empty());
}
