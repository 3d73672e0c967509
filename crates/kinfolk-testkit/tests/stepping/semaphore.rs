//! Semaphore and `BoundedSemaphore`.

use std::time::Duration;

use kinfolk::{BoundedSemaphore, Semaphore};
use kinfolk_testkit::step::{Me, Proof, Scenario, Start};

use super::know_myself;

/// A time that passes.
const SHORT: Duration = Duration::from_millis(10);

pub(crate) fn semaphore((): ()) {
    let mut proof = Proof::new("semaphore");
    proof.states(&one());
    proof.states(&Scenario {
        peers: &[acquire_and_release, acquire_and_release],
        ..Scenario::new("release two, while two sleep", two, release_two, two_are_there)
    });
    proof.states(&Scenario {
        peers: &[acquire_and_release],
        from: Start::Sleep(|semaphore, _| semaphore.release().unwrap()),
        ..Scenario::new("wake up, while one more sleeps", none_left, wait_for_it, one_is_there)
    });
    let forget = |semaphore: &Semaphore, me: &Me| {
        know_myself();
        me.go();
        semaphore.acquire().unwrap().forget();
        semaphore.release().unwrap();
    };
    proof.states(&Scenario::new("release what is held, without it", two, forget, two_are_there));
    let give_up = |semaphore: &Semaphore, me: &Me| {
        know_myself();
        me.go();
        let permit = semaphore.acquire_timeout(Duration::from_millis(2)).unwrap();
        assert!(permit.is_none());
    };
    proof.states(&Scenario::new("give up", none_left, give_up, one_is_there));
    let leave = |semaphore: &Semaphore, me: &Me| {
        semaphore.acquire().unwrap().forget();
        me.go();
        semaphore.leave_taken();
    };
    proof.states(&Scenario::new("leave taken", two, leave, one_may_be_gone));
    let try_it = |semaphore: &Semaphore, me: &Me| {
        know_myself();
        me.go();
        assert!(semaphore.try_acquire().unwrap().is_none());
    };
    proof.states(&Scenario::new("try in vain", none_left, try_it, one_is_there));
}

pub(crate) fn signalling((): ()) {
    let mut proof = Proof::new("signalling semaphore");
    let none = || Semaphore::new(0).unwrap();
    let signal = |semaphore: &Semaphore, me: &Me| {
        know_myself();
        me.go();
        semaphore.release().unwrap();
    };
    let survivor = |semaphore: &Semaphore, me: &Me| {
        // A signal that was given arrives by itself. This one too.
        semaphore.release().unwrap();
        me.wait_for_peers();
        me.done();
        let left = semaphore.value();
        assert!(if me.victim().is_done() { left == 1 } else { left <= 1 }, "{left} are left");
    };
    proof.states(&Scenario {
        peers: WAIT_FOR_A_SIGNAL,
        ..Scenario::new("release, while one sleeps", none, signal, survivor)
    });
}

/// One who waits for a signal.
const WAIT_FOR_A_SIGNAL: &[fn(&Semaphore, &Me)] =
    &[|semaphore, _| semaphore.acquire().unwrap().forget()];

pub(crate) fn bounded((): ()) {
    let mut proof = Proof::new("bounded semaphore");
    let new = || BoundedSemaphore::new(2).unwrap();
    let victim = |semaphore: &BoundedSemaphore, me: &Me| {
        know_myself();
        me.go();
        let permit = semaphore.acquire().unwrap();
        drop(permit);
    };
    let survivor = |semaphore: &BoundedSemaphore, me: &Me| {
        let one = semaphore.acquire().unwrap();
        me.done();
        let two = semaphore.acquire().unwrap();
        assert!(semaphore.try_acquire().unwrap().is_none());
        drop((one, two));
        assert_eq!(semaphore.value(), 2);
        assert!(semaphore.release().is_err());
    };
    proof.states(&Scenario::new("acquire and release", new, victim, survivor));
}

pub(crate) fn pairs((): ()) {
    let mut proof = Proof::new("pairs of semaphore");
    proof.pairs(&Scenario { second: acquire_and_release, ..one() }, 4);
}

pub(crate) fn double_deaths((): ()) {
    let mut proof = Proof::new("double deaths of semaphore");
    proof.double_deaths(&Scenario { second: acquire_and_release, ..one() }, 5);
    // The heir returns the permits of the dead.
    let both = |semaphore: &Semaphore, me: &Me| {
        let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        me.go();
    };
    proof.double_deaths(
        &Scenario {
            second: acquire_and_release,
            ..Scenario::new("hold all", two, both, two_are_there)
        },
        3,
    );
}

/// The victim acquires a permit, and releases it.
fn one() -> Scenario<Semaphore> {
    let victim = |semaphore: &Semaphore, me: &Me| {
        know_myself();
        me.go();
        acquire_and_release(semaphore, me);
    };
    Scenario::new("acquire and release", two, victim, two_are_there)
}

fn two() -> Semaphore {
    Semaphore::new(2).unwrap()
}

/// The only permit is held by none of the processes.
fn none_left() -> Semaphore {
    let semaphore = Semaphore::new(1).unwrap();
    semaphore.acquire().unwrap().forget();
    semaphore
}

fn acquire_and_release(semaphore: &Semaphore, _: &Me) {
    drop(semaphore.acquire().unwrap());
}

fn release_two(semaphore: &Semaphore, me: &Me) {
    let permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    me.go();
    drop(permits);
}

fn wait_for_it(semaphore: &Semaphore, me: &Me) {
    me.go();
    acquire_and_release(semaphore, me);
}

/// Whoever was killed: there are two permits, and no third.
fn two_are_there(semaphore: &Semaphore, me: &Me) {
    drop(semaphore.acquire().unwrap());
    me.done();
    me.wait_for_peers();
    let one = semaphore.acquire().unwrap();
    let two = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop((one, two));
    assert_eq!(semaphore.value(), 2);
}

/// Whoever was killed: of the two permits one is taken for good, or has returned.
fn one_may_be_gone(semaphore: &Semaphore, me: &Me) {
    let one = semaphore.acquire().unwrap();
    me.done();
    let two = semaphore.try_acquire().unwrap();
    assert!(two.is_none() || !me.victim().is_done(), "it was left taken");
    assert!(semaphore.try_acquire().unwrap().is_none());
    let there = if two.is_some() { 2 } else { 1 };
    drop((one, two));
    assert_eq!(semaphore.value(), there);
}

/// Whoever was killed: the only permit is there, or with the process that made the
/// semaphore.
fn one_is_there(semaphore: &Semaphore, me: &Me) {
    match semaphore.acquire_timeout(SHORT).unwrap() {
        Some(permit) => drop(permit),
        None => {
            me.count_from_now();
            semaphore.release().unwrap();
        }
    }
    drop(semaphore.acquire().unwrap());
    me.done();
    me.wait_for_peers();
    let one = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(one);
    assert_eq!(semaphore.value(), 1);
}
