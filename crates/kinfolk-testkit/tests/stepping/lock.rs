//! Lock and `RLock`.

use std::time::Duration;

use kinfolk::{Lock, LockGuard, RLock};
use kinfolk_testkit::step::{Me, Proof, Scenario, Start};

use super::know_myself;

/// A time that passes while the victim sleeps.
const SHORT: Duration = Duration::from_millis(2);
/// A time that does not pass.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn lock((): ()) {
    let mut proof = Proof::new("lock");
    proof.states(&free());
    proof.states(&Scenario {
        peers: &[lock_and_unlock, lock_and_unlock],
        ..Scenario::new("unlock, while two sleep", new, unlock, survivor)
    });
    proof.states(&Scenario {
        peers: &[lock_and_unlock],
        from: Start::Sleep(release),
        ..Scenario::new("wake up, while one more sleeps", held, wait_for_it, survivor)
    });
    let try_it = |lock: &Lock, me: &Me| {
        know_myself();
        me.go();
        drop(lock.try_lock().unwrap());
    };
    proof.states(&Scenario::new("try a free one", new, try_it, survivor));
    proof.states(&Scenario::new("try a held one", held, try_it, survivor));
    let give_up = |lock: &Lock, me: &Me| {
        know_myself();
        me.go();
        assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    };
    proof.states(&Scenario::new("give up", held, give_up, survivor));
    let release = |lock: &Lock, me: &Me| {
        know_myself();
        me.go();
        lock.release().unwrap();
    };
    proof.states(&Scenario {
        peers: &[lock_and_unlock],
        ..Scenario::new("release for another, while one sleeps", held, release, survivor)
    });
    let leave = |lock: &Lock, me: &Me| {
        let guard = acquire(lock, me);
        me.leave();
        me.go();
        guard.leave_held();
    };
    proof.states(&Scenario {
        peers: &[lock_and_unlock],
        ..Scenario::new("leave it held, while one sleeps", new, leave, survivor)
    });
}

pub(crate) fn pairs((): ()) {
    let mut proof = Proof::new("pairs of lock");
    proof.pairs(&Scenario { second: lock_and_unlock, ..free() }, 1);
    proof.pairs(
        &Scenario { second: lock_and_unlock, ..Scenario::new("unlock", new, unlock, survivor) },
        1,
    );
}

pub(crate) fn double_deaths((): ()) {
    let mut proof = Proof::new("double deaths of lock");
    proof.double_deaths(&Scenario { second: lock_and_unlock, ..free() }, 1);
    proof.double_deaths(
        &Scenario { second: lock_and_unlock, peers: &[lock_and_unlock], ..free() },
        1,
    );
}

/// The victim acquires a free lock, and releases it.
fn free() -> Scenario<Lock> {
    let victim = |lock: &Lock, me: &Me| {
        know_myself();
        me.go();
        lock_and_unlock(lock, me);
    };
    Scenario::new("lock and unlock", new, victim, survivor)
}

fn new() -> Lock {
    Lock::new().unwrap()
}

/// A lock that is held by none of the processes.
fn held() -> Lock {
    let lock = new();
    std::mem::forget(lock.lock().unwrap());
    lock
}

/// Acquires the lock, and is alone then. It may be a dead one's.
fn acquire<'a>(lock: &'a Lock, me: &Me) -> LockGuard<'a> {
    let (guard, inherited) = match lock.lock() {
        Ok(guard) => (guard, false),
        Err(abandoned) => {
            assert!([me.victim().pid(), me.second().pid()].contains(&abandoned.pid()));
            (abandoned.into_inner(), true)
        }
    };
    me.enter(inherited);
    guard
}

fn lock_and_unlock(lock: &Lock, me: &Me) {
    let guard = acquire(lock, me);
    me.done();
    me.leave();
    drop(guard);
}

/// Holds the lock, and releases it step by step.
fn unlock(lock: &Lock, me: &Me) {
    let guard = acquire(lock, me);
    me.go();
    me.leave();
    drop(guard);
}

/// Sleeps, for the lock is held.
fn wait_for_it(lock: &Lock, me: &Me) {
    me.go();
    lock_and_unlock(lock, me);
}

fn release(lock: &Lock, _: &Me) {
    lock.release().unwrap();
}

/// Whoever was killed, and whoever waits: the lock can be had, and is free then.
fn survivor(lock: &Lock, me: &Me) {
    match lock.lock_timeout(5 * SHORT) {
        Ok(Some(guard)) => drop(guard),
        Ok(None) => {
            // Held by the process that made it, or left so.
            me.count_from_now();
            lock.release().unwrap();
        }
        Err(abandoned) => {
            assert!([me.victim().pid(), me.second().pid()].contains(&abandoned.pid()));
            me.enter(true);
            me.leave();
        }
    }
    me.done();
    lock_and_unlock(lock, me);
    me.wait_for_peers();
    assert!(!lock.is_locked());
    drop(lock.try_lock().unwrap().unwrap());
    drop(lock.lock_timeout(LONG).unwrap().unwrap());
    assert!(lock.release().is_err());
}

pub(crate) fn rlock((): ()) {
    let mut proof = Proof::new("rlock");
    let new = || RLock::new().unwrap();
    let twice = |lock: &RLock, me: &Me| {
        know_myself();
        me.go();
        let outer = lock.lock().unwrap();
        let inner = lock.lock().unwrap();
        drop(inner);
        drop(lock.try_lock().unwrap().unwrap());
        drop(outer);
    };
    let survivor = |lock: &RLock, me: &Me| {
        acquire_recursively(lock, me);
        me.done();
        me.wait_for_peers();
        assert!(!lock.is_locked());
        let guards = (lock.lock().unwrap(), lock.lock().unwrap());
        drop(guards);
        assert!(!lock.is_locked());
    };
    proof.states(&Scenario::new("lock twice, unlock twice", new, twice, survivor));
    let unlock = |lock: &RLock, me: &Me| {
        let guards = (lock.lock().unwrap(), lock.lock().unwrap());
        me.go();
        drop(guards);
    };
    let sleepers = Scenario::new("unlock twice, while two sleep", new, unlock, survivor);
    proof.states(&Scenario { peers: &[acquire_recursively, acquire_recursively], ..sleepers });
}

/// Acquires the lock, which may be a dead one's, and releases it.
fn acquire_recursively(lock: &RLock, me: &Me) {
    if let Err(abandoned) = lock.lock() {
        assert_eq!(abandoned.pid(), me.victim().pid());
    }
}
