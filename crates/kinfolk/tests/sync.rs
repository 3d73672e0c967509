//! RLock, Semaphore, Condition, Event and Barrier: what they do, and what a kill
//! does to them.

use std::time::Duration;

use kinfolk::{
    Abandoned, Barrier, BoundedSemaphore, BrokenBarrier, Condition, Connection, Context, Event,
    Lock, Permit, Process, RLock, Semaphore, StartMethod, pipe, wait,
};
use kinfolk_testkit::{LONG, SHORT, for_each_start_method, forever, signal, wait_until, watchdog};
use serde::Serialize;
use serde::de::DeserializeOwned;

kinfolk::test_init!();

/// Starts a process that does something with a thing, says so, and may go on.
fn start<T: Serialize + DeserializeOwned>(
    method: StartMethod,
    work: fn((T, Connection<u32, ()>)),
    thing: T,
) -> Process<()> {
    let (told, tell) = pipe::<(), u32>().unwrap();
    let process = Context::new(method).spawn(work, (thing, tell)).unwrap();
    told.recv().unwrap();
    process
}

/// Waits for a notification.
fn wait_with((things, tell): ((Lock, Condition), Connection<u32, ()>)) {
    let guard = things.0.lock().unwrap();
    tell.send(&0).unwrap();
    drop(things.1.wait(guard).map_err(Abandoned::into_inner));
}

for_each_start_method! {
    fn an_rlock_is_held_until_it_is_released_as_often(method) {
        let lock = RLock::new().unwrap();
        let outer = lock.lock().unwrap();
        let inner = lock.try_lock().unwrap().unwrap();
        let is_free = |lock: RLock| lock.try_lock().unwrap().is_some();
        let free = || {
            Context::new(method).spawn(is_free, lock.try_clone().unwrap()).unwrap().join().unwrap()
        };
        assert!(!free());
        drop(outer);
        assert!(!free());
        drop(inner);
        assert!(free());
    }

    fn the_heir_of_an_rlock_holds_it_once(method) {
        let lock = RLock::new().unwrap();
        let hold_twice = |(lock, tell): (RLock, Connection<u32, ()>)| {
            let _guards = (lock.lock().unwrap(), lock.lock().unwrap());
            tell.send(&0).unwrap();
            forever()
        };
        let holder = start(method, hold_twice, lock.try_clone().unwrap());
        holder.kill().unwrap();
        let abandoned = lock.lock().unwrap_err();
        assert_eq!(abandoned.pid(), holder.pid());
        drop(abandoned.into_inner());
        assert!(!lock.is_locked());
    }

    fn the_permits_of_a_killed_holder_return(method) {
        let semaphore = Semaphore::new(3).unwrap();
        let hold_two = |(semaphore, tell): (Semaphore, Connection<u32, ()>)| {
            let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
            tell.send(&0).unwrap();
            forever()
        };
        let holder = start(method, hold_two, semaphore.try_clone().unwrap());
        let mine = semaphore.acquire().unwrap();
        assert!(semaphore.try_acquire().unwrap().is_none());
        holder.kill().unwrap();
        let two = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        assert!(semaphore.try_acquire().unwrap().is_none());
        drop((mine, two));
        assert_eq!(semaphore.value(), 3);
    }

    fn an_event_wakes_all_who_wait(method) {
        let event = Event::new().unwrap();
        let wait_for_it = |(event, tell): (Event, Connection<u32, ()>)| {
            tell.send(&0).unwrap();
            event.wait();
        };
        let waiting: Vec<_> =
            (0..3).map(|_| start(method, wait_for_it, event.try_clone().unwrap())).collect();
        assert!(waiting.iter().all(|process| process.is_alive()));
        event.set();
        for process in waiting {
            process.join().unwrap();
        }
    }

    fn a_party_killed_at_the_barrier_breaks_it(method) {
        let barrier = Barrier::new(3).unwrap();
        let arrive = |(barrier, tell): (Barrier, Connection<u32, ()>)| {
            tell.send(&0).unwrap();
            let _ = barrier.wait();
        };
        let party = start(method, arrive, barrier.try_clone().unwrap());
        wait_until("a party has arrived", || barrier.waiting() == 1);
        let other = start(method, arrive, barrier.try_clone().unwrap());
        wait_until("two parties have arrived", || barrier.waiting() == 2);
        party.kill().unwrap();
        other.join().unwrap();
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        assert!(barrier.is_broken());
        barrier.reset();
        assert!(!barrier.is_broken());
    }

    fn a_party_killed_before_it_arrives_again_breaks_it(method) {
        let barrier = Barrier::new(3).unwrap();
        let arrive = |(barrier, tell): (Barrier, Connection<u32, ()>)| {
            tell.send(&0).unwrap();
            barrier.wait().unwrap();
            forever()
        };
        let arrive_twice = |(barrier, tell): (Barrier, Connection<u32, ()>)| {
            tell.send(&0).unwrap();
            barrier.wait().unwrap();
            assert_eq!(barrier.wait(), Err(BrokenBarrier));
        };
        // The first to arrive in one round is not in the next, and another one is.
        let first = start(method, arrive, barrier.try_clone().unwrap());
        wait_until("a party has arrived", || barrier.waiting() == 1);
        let second = start(method, arrive_twice, barrier.try_clone().unwrap());
        wait_until("two parties have arrived", || barrier.waiting() == 2);
        assert_eq!(barrier.wait(), Ok(2));
        wait_until("one has arrived again", || barrier.waiting() == 1);
        first.kill().unwrap();
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        second.join().unwrap();
    }

    fn a_notification_of_a_killed_waiter_is_not_lost(method) {
        let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
        let things = || (lock.try_clone().unwrap(), condition.try_clone().unwrap());
        let first = start(method, wait_with, things());
        // It waits when the lock is free again.
        drop(lock.lock().unwrap());
        let second = start(method, wait_with, things());
        drop(lock.lock().unwrap());
        first.kill().unwrap();
        wait(&[&first], None).unwrap();
        condition.notify_one();
        second.join().unwrap();
    }
}

#[test]
fn a_notified_waiter_that_is_killed_passes_it_on() {
    let _watchdog = watchdog("a_notified_waiter_that_is_killed_passes_it_on");
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let things = || (lock.try_clone().unwrap(), condition.try_clone().unwrap());
    for _ in 0..5 {
        let [first, second] = [(); 2].map(|()| {
            let process = start(StartMethod::Forkserver, wait_with, things());
            drop(lock.lock().map_err(Abandoned::into_inner));
            process
        });
        // So that it cannot go on between the notification and its end.
        stop(&first);
        condition.notify_one();
        first.kill().unwrap();
        assert!(second.join_timeout(LONG).is_ok(), "the notification was lost");
    }
}

#[test]
fn a_notified_waiter_that_is_killed_before_it_has_the_lock_passes_it_on() {
    let _watchdog = watchdog("a_notified_waiter_that_is_killed_before_it_has_the_lock");
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let things = || (lock.try_clone().unwrap(), condition.try_clone().unwrap());
    let [first, second] = [(); 2].map(|()| {
        let process = start(StartMethod::Forkserver, wait_with, things());
        drop(lock.lock().unwrap());
        process
    });
    let guard = lock.lock().unwrap();
    condition.notify_one();
    // It wakes, and waits for the lock.
    assert!(wait(&[&first], Some(SHORT)).unwrap().is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    drop(guard);
    assert!(second.join_timeout(LONG).is_ok(), "the notification was lost");
}

/// Stops a process, for good.
fn stop(process: &Process<()>) {
    let pid = process.pid();
    signal(pid, libc::SIGSTOP);
    wait_until("it has stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    });
}

#[test]
fn a_condition_that_is_not_notified_times_out() {
    let _watchdog = watchdog("a_condition_that_is_not_notified_times_out");
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let guard = lock.lock().unwrap();
    let (guard, notified) = condition.wait_timeout(guard, SHORT).unwrap();
    assert!(!notified && lock.is_locked());
    drop(guard);
    // A notification that nobody waits for is gone.
    condition.notify_all();
    assert!(!condition.wait_timeout(lock.lock().unwrap(), SHORT).unwrap().1);
}

#[test]
fn a_notification_wakes_as_many_as_it_says_the_longest_waiting_first() {
    let _watchdog = watchdog("a_notification_wakes_as_many_as_it_says");
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (lock, condition) = (&lock, &condition);
        for number in 0..4 {
            let sender = sender.clone();
            let (waits, waiting) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let guard = lock.lock().unwrap();
                waits.send(()).unwrap();
                let _guard = condition.wait(guard).unwrap();
                sender.send(number).unwrap();
            });
            waiting.recv().unwrap();
            drop(lock.lock().unwrap());
        }
        condition.notify(2);
        let mut first =
            [receiver.recv_timeout(LONG).unwrap(), receiver.recv_timeout(LONG).unwrap()];
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert!(receiver.recv_timeout(SHORT).is_err());
        condition.notify_all();
        let mut last = [receiver.recv_timeout(LONG).unwrap(), receiver.recv_timeout(LONG).unwrap()];
        last.sort_unstable();
        assert_eq!(last, [2, 3]);
    });
}

#[test]
fn an_event_that_is_cleared_at_once_has_woken_all() {
    let _watchdog = watchdog("an_event_that_is_cleared_at_once_has_woken_all");
    let event = Event::new().unwrap();
    assert!(!event.wait_timeout(SHORT));
    std::thread::scope(|scope| {
        let (waits, waiting) = std::sync::mpsc::channel();
        let (done, is_done) = std::sync::mpsc::channel();
        for _ in 0..3 {
            let (waits, done, event) = (waits.clone(), done.clone(), &event);
            scope.spawn(move || {
                waits.send(()).unwrap();
                event.wait();
                done.send(()).unwrap();
            });
            waiting.recv().unwrap();
        }
        // Who is not yet in `wait` has not waited: so it is set until all are done.
        let mut left = 3;
        while left > 0 {
            event.set();
            event.clear();
            left -= is_done.recv_timeout(Duration::from_millis(1)).into_iter().count();
        }
    });
    assert!(!event.is_set());
}

#[test]
fn a_bounded_semaphore_refuses_a_release_too_many() {
    let semaphore = BoundedSemaphore::new(1).unwrap();
    assert!(semaphore.release().is_err());
    semaphore.acquire().unwrap().forget();
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 1);
    let unbounded = Semaphore::new(1).unwrap();
    unbounded.release().unwrap();
    assert_eq!(unbounded.value(), 2);
}

#[test]
fn a_semaphore_used_to_signal_gets_nothing_back_from_the_dead() {
    let _watchdog = watchdog("a_semaphore_used_to_signal_gets_nothing_back");
    let semaphore = Semaphore::new(0).unwrap();
    let take = |semaphore: Semaphore| semaphore.acquire().map(Permit::forget).unwrap();
    let taker = Process::spawn(take, semaphore.try_clone().unwrap()).unwrap();
    semaphore.release().unwrap();
    taker.join().unwrap();
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
}

#[test]
fn another_process_may_release_a_permit() {
    let _watchdog = watchdog("another_process_may_release_a_permit");
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let release = |semaphore: BoundedSemaphore| semaphore.release().is_ok();
    assert!(Process::spawn(release, semaphore.try_clone().unwrap()).unwrap().join().unwrap());
    assert_eq!(semaphore.value(), 1);
    drop(held);
    assert_eq!(semaphore.value(), 1);
}

#[test]
fn random_kills_leave_a_semaphore_with_all_its_permits() {
    let _watchdog = watchdog("random_kills_leave_a_semaphore_with_all_its_permits");
    let work = |semaphore: Semaphore| {
        loop {
            let _permit = semaphore.acquire().unwrap();
        }
    };
    let semaphore = Semaphore::new(2).unwrap();
    let start = || -> Process<()> { Process::spawn(work, semaphore.try_clone().unwrap()).unwrap() };
    let mut workers: Vec<_> = (0..4).map(|_| start()).collect();
    for round in 0..100_u64 {
        let victim = workers.swap_remove(usize::try_from(round).unwrap() % workers.len());
        let pause = Duration::from_micros(500 + 97 * (round % 23));
        assert!(wait(&[&victim], Some(pause)).unwrap().is_empty());
        victim.kill().unwrap();
        workers.push(start());
    }
    for worker in &workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let both = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(both);
    assert_eq!(semaphore.value(), 2);
}

#[test]
fn parties_meet_round_after_round_and_the_last_acts_first() {
    let _watchdog = watchdog("parties_meet_round_after_round");
    let barrier = Barrier::new(3).unwrap();
    let acted = std::sync::atomic::AtomicUsize::new(0);
    let count = || acted.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..200 {
                    assert_eq!(count(), round);
                    barrier.wait().unwrap();
                    let act = || {
                        acted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    };
                    let place = barrier.wait_with(act).unwrap();
                    assert!(place < 3);
                }
            });
        }
    });
    assert_eq!(count(), 200);
}

#[test]
fn a_barrier_breaks_by_a_timeout_an_abort_a_reset_and_a_panic() {
    let _watchdog = watchdog("a_barrier_breaks_by_a_timeout_an_abort_a_reset_and_a_panic");
    let barrier = Barrier::new(2).unwrap();
    assert_eq!(barrier.wait_timeout(SHORT), Err(BrokenBarrier));
    assert_eq!(barrier.wait(), Err(BrokenBarrier));
    for end in [Barrier::abort, Barrier::reset] {
        barrier.reset();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| barrier.wait());
            wait_until("it waits", || barrier.waiting() == 1);
            end(&barrier);
            assert_eq!(waiter.join().unwrap(), Err(BrokenBarrier));
        });
    }
    let alone = Barrier::new(1).unwrap();
    let panics = std::panic::AssertUnwindSafe(|| alone.wait_with(|| panic!("the action")));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert!(alone.is_broken());
    assert!(Barrier::new(0).is_err());
}
