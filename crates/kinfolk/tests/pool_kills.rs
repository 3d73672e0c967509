//! Workers that are killed, stopped, or worse, at any moment: each costs the item that
//! it was running, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kinfolk::{ErrorKind, Pool, RawArray, StartMethod};
use kinfolk_testkit::{Numbers, die, for_each_start_method, signal, watchdog};

kinfolk::test_init!();

/// A time in which an item of these tests is done on any machine that is not stopped.
const SHORT: Duration = Duration::from_millis(500);

fn square(n: u64) -> u64 {
    n * n
}

/// Counts each run of an item where all can see it: no two run the same at a time.
fn count(runs: &mut RawArray<u32>, n: u64) -> u64 {
    let place = usize::try_from(n).unwrap();
    runs.set(place, runs.get(place).unwrap() + 1).unwrap();
    // Some are longer than others.
    for round in 0..n % 200 {
        std::hint::black_box(round);
    }
    n * n
}

/// The processes of the workers.
fn workers<S>(pool: &Pool<S>) -> Vec<u32> {
    let workers = pool.statistics().unwrap().workers;
    workers.into_iter().map(|worker| worker.pid).collect()
}

/// Runs `work` while workers of the pool are killed at moments that differ.
fn under_fire<S, T>(pool: &Pool<S>, pause: u64, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = Numbers::new(88_172_645_463_325_252);
            while !over.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_micros(numbers.below(pause)));
                let pids = workers(pool);
                if let Some(pid) = pids.get(numbers.place(pids.len().max(1))) {
                    signal(*pid, libc::SIGKILL);
                }
            }
        });
        let done = work();
        over.store(true, Ordering::Release);
        done
    })
}

/// A pool that counts the runs of so many items, and the counts.
fn counting(method: StartMethod, items: usize) -> (Pool<RawArray<u32>>, RawArray<u32>) {
    let runs = RawArray::<u32>::new(items).unwrap();
    let theirs = runs.try_clone().unwrap();
    let pool = Pool::builder().workers(2).start_method(method);
    (pool.initializer(|runs: RawArray<u32>| runs, theirs).build().unwrap(), runs)
}

#[test]
fn without_retries_each_item_is_run_once_whoever_is_killed() {
    let _watchdog = watchdog("without_retries_each_item_is_run_once_whoever_is_killed");
    for (chunk, method) in [
        (None, StartMethod::Forkserver),
        (Some(1), StartMethod::Forkserver),
        (Some(1000), StartMethod::Forkserver),
        (Some(100), StartMethod::Spawn),
    ] {
        let (pool, runs) = counting(method, 10_000);
        let stateful = match chunk {
            Some(size) => pool.stateful().chunked(size),
            None => pool.stateful(),
        };
        let results: Vec<_> =
            under_fire(&pool, 10_000, || stateful.imap(count, 0..10_000).unwrap().collect());
        assert_eq!(results.len(), 10_000);
        let runs = runs.to_vec();
        let mut failed = 0;
        for (n, (result, runs)) in (0..).zip(results.into_iter().zip(runs)) {
            assert!(runs <= 1, "item {n} was run {runs} times");
            match result {
                Ok(value) => assert_eq!((value, runs), (n * n, 1)),
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), ErrorKind::Died, "{error}");
                    let named = format!("running item {n}");
                    assert!(error.to_string().contains(&named), "{error}: {named}");
                }
            }
        }
        assert!(failed <= pool.statistics().unwrap().deaths, "{failed} failed");
    }
}

#[test]
fn with_retries_each_item_has_its_result_whoever_is_killed() {
    let _watchdog = watchdog("with_retries_each_item_has_its_result_whoever_is_killed");
    let pool = Pool::builder().workers(2).retries(1000).build().unwrap();
    let squares: Vec<u64> = (0..10_000).map(square).collect();
    for chunk in [1, 10, 1000] {
        let chunked = pool.chunked(chunk);
        let mapped = under_fire(&pool, 10_000, || chunked.map(square, 0..10_000));
        assert_eq!(mapped.unwrap(), squares);
        let mut any: Vec<_> = under_fire(&pool, 10_000, || {
            chunked
                .imap_unordered(square, 0..10_000)
                .unwrap()
                .map(|(n, r)| (n, r.unwrap()))
                .collect()
        });
        any.sort_unstable();
        assert!(any.into_iter().eq((0..10_000).map(|n| (n, n * n))));
    }
}

#[test]
fn workers_that_are_killed_before_they_begin_fail_no_task() {
    let _watchdog = watchdog("workers_that_are_killed_before_they_begin_fail_no_task");
    let slow = |(): ()| std::thread::sleep(Duration::from_millis(20));
    let pool = Pool::builder().workers(2).initializer(slow, ()).build().unwrap();
    let task = pool.apply_async(square, 3).unwrap();
    while pool.statistics().unwrap().deaths < 20 && !task.ready() {
        workers(&pool).into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(task.get().is_ok_and(|nine| nine == 9));
}

#[test]
fn what_was_done_before_a_death_is_there() {
    let _watchdog = watchdog("what_was_done_before_a_death_is_there");
    fn die_at_the_end(runs: &mut RawArray<u32>, n: u64) -> u64 {
        count(runs, n);
        if n % 100 == 99 { die() } else { n }
    }
    let (pool, runs) = counting(StartMethod::Forkserver, 1000);
    let results: Vec<_> =
        pool.stateful().chunked(100).imap(die_at_the_end, 0..1000).unwrap().collect();
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.is_err(), n % 100 == 99, "{n}: {result:?}");
    }
    assert!(runs.to_vec().into_iter().all(|runs| runs == 1));
}

for_each_start_method! {
    fn a_stopped_worker_costs_the_item_that_takes_too_long_for_it(method) {
        let pool = Pool::builder().workers(2).start_method(method).timeout(SHORT).build().unwrap();
        let stop_at_five = |n: u64| {
            if n == 5 {
                signal(std::process::id(), libc::SIGSTOP);
            }
            n * n
        };
        let results: Vec<_> = pool.imap(stop_at_five, 0..20).unwrap().collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 19);
        let error = results[5].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // One that had not begun its item costs none.
        signal(workers(&pool)[0], libc::SIGSTOP);
        assert_eq!(pool.map(square, 0..20).unwrap().len(), 20);
    }

    fn an_item_that_always_kills_is_tried_as_often_as_allowed(method) {
        let pool = Pool::builder().workers(2).start_method(method).retries(3).build().unwrap();
        let results: Vec<_> =
            pool.imap(|n: u64| if n == 5 { die() } else { n }, 0..10).unwrap().collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 9);
        assert_eq!(results[5].as_ref().unwrap_err().kind(), ErrorKind::Died);
        assert_eq!(pool.statistics().unwrap().deaths, 4);
    }

    fn a_worker_that_closes_all_its_descriptors_costs_its_item_at_most(method) {
        let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
        let close_all = |n: u64| {
            if n == 5 {
                // SAFETY: what has the descriptors is not used after their end but by
                // the library, which is to bear it.
                unsafe { libc::close_range(0, u32::MAX, 0) };
            }
            n
        };
        let results: Vec<_> = pool.imap(close_all, 0..20).unwrap().collect();
        assert!(results.iter().filter(|result| result.is_ok()).count() >= 19);
        assert_eq!(pool.map(square, 0..20).unwrap().len(), 20);
    }
}

#[test]
fn an_item_beyond_the_limit_of_memory_is_a_named_death() {
    let _watchdog = watchdog("an_item_beyond_the_limit_of_memory_is_a_named_death");
    let pool = Pool::builder().workers(1).memory_limit(256 << 20).build().unwrap();
    let fill = |size: usize| std::hint::black_box(vec![1_u8; size]).len();
    let error = pool.apply(fill, 1 << 30).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Died);
    assert!(error.to_string().contains("limit of memory"), "{error}");
    assert_eq!(pool.apply(fill, 1 << 20).unwrap(), 1 << 20);
}

#[test]
fn many_workers_and_many_tasks() {
    let _watchdog = watchdog("many_workers_and_many_tasks");
    let pool = Pool::builder().workers(64).build().unwrap();
    let tasks: Vec<_> = (0..100_000).map(|n| pool.apply_async(square, n).unwrap()).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.get().unwrap(), n * n);
    }
    assert_eq!(pool.statistics().unwrap().workers.len(), 64);
}

#[test]
fn values_that_cannot_be_carried_are_errors_of_their_items() {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    struct Odd(u64);
    impl Serialize for Odd {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 % 2 == 1 {
                self.0.serialize(serializer)
            } else {
                Err(serde::ser::Error::custom("even"))
            }
        }
    }
    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let n = u64::deserialize(deserializer)?;
            if n < 100 { Ok(Self(n)) } else { Err(serde::de::Error::custom("too large")) }
        }
    }
    let _watchdog = watchdog("values_that_cannot_be_carried_are_errors_of_their_items");
    let pool = Pool::builder().workers(2).build().unwrap();
    // Arguments, in the middle of a map.
    let results: Vec<_> = pool.imap(|odd: Odd| odd.0, (0..20).map(Odd)).unwrap().collect();
    for (n, result) in (0..).zip(&results) {
        assert_eq!(result.as_ref().ok(), (n % 2 == 1).then_some(&n));
    }
    // Results, there and here.
    let results: Vec<_> = pool.imap(Odd, 90..110_u64).unwrap().collect();
    for (n, result) in (90..).zip(results) {
        let kind = result.map(|odd| assert_eq!(odd.0, n)).map_err(|error| error.kind());
        let expected = if n % 2 == 0 {
            Err(ErrorKind::Serialize)
        } else if n < 100 {
            Ok(())
        } else {
            Err(ErrorKind::Deserialize)
        };
        assert_eq!(kind, expected, "{n}");
    }
}
