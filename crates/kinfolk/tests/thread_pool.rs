//! Pools of threads: as pools of processes, as far as threads can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use kinfolk::{ErrorKind, ThreadPool};
use kinfolk_testkit::{LONG, in_its_own_process, wait_until, watchdog};

kinfolk::test_init!();

fn square(n: u64) -> u64 {
    n * n
}

/// A pool of so many threads.
fn pool_of(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(workers).build().unwrap()
}

/// A function that says it has begun, and waits until it may go on.
fn gate() -> (impl Fn(u64) -> u64 + Send + Sync, mpsc::Receiver<u64>, mpsc::Sender<()>) {
    let (begin, begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = std::sync::Mutex::new(may_go);
    let function = move |n| {
        begin.send(n).unwrap();
        // Without anybody to say so, it may go on, too.
        let _ = may_go.lock().unwrap().recv();
        n
    };
    (function, begun, go)
}

#[test]
fn apply_and_maps_return_what_the_function_does() {
    let _watchdog = watchdog("apply_and_maps_return_what_the_function_does");
    let pool = pool_of(2);
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
    assert!(pool.map(square, []).unwrap().is_empty());
    pool.close();
    pool.join().unwrap();
    assert_eq!(pool.apply(square, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let statistics = pool.statistics().unwrap();
    assert_eq!((statistics.ended, statistics.workers.len()), (2, 0));
    assert_eq!(statistics.finished, 1 + 5 * 1000 + 100);
}

#[test]
fn closures_may_capture_what_no_other_process_could_have() {
    let _watchdog = watchdog("closures_may_capture");
    let sum = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sum);
    let pool = pool_of(3);
    let add = move |n| seen.fetch_add(n, Ordering::Relaxed);
    assert_eq!(pool.map(add, 0..100).unwrap().len(), 100);
    assert_eq!(sum.load(Ordering::Relaxed), 4950);
}

#[test]
fn a_panic_is_the_error_of_its_item() {
    let _watchdog = watchdog("a_panic_is_the_error_of_its_item");
    let pool = ThreadPool::builder().workers(2).name("Crew").build().unwrap();
    let odd = |n: u64| if n == 5 { panic!("no {n}") } else { n };
    let results: Vec<_> = pool.chunked(4).imap(odd, 0..20).unwrap().collect();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert_eq!(value, n),
            Err(error) => {
                assert_eq!((n, error.kind()), (5, ErrorKind::Panicked));
                let text = error.to_string();
                assert!(text.contains("no 5") && text.contains("item 5"), "{text}");
                assert!(text.contains("`Crew-"), "{text}");
            }
        }
    }
    assert_eq!(pool.map(odd, 0..20).unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
}

#[test]
fn each_thread_has_a_state_and_ends_with_it() {
    let _watchdog = watchdog("each_thread_has_a_state_and_ends_with_it");
    let (tell, told) = mpsc::channel();
    let pool = ThreadPool::builder().workers(2).initializer(|start: u64| start, 100);
    let pool = pool.finalizer(move |state| tell.send(state).unwrap()).build().unwrap();
    let count = |state: &mut u64, n: u64| {
        *state += n;
        *state
    };
    assert_eq!(pool.stateful().map(count, 1..=10).unwrap().len(), 10);
    pool.close();
    pool.join().unwrap();
    assert_eq!(told.iter().take(2).sum::<u64>(), 200 + 55);
}

#[test]
fn an_initializer_that_panics_fails_the_tasks_with_the_reason() {
    let _watchdog = watchdog("an_initializer_that_panics_fails_the_tasks");
    let pool = ThreadPool::builder().workers(2).initializer(|()| panic!("no licence"), ());
    let pool: ThreadPool<()> = pool.build().unwrap();
    let error = pool.apply(square, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("no licence"), "{error}");
    assert_eq!(pool.map(square, 0..5).unwrap_err().kind(), ErrorKind::Start);
    pool.close();
    pool.join().unwrap();
}

#[test]
fn an_endless_iterator_is_taken_as_far_as_it_is_asked_for() {
    let _watchdog = watchdog("an_endless_iterator_is_taken_as_far_as_it_is_asked_for");
    let pool = pool_of(2);
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let items = (0..).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let first: Vec<u64> =
        pool.chunked(3).imap(square, items).unwrap().take(30).map(Result::unwrap).collect();
    assert_eq!(first, (0..30).map(square).collect::<Vec<_>>());
    assert!(taken.load(Ordering::Relaxed) <= 30 + 3 * 2 * 5);
}

#[test]
fn a_panic_of_the_items_is_that_of_who_asked_for_them() {
    let _watchdog = watchdog("a_panic_of_the_items_is_that_of_who_asked_for_them");
    let pool = pool_of(2);
    let items = (0..10).inspect(|n| assert!(*n < 5, "no more"));
    let mut results = pool.imap(square, items).unwrap();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        results.by_ref().for_each(drop);
    }));
    assert!(asked.is_err());
    assert!(results.all(|result| result.is_ok()), "what was given out comes");
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
}

#[test]
fn what_is_cancelled_before_it_has_begun_never_does() {
    let _watchdog = watchdog("what_is_cancelled_before_it_has_begun_never_does");
    let pool = pool_of(1);
    let (wait, begun, go) = gate();
    let first = pool.apply_async(wait, 1).unwrap();
    assert_eq!(begun.recv().unwrap(), 1);
    let ran = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&ran);
    let second = pool.map_async(move |n| seen.fetch_add(n, Ordering::Relaxed), 1..10).unwrap();
    assert!(!second.ready() && second.successful().is_none());
    assert!(second.cancel() && !second.cancel());
    assert_eq!(second.successful(), Some(false));
    assert_eq!(second.get().unwrap_err().kind(), ErrorKind::Cancelled);
    // One that runs goes on, and nobody waits for it.
    assert!(first.cancel());
    assert_eq!(first.get().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(go);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[test]
fn terminate_fails_what_has_not_begun_and_wakes_who_waits() {
    let _watchdog = watchdog("terminate_fails_what_has_not_begun_and_wakes_who_waits");
    let pool = Arc::new(ThreadPool::builder().workers(1).queue_bound(1).build().unwrap());
    let (wait, begun, go) = gate();
    let first = pool.apply_async(wait, 1).unwrap();
    assert_eq!(begun.recv().unwrap(), 1);
    let second = pool.apply_async(square, 2).unwrap();
    // No room for a third: who wants it waits, until the pool ends.
    let again = Arc::clone(&pool);
    let third = std::thread::spawn(move || again.apply_async(square, 3).map(drop));
    pool.terminate();
    assert_eq!(second.get().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(third.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(!first.ready());
    drop(go);
    assert_eq!(first.get().unwrap(), 1, "what had begun is done");
    pool.join().unwrap();
}

#[test]
fn a_small_bound_lets_all_threads_work() {
    let _watchdog = watchdog("a_small_bound_lets_all_threads_work");
    let pool = ThreadPool::builder().workers(2).queue_bound(1).build().unwrap();
    let both = Barrier::new(2);
    let meet = move |n: u64| (both.wait(), n).1;
    let met: Vec<u64> = pool.chunked(1).imap(meet, 0..8).unwrap().map(Result::unwrap).collect();
    assert!(met.into_iter().eq(0..8));
}

/// What panics when it is dropped.
struct Grudge;

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("it is dropped");
    }
}

#[test]
fn what_panics_when_it_is_dropped_costs_no_thread() {
    let _watchdog = watchdog("what_panics_when_it_is_dropped_costs_no_thread");
    let pool = ThreadPool::builder().workers(1).initializer(|()| Grudge, ()).build().unwrap();
    let grudge = Grudge;
    let holds = move |n: u64| (&grudge, n).1;
    assert_eq!(pool.apply(holds, 1).unwrap(), 1);
    let payload = |_: u64| -> u64 { std::panic::panic_any(Grudge) };
    assert_eq!(pool.apply(payload, 2).unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    pool.close();
    pool.join().unwrap();
    assert_eq!(pool.statistics().unwrap().finished, 3);
}

#[test]
fn a_callback_may_use_and_end_its_pool() {
    let _watchdog = watchdog("a_callback_may_use_and_end_its_pool");
    let pool = Arc::new(pool_of(2));
    let (tell, told) = mpsc::channel();
    let again = Arc::clone(&pool);
    let both = Arc::new(Barrier::new(2));
    let here = Arc::clone(&both);
    let late = move |n| {
        here.wait();
        square(n)
    };
    let task = pool.apply_async(late, 3).unwrap();
    task.on_done(move |result| {
        let more = again.apply(square, result.unwrap()).unwrap();
        assert_eq!(again.join().unwrap_err().kind(), ErrorKind::InvalidInput);
        again.terminate();
        let itself = again.join().unwrap_err();
        tell.send((more, itself.to_string())).unwrap();
    })
    .unwrap();
    both.wait();
    let (more, itself) = told.recv_timeout(LONG).unwrap();
    assert_eq!(more, 81);
    assert!(itself.contains("its own end"), "{itself}");
    pool.join().unwrap();
    // Of a task that is done, at once.
    let pool = pool_of(1);
    let task = pool.map_async(square, 0..3).unwrap();
    task.wait();
    let (tell, told) = mpsc::channel();
    task.on_done(move |result| tell.send(result.unwrap()).unwrap()).unwrap();
    assert_eq!(told.try_recv().unwrap(), [0, 1, 4]);
}

#[test]
fn a_task_that_is_not_done_in_time_can_be_asked_again() {
    let _watchdog = watchdog("a_task_that_is_not_done_in_time_can_be_asked_again");
    let pool = pool_of(1);
    let (wait, begun, go) = gate();
    let task = pool.apply_async(wait, 7).unwrap();
    begun.recv().unwrap();
    let statistics = pool.statistics().unwrap();
    assert_eq!((statistics.workers[0].items, statistics.workers[0].pending), (1, 1));
    let task = task.get_timeout(Duration::from_millis(1)).unwrap_err();
    go.send(()).unwrap();
    assert_eq!(task.get_timeout(LONG).unwrap().unwrap(), 7);
}

#[test]
fn progress_rises_to_the_end() {
    let _watchdog = watchdog("progress_rises_to_the_end");
    let pool = pool_of(2);
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let report = move |done, total| tell.lock().unwrap().send((done, total)).unwrap();
    let tasks = pool.progress(report);
    assert_eq!(tasks.map(square, 0..500).unwrap().len(), 500);
    let first: Vec<_> = told.try_iter().collect();
    assert!(first.is_sorted() && first.last() == Some(&(500, Some(500))), "{first:?}");
    assert_eq!(tasks.map_async(square, 0..500).unwrap().get().unwrap().len(), 500);
    let second: Vec<_> = told.try_iter().collect();
    assert!(second.is_sorted() && second.last() == Some(&(500, Some(500))), "{second:?}");
}

#[test]
fn drop_waits_for_nobody() {
    let _watchdog = watchdog("drop_waits_for_nobody");
    let (wait, begun, go) = gate();
    let pool = pool_of(1);
    let (first, second) =
        (pool.apply_async(wait, 1).unwrap(), pool.apply_async(square, 2).unwrap());
    begun.recv().unwrap();
    drop(pool);
    assert_eq!(second.get().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(go);
    assert_eq!(first.get().unwrap(), 1);
}

#[test]
fn many_threads_use_one_pool_while_it_is_terminated() {
    let _watchdog = watchdog("many_threads_use_one_pool_while_it_is_terminated");
    for _ in 0..20 {
        let pool = Arc::new(pool_of(3));
        let users: Vec<_> = (0..4)
            .map(|_| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || {
                    while pool.map(square, 0..50).is_ok() {}
                    pool.apply(square, 1).unwrap_err().kind()
                })
            })
            .collect();
        wait_until("something is done", || pool.statistics().unwrap().finished > 0);
        pool.terminate();
        pool.join().unwrap();
        for user in users {
            assert_eq!(user.join().unwrap(), ErrorKind::Cancelled);
        }
    }
}

in_its_own_process! {
    fn the_copy_of_a_pool_in_a_fork_of_its_process_is_inert() {
        let _watchdog = watchdog("the_copy_of_a_pool_in_a_fork_of_its_process_is_inert");
        let pool = pool_of(1);
        let (wait, begun, go) = gate();
        let task = pool.apply_async(wait, 1).unwrap();
        begun.recv().unwrap();
        // SAFETY: the child uses what it has of this thread, and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let refused = pool.apply(square, 1).is_err_and(|e| e.kind() == ErrorKind::NotOwner);
            task.wait();
            let none = task.get().is_err_and(|e| e.kind() == ErrorKind::NotOwner);
            drop(pool);
            // SAFETY: ends this process.
            unsafe { libc::_exit(i32::from(!(refused && none))) };
        }
        let mut status = 0;
        // SAFETY: the child is this process's own, and `status` lives.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(go);
        assert_eq!(task.get().unwrap(), 1);
    }
}
