//! All but one are killed, and how soon that one goes on.

use std::time::{Duration, Instant};

use kinfolk::queue::{self, Options, Receiver, Sender};
use kinfolk::{
    Abandoned, Barrier, BrokenBarrier, Condition, Connection, Event, Lock, Process, RLock,
    Semaphore, pipe, wait,
};
use kinfolk_testkit::{Leaks, in_its_own_process};
use serde::{Deserialize, Serialize};

kinfolk::test_init!();

/// A time in which nothing is expected to happen, and the test does not depend on it.
const SHORT: Duration = Duration::from_millis(5);

/// One of everything.
#[derive(Serialize, Deserialize)]
struct All {
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    sender: Sender<String>,
    receiver: Receiver<String>,
}

impl All {
    fn new() -> Self {
        let (sender, receiver) = queue::with_options(Options::new(20).bytes(1 << 20)).unwrap();
        Self {
            lock: Lock::new().unwrap(),
            rlock: RLock::new().unwrap(),
            semaphore: Semaphore::new(3).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(2).unwrap(),
            sender,
            receiver,
        }
    }

    fn try_clone(&self) -> Self {
        Self {
            lock: self.lock.try_clone().unwrap(),
            rlock: self.rlock.try_clone().unwrap(),
            semaphore: self.semaphore.try_clone().unwrap(),
            condition: self.condition.try_clone().unwrap(),
            event: self.event.try_clone().unwrap(),
            barrier: self.barrier.try_clone().unwrap(),
            sender: self.sender.try_clone().unwrap(),
            receiver: self.receiver.try_clone().unwrap(),
        }
    }
}

/// Uses everything, until it is killed.
fn use_all((all, tell): (All, Connection<bool, ()>)) {
    tell.send(&true).unwrap();
    let texts = ["small".to_owned(), "large".repeat(20_000)];
    loop {
        let guard = all.lock.lock().unwrap_or_else(Abandoned::into_inner);
        drop(all.condition.wait_timeout(guard, Duration::from_micros(50)));
        all.condition.notify_one();
        drop(all.rlock.lock().unwrap_or_else(Abandoned::into_inner));
        let permit = all.semaphore.acquire().unwrap();
        for text in &texts {
            all.sender.send_timeout(text, SHORT).unwrap();
        }
        drop(permit);
        all.event.set();
        all.event.clear();
        if all.barrier.wait_timeout(Duration::from_micros(50)).is_err() {
            all.barrier.reset();
        }
        drop(all.receiver.recv_leased_timeout(SHORT).unwrap());
        if let Some(lease) = all.receiver.recv_leased_timeout(SHORT).unwrap() {
            lease.done();
        }
        all.receiver.recv_timeout(SHORT).unwrap();
    }
}

/// Goes on with everything, alone.
fn go_on(all: &All) {
    drop(all.lock.lock().unwrap_or_else(Abandoned::into_inner));
    drop(all.rlock.lock().unwrap_or_else(Abandoned::into_inner));
    assert!(!all.lock.is_locked() && !all.rlock.is_locked());
    let permits = [(); 3].map(|()| all.semaphore.acquire().unwrap());
    assert!(all.semaphore.try_acquire().unwrap().is_none());
    drop(permits);
    let (guard, notified) = all.condition.wait_timeout(all.lock.lock().unwrap(), SHORT).unwrap();
    drop(guard);
    // At most by what was meant for a dead one.
    let _ = notified;
    all.condition.notify_all();
    all.event.clear();
    assert!(!all.event.wait_timeout(SHORT));
    all.event.set();
    all.event.wait();
    all.barrier.reset();
    assert_eq!(all.barrier.wait_timeout(SHORT), Err(BrokenBarrier));
    // What the dead have sent and not taken is whole.
    while let Some(lease) = all.receiver.recv_leased_timeout(SHORT).unwrap() {
        assert!(*lease == "small" || *lease == "large".repeat(20_000));
        lease.done();
    }
    all.sender.join();
    // All of the queue's space is there.
    let fills = "x".repeat((1 << 20) - 16);
    all.sender.send(&fills).unwrap();
    assert!(all.receiver.recv().unwrap() == fills);
}

in_its_own_process! {
    fn who_is_left_of_all_goes_on_with_everything_and_nothing_stays_behind() {
        // What the library keeps for good is made by the first start.
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        // The forkserver, and the child that waits ahead, are other ones at the end.
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        let mappings = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains("kinfolk-")).count()
        };
        let (leaks, mapped) = (Leaks::snapshot(), mappings());
        for round in 0..25_u64 {
            let all = All::new();
            let crew: Vec<Process<()>> = (0..5)
                .map(|_| {
                    let (told, tell) = pipe::<(), bool>().unwrap();
                    let process = Process::spawn(use_all, (all.try_clone(), tell)).unwrap();
                    assert!(told.recv().unwrap());
                    process
                })
                .collect();
            let pause = Duration::from_micros(round * round * 37 % 9000);
            assert!(wait(&[&crew[0]], Some(pause)).unwrap().is_empty());
            for process in &crew {
                process.kill().unwrap();
            }
            // Some are still about to end.
            go_on(&all);
            for process in &crew {
                process.wait().unwrap();
            }
            go_on(&all);
        }
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        leaks.check();
        assert_eq!(mappings(), mapped);
    }
}

/// Holds a lock and a message on lease until it is killed.
fn hold((all, tell): (All, Connection<bool, ()>)) {
    let _held = (all.lock.lock(), all.receiver.recv_leased().unwrap());
    tell.send(&true).unwrap();
    loop {
        std::thread::park();
    }
}

/// Median and worst of some times, in words.
fn figures(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!("median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1])
}

in_its_own_process! {
    /// Measures, and asserts nothing but that it goes on.
    fn waiters_go_on_after_the_death_of_a_holder() {
        const ROUNDS: usize = 200;
        let all = All::new();
        // Since the signal, and since the kernel has told of the end.
        let mut times: [Vec<Duration>; 4] = Default::default();
        for round in 0..ROUNDS {
            all.sender.send(&"a job".to_owned()).unwrap();
            let (told, tell) = pipe::<(), bool>().unwrap();
            let holder = Process::spawn(hold, (all.try_clone(), tell)).unwrap();
            assert!(told.recv().unwrap());
            std::thread::scope(|scope| {
                let locking = scope.spawn(|| {
                    drop(all.lock.lock().unwrap_err());
                    Instant::now()
                });
                let receiving = scope.spawn(|| {
                    all.receiver.recv_leased().unwrap().done();
                    Instant::now()
                });
                // They have been asleep for different times.
                assert!(
                    wait(&[&holder], Some(Duration::from_millis(round as u64 % 20)))
                        .unwrap()
                        .is_empty()
                );
                let signal = Instant::now();
                holder.kill().unwrap();
                wait(&[&holder], None).unwrap();
                let end = Instant::now();
                for (place, waiter) in [locking, receiving].into_iter().enumerate() {
                    let now = waiter.join().unwrap();
                    times[place * 2].push(now.duration_since(signal));
                    times[place * 2 + 1].push(now.saturating_duration_since(end));
                }
            });
        }
        let [lock, lock_end, lease, lease_end] = times.map(figures);
        eprintln!("lock: {lock} after SIGKILL; {lock_end} after the end");
        eprintln!("message on lease: {lease} after SIGKILL; {lease_end} after the end");
    }
}
