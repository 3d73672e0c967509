//! What locks and what is built of them must keep.
#![allow(unsafe_code)] // The bodies of the library's trait.

use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;
use std::time::Duration;

use super::object::{Body, Object};
use super::owner::{OwnerWord, Taken};
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

fn sleep_until(body: &Protected, value: u64) {
    while body.one.load(Ordering::Acquire) < value {
        body.changed.sleep(Duration::ZERO, || body.one.load(Ordering::SeqCst) >= value);
    }
}
