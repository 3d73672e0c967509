//! Pools: what they compute, and that no worker's death breaks them.

use std::time::Duration;

use kinfolk::{Barrier, Connection, ErrorKind, Pool, Process, StartMethod, pipe};
use kinfolk_testkit::{LONG, SHORT, die, for_each_start_method, kill, watchdog};

kinfolk::test_init!();

fn square(n: u64) -> u64 {
    n * n
}

/// A pool of two workers.
fn pool(method: StartMethod) -> Pool {
    Pool::builder().workers(2).start_method(method).build().unwrap()
}

/// A number that panics when it is dropped where it was made.
#[derive(serde::Serialize, serde::Deserialize)]
struct Grudge(u64, #[serde(skip)] bool);

impl Grudge {
    fn of(n: u64) -> Self {
        Self(n, true)
    }
}

impl Drop for Grudge {
    fn drop(&mut self) {
        assert!(!self.1, "{} is dropped", self.0);
    }
}

fn square_or_die(n: u64) -> u64 {
    if n == 5 { die() } else { n * n }
}

/// The processes of the workers that have begun.
fn workers(pool: &Pool) -> Vec<u32> {
    let workers = pool.statistics().unwrap().workers;
    workers.into_iter().map(|worker| worker.pid).collect()
}

for_each_start_method! {
    fn apply_and_maps_return_what_the_function_does(method) {
        let pool = pool(method);
        assert_eq!(pool.apply(square, 12).unwrap(), 144);
        let squares: Vec<u64> = (0..1000).map(square).collect();
        assert_eq!(pool.map(square, 0..1000).unwrap(), squares);
        assert_eq!(pool.chunked(7).map(square, 0..1000).unwrap(), squares);
        let ordered: kinfolk::Result<Vec<u64>> = pool.imap(square, 0..1000).unwrap().collect();
        assert_eq!(ordered.unwrap(), squares);
        let mut any: Vec<(u64, u64)> =
            pool.imap_unordered(square, 0..1000).unwrap().map(|(n, r)| (n, r.unwrap())).collect();
        any.sort_unstable();
        assert_eq!(any, (0..1000).map(|n| (n, n * n)).collect::<Vec<_>>());
        assert_eq!(pool.map_async(square, 0..1000).unwrap().get().unwrap(), squares);
        let tasks: Vec<_> = (0..100).map(|n| pool.apply_async(square, n).unwrap()).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.get().unwrap(), n * n);
        }
        assert_eq!(pool.statistics().unwrap().ended, 0);
        pool.close();
        pool.join().unwrap();
        assert_eq!(pool.apply(square, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    fn idle_workers_that_are_killed_cost_nothing(method) {
        let pool = pool(method);
        assert_eq!(pool.map(square, 0..20).unwrap().len(), 20);
        for pid in workers(&pool) {
            kill(pid);
        }
        let squares: Vec<u64> = (0..20).map(square).collect();
        assert_eq!(pool.map(square, 0..20).unwrap(), squares);
        for _ in 0..50 {
            kill(workers(&pool)[0]);
            assert_eq!(pool.map(square, 0..20).unwrap(), squares);
        }
        assert_eq!(pool.statistics().unwrap().deaths, 52);
    }

    fn an_item_that_kills_its_worker_costs_itself_alone(method) {
        let pool = pool(method);
        let results: Vec<_> = pool.imap(square_or_die, 0..20).unwrap().collect();
        assert_eq!(results.len(), 20);
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert_eq!(value, n * n),
                Err(error) => {
                    assert_eq!((n, error.kind()), (5, ErrorKind::Died));
                    let text = error.to_string();
                    assert!(text.contains("signal 9") && text.contains("running item 5"), "{text}");
                }
            }
        }
        assert_eq!(pool.map(square_or_die, 4..7).unwrap_err().kind(), ErrorKind::Died);
        // In a chunk with others, too.
        let chunked = pool.chunked(20);
        let results: Vec<_> = chunked.imap(square_or_die, 0..20).unwrap().collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 19);
        assert!(results[5].is_err());
    }

    fn an_item_that_is_too_slow_costs_itself_alone(method) {
        fn slow(n: u64) -> u64 {
            if n == 5 {
                loop {
                    std::thread::park();
                }
            }
            n
        }
        let pool = Pool::builder().workers(2).start_method(method).timeout(SHORT * 10);
        let pool = pool.build().unwrap();
        let results: Vec<_> = pool.imap(slow, 0..20).unwrap().collect();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert_eq!(value, n),
                Err(error) => {
                    assert_eq!((n, error.kind()), (5, ErrorKind::Timeout), "{error}");
                }
            }
        }
    }

    fn an_initializer_makes_a_state_that_tasks_change(method) {
        let pool = Pool::builder().workers(1).start_method(method);
        let pool = pool.initializer(|start: u64| start, 100).build().unwrap();
        let count = |sum: &mut u64, n: u64| {
            *sum += n;
            *sum
        };
        assert_eq!(pool.stateful().map(count, 1..4).unwrap(), [101, 103, 106]);
        assert_eq!(pool.stateful().apply(count, 4).unwrap(), 110);
    }

    fn a_finalizer_is_given_the_state(method) {
        let (told, tell) = pipe::<(), u64>().unwrap();
        let pool = Pool::builder().workers(1).start_method(method);
        let pool = pool.initializer(|tell: Connection<u64, ()>| tell, tell);
        let pool = pool.finalizer(|tell| tell.send(&7).unwrap()).build().unwrap();
        pool.close();
        pool.join().unwrap();
        assert_eq!(told.recv().unwrap(), 7);
    }

    fn panics_and_bad_values_are_the_errors_of_their_items(method) {
        fn odd(n: u32) -> u32 {
            assert!(n % 2 == 1, "{n} is even");
            n
        }
        let pool = pool(method);
        let results: Vec<_> = pool.chunked(3).imap(odd, 0..6).unwrap().collect();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(value) => assert_eq!(value % 2, 1),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Panicked);
                    let text = error.to_string();
                    assert!(text.contains(&format!("{n} is even")) && text.contains("pool.rs"), "{text}");
                }
            }
        }
        let exit = |n: i32| -> i32 { if n == 1 { std::process::exit(3) } else { n } };
        let results: Vec<_> = pool.imap(exit, 0..4).unwrap().collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
        assert!(results[1].as_ref().unwrap_err().to_string().contains('3'));
    }

    fn a_result_that_panics_when_it_is_dropped_is_the_result_of_its_item_alone(method) {
        let pool = pool(method);
        let results = pool.chunked(7).map(Grudge::of, 0..20).unwrap();
        assert!(results.iter().map(|grudge| grudge.0).eq(0..20));
    }

    fn a_small_bound_lets_all_workers_work(method) {
        let barrier = Barrier::new(2).unwrap();
        // With a limit of time no item waits behind another of its worker.
        let builder = Pool::builder().workers(2).queue_bound(1).timeout(Duration::from_secs(600));
        let builder = builder.start_method(method).initializer(|barrier: Barrier| barrier, barrier);
        let pool = builder.build().unwrap();
        let meet = |barrier: &mut Barrier, n: u64| barrier.wait().map(|_| n).unwrap();
        let met: Vec<u64> =
            pool.stateful().imap(meet, 0..8).unwrap().map(Result::unwrap).collect();
        assert!(met.into_iter().eq(0..8));
    }

    fn a_pool_in_a_worker_works(method) {
        fn inner(method: StartMethod) -> Vec<u64> {
            let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
            pool.map(square, 0..10).unwrap()
        }
        let pool = pool(method);
        let squares: Vec<u64> = (0..10).map(square).collect();
        assert_eq!(pool.apply(inner, method).unwrap(), squares);
    }

    fn the_end_of_the_parent_ends_the_workers(method) {
        fn parent((method, tell): (StartMethod, Connection<Vec<u32>, ()>)) {
            let pool = pool(method);
            pool.map(square, 0..10).unwrap();
            let _busy = (method != StartMethod::Fork).then(|| {
                pool.apply_async(|()| -> () { loop { std::thread::park() } }, ()).unwrap()
            });
            tell.send(&workers(&pool)).unwrap();
            loop {
                std::thread::park();
            }
        }
        let (told, tell) = pipe::<(), Vec<u32>>().unwrap();
        let process = Process::builder().start_method(method).spawn(parent, (method, tell)).unwrap();
        let pids = told.recv().unwrap();
        assert_eq!(pids.len(), 2);
        process.kill().unwrap();
        process.wait().unwrap();
        for pid in pids {
            kinfolk_testkit::wait_until("it is gone", || kinfolk_testkit::is_gone(pid));
        }
    }
}

#[test]
fn a_cancelled_task_ends_and_no_other_is_harmed() {
    let _watchdog = watchdog("a_cancelled_task_ends_and_no_other_is_harmed");
    let pool = pool(StartMethod::Forkserver);
    let forever = |()| -> u64 {
        loop {
            std::hint::spin_loop();
        }
    };
    let stuck = pool.apply_async(forever, ()).unwrap();
    let other = pool.apply_async(square, 3).unwrap();
    assert!(!stuck.wait_timeout(SHORT));
    assert!(stuck.cancel());
    assert_eq!(stuck.get().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(other.get().unwrap(), 9);
    assert_eq!(pool.apply(square, 4).unwrap(), 16);
}

#[test]
fn terminate_fails_what_is_under_way_and_drop_ends_a_busy_pool() {
    let _watchdog = watchdog("terminate_fails_what_is_under_way");
    let forever = |n: u64| -> u64 {
        loop {
            std::hint::black_box(n);
        }
    };
    let pool = pool(StartMethod::Forkserver);
    let tasks = pool.map_async(forever, 0..10).unwrap();
    pool.terminate();
    pool.join().unwrap();
    assert_eq!(tasks.get().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(pool);
    let pool = self::pool(StartMethod::Forkserver);
    let tasks = pool.map_async(forever, 0..10).unwrap();
    let pids = workers(&pool);
    drop(pool);
    assert!(tasks.ready());
    assert!(pids.into_iter().all(kinfolk_testkit::is_gone));
}

#[test]
fn a_callback_may_use_and_end_its_pool() {
    let _watchdog = watchdog("a_callback_may_use_and_end_its_pool");
    let pool = std::sync::Arc::new(pool(StartMethod::Forkserver));
    let (tell, told) = std::sync::mpsc::channel();
    let again = std::sync::Arc::clone(&pool);
    let task = pool.apply_async(square, 3).unwrap();
    task.on_done(move |result| {
        let more = again.apply(square, result.unwrap()).unwrap();
        again.terminate();
        tell.send(more).unwrap();
    })
    .unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), 81);
    pool.join().unwrap();
}

#[test]
fn an_endless_iterator_is_taken_as_far_as_it_is_asked_for() {
    let _watchdog = watchdog("an_endless_iterator_is_taken_as_far_as_it_is_asked_for");
    let pool = pool(StartMethod::Forkserver);
    let taken = std::cell::Cell::new(0_u64);
    let items = std::iter::repeat_with(|| {
        taken.set(taken.get() + 1);
        taken.get()
    });
    let mut results = pool.chunked(1).imap(square, items).unwrap();
    for n in 1..=1000 {
        assert_eq!(results.next().unwrap().unwrap(), n * n);
        assert!(taken.get() < n + 300, "{} taken for {n}", taken.get());
    }
}

#[test]
fn a_panic_of_the_items_is_that_of_who_asked_for_them() {
    let _watchdog = watchdog("a_panic_of_the_items_is_that_of_who_asked_for_them");
    let pool = pool(StartMethod::Forkserver);
    let items = (0..10_u64).inspect(|n| assert!(*n < 5, "no more"));
    let mapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(square, items)));
    assert!(mapped.is_err());
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
}

#[test]
fn workers_that_cannot_begin_fail_the_tasks_with_the_reason() {
    let _watchdog = watchdog("workers_that_cannot_begin_fail_the_tasks_with_the_reason");
    let pool = Pool::builder().workers(2).initializer(|()| panic!("no licence"), ());
    let pool = pool.build().unwrap();
    let error = pool.apply(square, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("no licence"), "{error}");
    assert_eq!(pool.map(square, 0..5).unwrap_err().kind(), ErrorKind::Start);
}

#[test]
fn workers_are_replaced_after_their_share() {
    let _watchdog = watchdog("workers_are_replaced_after_their_share");
    let pool = Pool::builder().workers(1).tasks_per_worker(2).build().unwrap();
    let pid = |()| std::process::id();
    let pids: Vec<u32> = (0..6).map(|_| pool.apply(pid, ()).unwrap()).collect();
    assert!(pids[0] == pids[1] && pids[2] == pids[3] && pids[4] == pids[5], "{pids:?}");
    assert!(pids[1] != pids[2] && pids[3] != pids[4], "{pids:?}");
}

#[test]
fn large_arguments_and_results_are_carried_and_too_large_ones_are_errors() {
    let _watchdog = watchdog("large_arguments_and_results_are_carried");
    let pool = Pool::builder().workers(2).largest_message(1 << 20).build().unwrap();
    let large = vec![7_u8; 600_000];
    let echo = |bytes: Vec<u8>| bytes;
    assert!(pool.apply(echo, large.clone()).unwrap() == large);
    let error = pool.apply(echo, vec![7_u8; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong, "{error}");
    let error = pool.apply(|n: usize| vec![1_u8; n], 2 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize, "{error}");
    assert!(error.to_string().contains("largest_message"), "{error}");
    assert!(pool.apply(echo, large.clone()).unwrap() == large);
}
