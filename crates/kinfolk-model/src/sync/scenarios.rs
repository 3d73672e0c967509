//! What locks and what is built of them must keep.
#![allow(unsafe_code)] // The bodies of the library's trait.

use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;
use std::time::Duration;

use super::abandoned::Abandoned;
use super::barrier::Barrier;
use super::condition::Condition;
use super::event::Event;
use super::lock::Lock;
use super::object::{Body, Object};
use super::owner::{OwnerWord, Taken};
use super::semaphore::Semaphore;
use super::signal::Signal;
use crate::machine::{Bounds, Process, explore, start, this_process};
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::identity::Identity;

/// A section, and what it protects: two words that are changed one after the other.
struct Protected {
    /// Who changes them.
    owner: OwnerWord,
    /// The first.
    one: AtomicU64,
    /// The second, which is as the first outside of the section.
    two: AtomicU64,
    /// Told of a change.
    changed: Signal,
}

// SAFETY: words.
unsafe impl Body for Protected {
    const NAME: &'static CStr = c"protected";
    const KIND: u64 = 0;
}

impl Protected {
    /// Changes both words, as their owner. Returns whether they were alike.
    fn change(&self) -> bool {
        let one = self.one.load(Ordering::Relaxed);
        let two = self.two.load(Ordering::Relaxed);
        self.one.store(one + 1, Ordering::Relaxed);
        self.two.store(one + 1, Ordering::Relaxed);
        one == two
    }

    /// Says so to who sleeps on `changed`.
    fn add_one(&self) {
        let section = self.owner.enter();
        self.one.store(self.one.load(Ordering::Relaxed) + 1, Ordering::Release);
        drop(section);
    }
}

/// Makes an object.
fn shared<B: Body>() -> Rc<Object<B>> {
    Rc::new(Object::new().expect("memory"))
}

/// Where the one that was the last to own a word is, for the eyes of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nobody was.
    Nobody,
    /// It owns the word.
    Inside(usize),
    /// It releases the word, or has done so.
    Leaving(usize),
}

/// No two processes own a word at a time, each sees what the one before has done,
/// and who takes over from a dead one, and nobody else, is told.
pub fn a_word_has_one_owner() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || own_in_turn(2));
}

/// The same with three processes.
pub fn a_word_of_three_has_one_owner() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, || own_in_turn(3));
}

fn own_in_turn(processes: usize) {
    let object = shared::<Protected>();
    let last = Rc::new(Cell::new(Last::Nobody));
    let own = || {
        let (object, last) = (object.clone(), last.clone());
        move || {
            let body = object.body();
            let taken = body.owner.take(None).expect("there is no deadline");
            let before = last.replace(Last::Inside(this_process()));
            match (taken, before) {
                (Taken::Free, Last::Nobody | Last::Leaving(_)) => {}
                (Taken::From(dead), Last::Inside(process) | Last::Leaving(process)) => {
                    assert_eq!(dead, Identity::of(process));
                }
                wrong => panic!("two own the word, or the wrong one is dead: {wrong:?}"),
            }
            assert!(body.owner.is_mine());
            let whole = body.change();
            assert!(whole || taken != Taken::Free, "a change is seen by half");
            last.set(Last::Leaving(this_process()));
            assert!(body.owner.release());
            taken
        }
    };
    let started: Vec<_> = (0..processes).map(|_| start(own())).collect();
    let taken: Vec<_> = started.into_iter().map(Process::join).collect();
    let died = taken.contains(&None);
    let told = taken.iter().flatten().filter(|taken| **taken != Taken::Free).count();
    assert!(told <= usize::from(died), "a death is told twice");
    if !died {
        assert_eq!(object.body().two.load(Ordering::Relaxed), processes as u64);
    }
    let body = object.body();
    let heir = body.owner.try_take().expect("nobody alive owns it");
    match last.get() {
        Last::Inside(process) => assert_eq!(heir, Taken::From(Identity::of(process))),
        last => assert!(heir == Taken::Free || died, "{last:?}"),
    }
}

/// A word that is left held stays held after a death, until it is released for its
/// owner; then somebody who sleeps on it goes on.
pub fn a_word_left_held_is_held_until_it_is_released() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || {
        let object = shared::<Protected>();
        let (first, second) = (object.clone(), object.clone());
        let leaver = start(move || {
            first.body().owner.take(None);
            assert!(first.body().owner.leave_held());
        });
        let taker = start(move || {
            let taken = second.body().owner.take(None);
            second.body().owner.release();
            taken
        });
        let left = leaver.join();
        object.body().owner.release_for_any();
        let taken = taker.join().expect("nobody kills it").expect("there is no deadline");
        assert!(left.is_none() || taken == Taken::Free);
    });
}

/// Who sleeps until a change is woken by it; also if two sleep, and one is killed.
pub fn a_change_wakes_who_sleeps() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=2, || {
        let object = shared::<Protected>();
        let (first, second) = (object.clone(), object.clone());
        let changer = start(move || {
            first.body().add_one();
            first.body().changed.wake_one();
        });
        let sleeper = start(move || sleep_until(second.body(), 1));
        if changer.join().is_none() {
            object.body().add_one();
            object.body().changed.wake_one();
        }
        sleeper.join();
    });
}

/// Two changes wake two who sleep; one change wakes both, if it wakes all.
pub fn changes_wake_all_who_sleep() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=2, || {
        let object = shared::<Protected>();
        let (first, second, third) = (object.clone(), object.clone(), object.clone());
        let changer = start(move || {
            first.body().add_one();
            first.body().changed.wake_all();
        });
        let sleepers = [
            start(move || sleep_until(second.body(), 1)),
            start(move || sleep_until(third.body(), 1)),
        ];
        if changer.join().is_none() {
            object.body().add_one();
            object.body().changed.wake_all();
        }
        for sleeper in sleepers {
            sleeper.join();
        }
    });
}

/// Who is woken for the first of two things wakes the next for the second.
pub fn one_who_is_woken_wakes_the_next() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=2, || {
        let object = shared::<Protected>();
        let sleepers = [0, 1].map(|_| {
            let object = object.clone();
            start(move || take_one(object.body()))
        });
        let body = object.body();
        let section = body.owner.enter();
        body.one.store(2, Ordering::Release);
        drop(section);
        body.changed.wake_one();
        for sleeper in sleepers {
            sleeper.join();
        }
    });
}

fn take_one(body: &Protected) {
    loop {
        let section = body.owner.enter();
        let seen = body.one.load(Ordering::Relaxed);
        body.one.store(seen.saturating_sub(1), Ordering::Release);
        drop(section);
        if seen > 1 {
            body.changed.wake_one();
        }
        if seen > 0 {
            return;
        }
        body.changed.sleep(Duration::ZERO, || body.one.load(Ordering::SeqCst) > 0);
    }
}

fn sleep_until(body: &Protected, value: u64) {
    while body.one.load(Ordering::Acquire) < value {
        body.changed.sleep(Duration::ZERO, || body.one.load(Ordering::SeqCst) >= value);
    }
}

/// Who waits for an event goes on when it is set, also if it is cleared at once, and
/// sees what was done before.
pub fn an_event_wakes_all_who_wait() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=2, || {
        let (event, object) = (Rc::new(Event::new().expect("memory")), shared::<Protected>());
        let (first, written) = (event.clone(), object.clone());
        let setter = start(move || {
            written.body().one.store(1, Ordering::Relaxed);
            first.set();
            first.clear();
            first.set();
        });
        let waiters = [0, 1].map(|_| {
            let (event, object) = (event.clone(), object.clone());
            start(move || {
                event.wait();
                object.body().one.load(Ordering::Relaxed)
            })
        });
        let died = setter.join().is_none();
        if died {
            object.body().one.store(1, Ordering::Relaxed);
            event.set();
        }
        for waiter in waiters {
            assert!(waiter.join().is_none_or(|seen| seen == 1));
        }
    });
}

/// No more processes hold permits than there are; none is lost, whoever dies, and
/// none comes twice, though what is half written is written again.
pub fn permits_are_neither_lost_nor_doubled() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || hold_permits(1, 2));
}

/// The same with two permits and three processes.
pub fn permits_of_three_are_neither_lost_nor_doubled() {
    explore(Bounds { undisturbed: 2, crashed: 1 }, 1..=1, || hold_permits(2, 3));
}

fn hold_permits(permits: u32, processes: usize) {
    let semaphore = Rc::new(Semaphore::new(permits).expect("memory"));
    let inside: Rc<[Cell<bool>]> = (0..=processes).map(|_| Cell::new(false)).collect();
    let started: Vec<_> = (0..processes)
        .map(|_| {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            start(move || {
                let permit = semaphore.acquire().expect("few hold permits");
                inside[this_process()].set(true);
                let holds =
                    |process: &usize| inside[*process].get() && Identity::of(*process).is_alive();
                let count = (1..=processes).filter(holds).count();
                assert!(count <= permits as usize, "too many hold permits");
                // Others may come in the meantime.
                let _ = semaphore.value();
                inside[this_process()].set(false);
                drop(permit);
            })
        })
        .collect();
    for process in started {
        process.join();
    }
    let all: Vec<_> = (0..permits)
        .map(|_| semaphore.try_acquire().expect("few hold permits").expect("a permit is lost"))
        .collect();
    assert!(semaphore.try_acquire().expect("few hold permits").is_none(), "a permit is doubled");
    drop(all);
    assert_eq!(semaphore.value(), permits);
}

/// Each notification is for one who waits: a killed waiter swallows none.
pub fn a_notification_reaches_one_who_lives() {
    explore(Bounds { undisturbed: 1, crashed: 1 }, 1..=2, || {
        let lock = Rc::new(Lock::new().expect("memory"));
        let condition = Rc::new(Condition::new().expect("memory"));
        let tokens = shared::<Protected>();
        let notifier = {
            let (lock, condition, tokens) = (lock.clone(), condition.clone(), tokens.clone());
            start(move || notify_twice(&lock, &condition, tokens.body()))
        };
        let waiters = [0, 1].map(|_| {
            let (lock, condition, tokens) = (lock.clone(), condition.clone(), tokens.clone());
            start(move || {
                let mut guard = lock.lock().unwrap_or_else(Abandoned::into_inner);
                let tokens = &tokens.body().one;
                while tokens.load(Ordering::Relaxed) == 0 {
                    guard = condition.wait(guard).unwrap_or_else(Abandoned::into_inner);
                }
                tokens.store(tokens.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
            })
        });
        if notifier.join().is_none() {
            notify_twice(&lock, &condition, tokens.body());
        }
        for waiter in waiters {
            waiter.join();
        }
    });
}

fn notify_twice(lock: &Lock, condition: &Condition, tokens: &Protected) {
    for _ in 0..2 {
        let guard = lock.lock().unwrap_or_else(Abandoned::into_inner);
        tokens.one.store(tokens.one.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        condition.notify_one();
        drop(guard);
    }
}

/// Nobody passes a barrier before all have come; it breaks if one dies instead.
pub fn a_barrier_lets_all_pass_or_none() {
    explore(Bounds { undisturbed: 3, crashed: 2 }, 1..=1, || {
        let barrier = Rc::new(Barrier::new(2).expect("memory"));
        let came = Rc::new(Cell::new(0));
        let parties = [0, 1].map(|_| {
            let (barrier, came) = (barrier.clone(), came.clone());
            start(move || {
                came.set(came.get() + 1);
                let place = barrier.wait();
                assert!(place.is_err() || came.get() == 2, "one has not come");
                place
            })
        });
        let [one, two] = parties;
        let one = one.join();
        if one.is_none() && barrier.waiting() < came.get() {
            // It has not come so far as to be missed.
            barrier.abort();
        }
        let two = two.join().expect("nobody kills it");
        match one {
            Some(Ok(place)) => assert_eq!(two, Ok(1 - place)),
            Some(Err(broken)) => panic!("{broken}, though nobody died"),
            None => assert!(two.is_err() || came.get() == 2),
        }
    });
}
