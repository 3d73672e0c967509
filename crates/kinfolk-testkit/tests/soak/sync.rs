//! Locks and the others, whose users are killed at random.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use kinfolk::{Abandoned, Barrier, Condition, Context, Event, Lock, Semaphore};
use kinfolk_testkit::wait_until;

use crate::crew::{Crew, Verdict};
use crate::words::Words;

/// The number of processes.
const CREW: usize = 4;

/// Adds one to a sum and to its own part of it, and repairs the sum as an heir.
fn count((lock, words, me): (Lock, Words, usize)) -> Verdict {
    let parts = || -> u64 { (0..CREW).map(|place| words.at(place).load(SeqCst)).sum() };
    let (sum, repairs) = (words.at(CREW), words.at(CREW + 1));
    loop {
        let _guard = match lock.lock() {
            Ok(guard) => {
                let (sum, parts) = (sum.load(SeqCst), parts());
                if sum != parts {
                    return Err(format!("nobody died, and {sum} is not {parts}"));
                }
                guard
            }
            Err(abandoned) => {
                sum.store(parts(), SeqCst);
                repairs.store(repairs.load(SeqCst) + 1, SeqCst);
                abandoned.into_inner()
            }
        };
        // Two steps each: who is let in between loses one.
        let part = words.at(me).load(SeqCst);
        words.at(me).store(part + 1, SeqCst);
        sum.store(sum.load(SeqCst) + 1, SeqCst);
    }
}

/// The soak of a lock.
pub(crate) fn lock(time: Duration) {
    let (lock, words) = (Lock::new().unwrap(), Words::new(CREW + 2));
    let start = |place: usize, context: &Context| {
        context.spawn(count, (lock.try_clone().unwrap(), words.try_clone(), place)).unwrap()
    };
    let mut crew = Crew::start(CREW, start);
    crew.kill_for(time, |_| (), start);
    let (sum, repairs) = (words.at(CREW).load(SeqCst), words.at(CREW + 1).load(SeqCst));
    eprintln!("lock: {sum} times held, {} kills, {repairs} taken over", crew.kills);
    assert!(sum > 1000 && repairs <= crew.kills);
}

/// The permits.
const PERMITS: u64 = 2;

/// Holds a permit again and again, and counts who else does and lives.
fn hold((semaphore, words, me, number): (Semaphore, Words, usize, u64)) -> Verdict {
    for round in 1.. {
        let permit = semaphore.acquire().map_err(|error| error.to_string())?;
        // Another word at each time that it is held, so that what is read twice the same
        // was so at one moment: in between one might release, and the next acquire.
        words.at(me).store(number << 32 | round, SeqCst);
        let mut holders = holders(&words);
        while holders.len() as u64 > PERMITS {
            let again = self::holders(&words);
            if again == holders {
                return Err(format!("{} hold {PERMITS} permits", holders.len()));
            }
            holders = again;
        }
        words.at(2 * CREW).fetch_add(1, SeqCst);
        words.at(me).store(0, SeqCst);
        drop(permit);
    }
    Ok(())
}

/// The words of those who hold permits. A dead one's is marked, as it is killed.
fn holders(words: &Words) -> Vec<u64> {
    let read = |place| (words.at(place).load(SeqCst), words.at(CREW + place).load(SeqCst));
    let holds = |&(holder, dead): &(u64, u64)| holder != 0 && dead != holder >> 32;
    (0..CREW).map(read).filter(holds).map(|(holder, _)| holder).collect()
}

/// The soak of a semaphore.
pub(crate) fn semaphore(time: Duration) {
    let semaphore = Semaphore::new(PERMITS as u32).unwrap();
    let words = Words::new(2 * CREW + 1);
    let next = std::cell::Cell::new(1);
    let numbers = std::cell::RefCell::new([0; CREW]);
    let start = |place: usize, context: &Context| {
        words.at(place).store(0, SeqCst);
        numbers.borrow_mut()[place] = next.get();
        let there = (semaphore.try_clone().unwrap(), words.try_clone(), place, next.get());
        next.set(next.get() + 1);
        context.spawn(hold, there).unwrap()
    };
    let mut crew = Crew::start(CREW, start);
    let doomed = |place: usize| words.at(CREW + place).store(numbers.borrow()[place], SeqCst);
    crew.kill_for(time, doomed, start);
    for place in 0..CREW {
        crew.kill(place);
    }
    let all: Vec<_> = (0..PERMITS).map(|_| semaphore.acquire().unwrap()).collect();
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(all);
    let held = words.at(2 * CREW).load(SeqCst);
    eprintln!("semaphore: {held} permits held, {} kills, none lost or added", crew.kills);
    assert_eq!(u64::from(semaphore.value()), PERMITS);
    assert!(held > 100);
}

/// Takes each thing that there is, and waits for the next.
fn take((lock, condition, words): (Lock, Condition, Words)) -> Verdict {
    let mut guard = lock.lock().unwrap_or_else(Abandoned::into_inner);
    loop {
        if words.at(0).load(SeqCst) > 0 {
            words.at(0).store(0, SeqCst);
        }
        guard = condition.wait(guard).unwrap_or_else(Abandoned::into_inner);
    }
}

/// The soak of a condition: in each round somebody is notified, and somebody is
/// killed. The others take what there is, whoever it was.
pub(crate) fn condition(time: Duration) {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let words = Words::new(1);
    let start = |_: usize, context: &Context| {
        let there = (lock.try_clone().unwrap(), condition.try_clone().unwrap());
        context.spawn(take, (there.0, there.1, words.try_clone())).unwrap()
    };
    let mut crew = Crew::start(CREW, start);
    let end = Instant::now() + time;
    let mut rounds = 0_u64;
    while Instant::now() < end {
        let place = crew.numbers.below(CREW as u64) as usize;
        let pause = Duration::from_micros(crew.numbers.below(300));
        let guard = lock.lock().unwrap_or_else(Abandoned::into_inner);
        words.at(0).store(1, SeqCst);
        condition.notify_one();
        drop(guard);
        crew.look_after(place, pause);
        crew.kill(place);
        // Who died with the lock had gone on, and its heir notifies in its place.
        if lock.lock().is_err() {
            condition.notify_one();
        }
        // Before there is a new one, which would look by itself.
        wait_until("what was notified of is taken", || words.at(0).load(SeqCst) == 0);
        let context = crew.context();
        crew.put(place, start(place, &context));
        rounds += 1;
    }
    eprintln!("condition: {rounds} notifications, {} kills, none lost", crew.kills);
    assert!(rounds > 0);
}

/// Waits for one event after the other, and says how many there were.
fn follow((events, words, me, first): ([Event; 2], Words, usize, u64)) -> Verdict {
    for round in first.. {
        events[round as usize % 2].wait();
        words.at(me).store(round + 1, SeqCst);
    }
    Ok(())
}

/// The soak of an event: who sets it is killed, and one who waits.
pub(crate) fn event(time: Duration) {
    let events = [Event::new().unwrap(), Event::new().unwrap()];
    let both = || events.each_ref().map(|event| event.try_clone().unwrap());
    let words = Words::new(CREW);
    let start = |place: usize, context: &Context, round: u64| {
        words.at(place).store(round, SeqCst);
        context.spawn(follow, (both(), words.try_clone(), place, round)).unwrap()
    };
    let mut crew = Crew::start(CREW, |place, context| start(place, context, 0));
    let end = Instant::now() + time;
    let mut round = 0;
    let mut set_by_the_killed = 0;
    while Instant::now() < end {
        events[(round as usize + 1) % 2].clear();
        let now = &events[round as usize % 2];
        let set = |event: Event| {
            event.set();
            loop {
                std::thread::park();
            }
        };
        let setter: kinfolk::Process<()> =
            crew.context().spawn(set, now.try_clone().unwrap()).unwrap();
        let place = crew.numbers.below(CREW as u64) as usize;
        if round % 3 == 0 {
            crew.kill(place);
            let context = crew.context();
            crew.put(place, start(place, &context, round));
        }
        let pause = Duration::from_micros(crew.numbers.below(2000));
        crew.look_after(place, pause);
        setter.kill().unwrap();
        setter.wait().unwrap();
        if now.is_set() {
            set_by_the_killed += 1;
        } else {
            now.set();
        }
        round += 1;
        wait_until("all have seen the event", || {
            (0..CREW).all(|place| words.at(place).load(SeqCst) == round)
        });
    }
    eprintln!("event: {round} times set, {set_by_the_killed} of them by a killed process");
    assert!(round > 0);
}

/// Meets the others again and again, and says how often, and when it could not.
fn meet((barrier, words, me): (Barrier, Words, usize)) -> Verdict {
    let generation = words.at(2 * CREW);
    let mut current = generation.load(SeqCst);
    loop {
        if barrier.wait().is_ok() {
            words.at(me).fetch_add(1, SeqCst);
            continue;
        }
        words.at(CREW + me).store(current + 1, SeqCst);
        while generation.load(SeqCst) == current {
            std::thread::sleep(Duration::from_micros(100));
        }
        current = generation.load(SeqCst);
    }
}

/// The soak of a barrier: whenever one is killed it breaks for all the others, who
/// have met equally often until then.
pub(crate) fn barrier(time: Duration) {
    let barrier = Barrier::new(CREW).unwrap();
    // Meetings, the generations that broke for each, and the generation.
    let words = Words::new(2 * CREW + 1);
    let start = |place: usize, context: &Context| {
        context.spawn(meet, (barrier.try_clone().unwrap(), words.try_clone(), place)).unwrap()
    };
    let mut crew = Crew::start(CREW, start);
    let end = Instant::now() + time;
    let (mut generation, mut meetings) = (0, 0);
    while Instant::now() < end {
        // Who has not met anybody yet is not known to the barrier.
        wait_until("all have met", || (0..CREW).all(|place| words.at(place).load(SeqCst) > 0));
        let victim = crew.numbers.below(CREW as u64) as usize;
        let pause = Duration::from_micros(crew.numbers.below(1000));
        crew.look_after(victim, pause);
        crew.kill(victim);
        let others = || (0..CREW).filter(|place| *place != victim);
        wait_until("it has broken for all", || {
            others().all(|place| words.at(CREW + place).load(SeqCst) == generation + 1)
        });
        let met: Vec<u64> = others().map(|place| words.at(place).load(SeqCst)).collect();
        assert!(met.iter().all(|times| *times == met[0]), "{met:?}");
        meetings += met[0];
        for place in 0..CREW {
            words.at(place).store(0, SeqCst);
        }
        barrier.reset();
        generation += 1;
        words.at(2 * CREW).store(generation, SeqCst);
        let context = crew.context();
        crew.put(victim, start(victim, &context));
    }
    eprintln!("barrier: {meetings} meetings, {generation} kills, each of which broke it");
    assert!(generation > 5);
}
