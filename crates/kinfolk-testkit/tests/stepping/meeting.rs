//! Condition, Event and Barrier.

use std::time::Duration;

use kinfolk::{Barrier, BrokenBarrier, Condition, Event, Lock};
use kinfolk_testkit::step::{Me, Proof, Scenario, Start};

use super::know_myself;

/// A time that passes while the victim sleeps.
const SHORT: Duration = Duration::from_millis(2);

/// A condition and its lock.
type Waiting = (Lock, Condition);

pub(crate) fn condition((): ()) {
    let mut proof = Proof::new("condition");
    let notify = |(lock, condition): &Waiting, me: &Me| {
        know_myself();
        me.go();
        let guard = lock.lock().unwrap();
        condition.notify_one();
        drop(guard);
    };
    proof.states(&Scenario {
        peers: &[wait, wait],
        ..Scenario::new("notify one, while two sleep", waiting, notify, notify_the_rest)
    });
    let notify_all = |(lock, condition): &Waiting, me: &Me| {
        know_myself();
        me.go();
        let guard = lock.lock().unwrap();
        condition.notify_all();
        drop(guard);
    };
    proof.states(&Scenario {
        peers: &[wait, wait],
        ..Scenario::new("notify all, while two sleep", waiting, notify_all, notify_the_rest)
    });
    let begin = |(lock, condition): &Waiting, me: &Me| {
        know_myself();
        me.go();
        let guard = lock.lock().unwrap();
        assert!(!condition.wait_timeout(guard, SHORT).unwrap().1);
    };
    proof.states(&Scenario {
        peers: &[wait],
        ..Scenario::new("wait and give up, while one sleeps", waiting, begin, notify_the_rest)
    });
    proof.states(&woken());
}

pub(crate) fn condition_double_deaths((): ()) {
    let mut proof = Proof::new("double deaths of condition");
    let pass_on = |(_, condition): &Waiting, _: &Me| condition.notify(0);
    proof.double_deaths(&Scenario { second: pass_on, ..woken() }, 3);
}

/// The victim is notified and wakes, while another one sleeps.
fn woken() -> Scenario<Waiting> {
    let victim = |(lock, condition): &Waiting, me: &Me| {
        let guard = lock.lock().unwrap();
        me.go();
        let guard = condition.wait(guard).unwrap();
        me.done();
        drop(guard);
    };
    // The one notification is the victim's. If that has not gone on, and has not left
    // its lock to an heir, it is the other one's.
    let survivor = |(lock, condition): &Waiting, me: &Me| {
        let told = lock.lock().is_err();
        let was_notified = !me.second().said().is_empty();
        if me.victim().is_done() || told || !was_notified {
            condition.notify_one();
            me.count_from_now();
        }
        me.wait_for_peers();
        me.done();
        assert!(!lock.is_locked());
    };
    let notify = |(_, condition): &Waiting, me: &Me| {
        me.say(1);
        condition.notify_one();
    };
    Scenario {
        peers: &[wait],
        from: Start::Sleep(notify),
        ..Scenario::new("wake up, while one more sleeps", waiting, victim, survivor)
    }
}

fn waiting() -> Waiting {
    (Lock::new().unwrap(), Condition::new().unwrap())
}

/// Waits for a notification.
fn wait((lock, condition): &Waiting, me: &Me) {
    let guard = lock.lock().unwrap_or_else(|abandoned| abandoned.into_inner());
    let guard = condition.wait(guard).unwrap_or_else(|abandoned| abandoned.into_inner());
    me.done();
    drop(guard);
}

/// Whoever was killed: two notifications wake all.
fn notify_the_rest((lock, condition): &Waiting, me: &Me) {
    drop(lock.lock());
    me.done();
    condition.notify_one();
    condition.notify_one();
    me.wait_for_peers();
    drop(lock.lock().unwrap());
    assert!(!lock.is_locked());
}

pub(crate) fn event((): ()) {
    let mut proof = Proof::new("event");
    let new = || Event::new().unwrap();
    let set = |event: &Event, me: &Me| {
        know_myself();
        me.go();
        event.set();
    };
    let survivor = |event: &Event, me: &Me| {
        // If it is set, they go on by themselves.
        if !event.is_set() {
            assert!(!me.victim().is_done());
            event.set();
        }
        me.wait_for_peers();
        me.done();
        event.clear();
        assert!(!event.wait_timeout(SHORT));
        event.set();
        event.wait();
    };
    proof.states(&Scenario {
        peers: &[wait_for_event, wait_for_event],
        ..Scenario::new("set, while two sleep", new, set, survivor)
    });
    let wait = |event: &Event, me: &Me| {
        me.go();
        event.wait();
    };
    proof.states(&Scenario {
        peers: &[wait_for_event],
        from: Start::Sleep(|event, _| event.set()),
        ..Scenario::new("wake up, while one more sleeps", new, wait, survivor)
    });
    let set_and_clear = |event: &Event, me: &Me| {
        know_myself();
        me.go();
        event.set();
        event.clear();
    };
    let after_clear = |event: &Event, me: &Me| {
        // The setting has counted for who slept, or has not been.
        if !me.victim().is_done() {
            event.set();
        }
        me.wait_for_peers();
        me.done();
        event.clear();
        assert!(!event.is_set());
    };
    proof.states(&Scenario {
        peers: &[wait_for_event],
        ..Scenario::new("set and clear, while one sleeps", new, set_and_clear, after_clear)
    });
    let give_up = |event: &Event, me: &Me| {
        me.go();
        assert!(!event.wait_timeout(SHORT));
    };
    let unset = |event: &Event, me: &Me| {
        assert!(!event.is_set());
        event.set();
        me.done();
        event.wait();
    };
    proof.states(&Scenario::new("give up", new, give_up, unset));
}

fn wait_for_event(event: &Event, _: &Me) {
    event.wait();
}

pub(crate) fn barrier((): ()) {
    let mut proof = Proof::new("barrier");
    proof.states(&last());
    let first = |barrier: &Barrier, me: &Me| {
        me.go();
        let _ = barrier.wait();
    };
    proof.states(&Scenario {
        from: Start::Sleep(|barrier: &Barrier, me| {
            barrier.wait().unwrap();
            me.say(1);
        }),
        ..Scenario::new("wake up", two, first, complete_or_break)
    });
    proof.states(&Scenario {
        peers: &[wait_at_barrier],
        ..Scenario::new(
            "call the action, while one sleeps",
            two,
            |barrier, me| {
                know_myself();
                me.go();
                let _ = barrier.wait_with(|| me.say(1));
            },
            complete_or_break,
        )
    });
    let abort = |barrier: &Barrier, me: &Me| {
        know_myself();
        me.go();
        barrier.abort();
    };
    proof.states(&Scenario {
        peers: &[wait_at_barrier],
        ..Scenario::new("abort, while one sleeps", two, abort, complete_or_break)
    });
    let reset = |barrier: &Barrier, me: &Me| {
        know_myself();
        me.go();
        barrier.reset();
    };
    proof.states(&Scenario {
        peers: &[wait_at_barrier],
        ..Scenario::new("reset, while one sleeps", two, reset, complete_or_break)
    });
    let give_up = |barrier: &Barrier, me: &Me| {
        know_myself();
        me.go();
        assert_eq!(barrier.wait_timeout(SHORT), Err(BrokenBarrier));
    };
    proof.states(&Scenario::new("give up", two, give_up, complete_or_break));
}

pub(crate) fn barrier_double_deaths((): ()) {
    let mut proof = Proof::new("double deaths of barrier");
    let second = |barrier: &Barrier, _: &Me| {
        let _ = barrier.wait_timeout(SHORT);
    };
    let three = || Barrier::new(3).unwrap();
    let arrive = |barrier: &Barrier, me: &Me| {
        know_myself();
        me.go();
        let _ = barrier.wait_timeout(SHORT);
    };
    proof.double_deaths(
        &Scenario {
            second,
            ..Scenario::new("arrive", three, arrive, |barrier, me| {
                barrier.abort();
                assert_eq!(barrier.wait(), Err(BrokenBarrier));
                me.done();
                is_as_new(barrier);
            })
        },
        2,
    );
}

/// The victim is the last one to arrive.
fn last() -> Scenario<Barrier> {
    let victim = |barrier: &Barrier, me: &Me| {
        know_myself();
        me.go();
        let _ = barrier.wait();
    };
    Scenario {
        peers: &[wait_at_barrier],
        ..Scenario::new("arrive last", two, victim, complete_or_break)
    }
}

fn two() -> Barrier {
    Barrier::new(2).unwrap()
}

fn wait_at_barrier(barrier: &Barrier, me: &Me) {
    if barrier.wait().is_ok() {
        me.say(1);
    }
}

/// Whoever was killed: nobody waits for good, and the barrier can be reset.
fn complete_or_break(barrier: &Barrier, me: &Me) {
    // Takes the place of a victim that has not arrived, or finds that it has.
    let _ = barrier.wait_timeout(Duration::from_millis(150));
    me.count_from_now();
    me.wait_for_peers();
    me.done();
    is_as_new(barrier);
}

/// The barrier works once it is reset.
fn is_as_new(barrier: &Barrier) {
    barrier.reset();
    assert!(!barrier.is_broken());
    assert_eq!(barrier.waiting(), 0);
    std::thread::scope(|scope| {
        let parties: Vec<_> =
            (0..barrier.parties()).map(|_| scope.spawn(|| barrier.wait().unwrap())).collect();
        let mut places: Vec<_> = parties.into_iter().map(|party| party.join().unwrap()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..barrier.parties()).collect::<Vec<_>>());
    });
}
