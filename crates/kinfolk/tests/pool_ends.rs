//! Pools that end, or are waited for, at any moment: nothing hangs, nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kinfolk::{Connection, ErrorKind, Pool, Process, StartMethod, pipe};
use kinfolk_testkit::{
    LONG, Leaks, for_each_start_method, forever, in_its_own_process, is_gone, signal, wait_until,
    watchdog,
};

kinfolk::test_init!();

fn square(n: u64) -> u64 {
    n * n
}

fn stay(_: u64) -> u64 {
    forever()
}

/// Says that it has begun, and goes on for ever.
fn begin_and_stay(begun: &mut Connection<u64, ()>, n: u64) -> u64 {
    begun.send(&n).unwrap();
    forever()
}

/// A pool of so many workers.
fn pool_of(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// A pool of one worker, and the connection on which its tasks can say something.
fn pool_that_tells() -> (Pool<Connection<u64, ()>>, Connection<(), u64>) {
    let (told, tell) = pipe().unwrap();
    let initializer = |tell: Connection<u64, ()>| tell;
    let pool = Pool::builder().workers(1).initializer(initializer, tell);
    (pool.build().unwrap(), told)
}

/// The processes of the workers.
fn workers<S>(pool: &Pool<S>) -> Vec<u32> {
    let workers = pool.statistics().unwrap().workers;
    workers.into_iter().map(|worker| worker.pid).collect()
}

/// Waits until `thread` of this process sleeps in the kernel, as its task's end does.
fn wait_until_it_sleeps(thread: i32) {
    let stat = format!("/proc/self/task/{thread}/stat");
    wait_until("the thread sleeps", || {
        let line = std::fs::read_to_string(&stat).unwrap_or_default();
        line.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
    });
}

/// The id of this thread.
fn thread_id() -> i32 {
    // SAFETY: touches no memory.
    unsafe { libc::gettid() }
}

/// A parent with a pool, which says whose its workers are and goes on for ever.
fn parent((method, tell): (StartMethod, Connection<u32, ()>)) {
    // A worker says its number itself: its parent may not live to know it.
    let begin = |tell: Connection<u32, ()>| tell.send(&std::process::id()).unwrap();
    let pool = Pool::builder().workers(3).start_method(method);
    let pool = pool.initializer(begin, tell).build().unwrap();
    let die_now_and_then = |n: u64| {
        if n % 100 == 99 {
            // SAFETY: touches no memory; this process ends here.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        n
    };
    pool.imap(die_now_and_then, 0..).unwrap().for_each(drop);
}

#[test]
fn who_waits_for_a_task_that_another_thread_cancels_is_woken() {
    let _watchdog = watchdog("who_waits_for_a_task_that_another_thread_cancels_is_woken");
    let (pool, told) = pool_that_tells();
    let stuck = pool.stateful().apply_async(begin_and_stay, 1).unwrap();
    assert_eq!(told.recv().unwrap(), 1);
    let queued = pool.apply_async(square, 2).unwrap();
    let (tell_id, id) = mpsc::channel();
    std::thread::scope(|scope| {
        let queued = &queued;
        let waiting = scope.spawn(move || {
            tell_id.send(thread_id()).unwrap();
            queued.wait();
        });
        wait_until_it_sleeps(id.recv().unwrap());
        assert!(queued.cancel());
        waiting.join().unwrap();
    });
    assert_eq!(queued.get().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(!stuck.ready());
}

#[test]
fn who_waits_for_room_is_woken_by_the_end_of_the_pool() {
    let _watchdog = watchdog("who_waits_for_room_is_woken_by_the_end_of_the_pool");
    for end in [Pool::close, Pool::terminate] {
        let pool = Pool::builder().workers(1).queue_bound(1).build().unwrap();
        let _running = pool.apply_async(stay, 1).unwrap();
        let _queued = pool.apply_async(stay, 2).unwrap();
        let (tell_id, id) = mpsc::channel();
        std::thread::scope(|scope| {
            let pool = &pool;
            let waiting = scope.spawn(move || {
                tell_id.send(thread_id()).unwrap();
                pool.apply_async(square, 3).map(drop)
            });
            wait_until_it_sleeps(id.recv().unwrap());
            end(pool);
            assert!(waiting.join().unwrap().is_err());
        });
    }
}

#[test]
fn many_threads_use_one_pool_while_it_is_terminated() {
    let _watchdog = watchdog("many_threads_use_one_pool_while_it_is_terminated");
    for _ in 0..20 {
        let pool = pool_of(2);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0.. {
                        match pool.apply(square, n) {
                            Ok(value) => assert_eq!(value, n * n),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
                                return;
                            }
                        }
                    }
                });
            }
            for n in 0..100 {
                let _ = pool.apply(square, n);
            }
            pool.terminate();
        });
    }
}

#[test]
fn a_callback_is_called_while_another_task_is_waited_for() {
    let _watchdog = watchdog("a_callback_is_called_while_another_task_is_waited_for");
    let pool = pool_of(2);
    let waited_for = Arc::new(pool.apply_async(stay, 1).unwrap());
    let (tell_id, id) = mpsc::channel();
    let waiter = std::thread::spawn({
        let waited_for = Arc::clone(&waited_for);
        move || {
            tell_id.send(thread_id()).unwrap();
            waited_for.wait();
        }
    });
    wait_until_it_sleeps(id.recv().unwrap());
    pool.apply_async(square, 3)
        .unwrap()
        .on_done(move |result| {
            assert_eq!(result.unwrap(), 9);
            waited_for.cancel();
        })
        .unwrap();
    waiter.join().unwrap();
}

#[test]
fn a_callback_may_drop_the_last_handle_of_its_pool() {
    let _watchdog = watchdog("a_callback_may_drop_the_last_handle_of_its_pool");
    let pool = pool_of(2);
    let pids = workers(&pool);
    let busy = pool.apply_async(stay, 1).unwrap();
    let task = pool.apply_async(square, 3).unwrap();
    task.on_done(move |_| drop(pool)).unwrap();
    assert_eq!(busy.get().unwrap_err().kind(), ErrorKind::Cancelled);
    for pid in pids {
        wait_until("the worker is gone", || is_gone(pid));
    }
}

in_its_own_process! {
    fn callbacks_are_called_after_the_end_of_the_pool_too() {
        let has_thread = || {
            let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let names = threads.map(|thread| std::fs::read(thread.path().join("comm")));
            names.flatten().any(|name| name.starts_with(b"kinfolk-pool"))
        };
        let pool = pool_of(1);
        let tasks: Vec<_> = (0..3).map(|n| pool.apply_async(stay, n).unwrap()).collect();
        pool.terminate();
        pool.join().unwrap();
        drop(pool);
        for task in tasks {
            wait_until("the pool's thread is gone", || !has_thread());
            let (tell, told) = mpsc::channel();
            task.on_done(move |result| tell.send(result.unwrap_err().kind()).unwrap()).unwrap();
            assert_eq!(told.recv_timeout(LONG).unwrap(), ErrorKind::Cancelled);
        }
    }
}

#[test]
fn a_callback_that_panics_costs_itself_alone() {
    let _watchdog = watchdog("a_callback_that_panics_costs_itself_alone");
    let pool = pool_of(1);
    pool.apply_async(square, 1).unwrap().on_done(|_| panic!("a callback")).unwrap();
    let (tell, told) = mpsc::channel();
    pool.apply_async(square, 2).unwrap().on_done(move |r| tell.send(r.unwrap()).unwrap()).unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), 4);
}

#[test]
fn large_items_one_after_the_other_find_room() {
    let _watchdog = watchdog("large_items_one_after_the_other_find_room");
    let pool = Pool::builder().workers(1).largest_message(1 << 20).build().unwrap();
    let large = "7".repeat(700_000);
    let length = |text: String| text.len();
    for _ in 0..300 {
        assert_eq!(pool.apply(length, large.clone()).unwrap(), large.len());
    }
    let lengths = pool.map(length, std::iter::repeat_n(large.clone(), 100)).unwrap();
    assert!(lengths.into_iter().all(|length| length == large.len()));
}

#[test]
fn an_iterator_of_a_terminated_pool_ends() {
    let _watchdog = watchdog("an_iterator_of_a_terminated_pool_ends");
    let pool = pool_of(2);
    let mut results = pool.imap(square, 0..).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    let mut any = pool.imap_unordered(square, 0..).unwrap();
    assert!(any.next().unwrap().1.is_ok());
    pool.terminate();
    let rest: Vec<_> = results.collect();
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(pool);
    assert!(any.filter(|(_, result)| result.is_err()).count() > 0);
}

#[test]
fn handles_outlive_their_pool() {
    let _watchdog = watchdog("handles_outlive_their_pool");
    let pool = pool_of(2);
    let done = pool.apply_async(square, 3).unwrap();
    done.wait();
    let (running, map) = (pool.apply_async(stay, 1).unwrap(), pool.map_async(stay, 0..9).unwrap());
    let mut results = pool.imap(stay, 0..9).unwrap();
    drop(pool);
    assert_eq!(done.get().unwrap(), 9);
    assert!(running.ready() && !running.cancel());
    assert_eq!(running.get().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(map.get().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(results.next().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(results.next().is_none());
}

#[test]
fn terminate_from_the_thread_that_got_a_signal_ends_a_map_that_blocks() {
    let _watchdog = watchdog("terminate_from_the_thread_that_got_a_signal");
    static SIGNALLED: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: libc::c_int) {
        SIGNALLED.store(true, Ordering::Release);
    }
    // SAFETY: the handler stores to an atomic alone.
    unsafe { libc::signal(libc::SIGUSR1, note as extern "C" fn(libc::c_int) as usize) };
    let pool = pool_of(2);
    let pool = &pool;
    std::thread::scope(|scope| {
        let (tell_id, id) = mpsc::channel();
        let mapping = scope.spawn(move || {
            tell_id.send(thread_id()).unwrap();
            pool.map(stay, 0..)
        });
        let mapper = id.recv().unwrap();
        wait_until_it_sleeps(mapper);
        // It wakes who waits, too, who goes on to wait.
        // SAFETY: touches no memory; the thread waits to be joined.
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), mapper, libc::SIGUSR1) };
        wait_until("the signal is there", || SIGNALLED.load(Ordering::Acquire));
        pool.terminate();
        assert_eq!(mapping.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}

#[test]
fn the_copy_of_a_pool_in_a_fork_of_its_process_is_inert() {
    let _watchdog = watchdog("the_copy_of_a_pool_in_a_fork_of_its_process_is_inert");
    let pool = pool_of(2);
    let pids = workers(&pool);
    let task = pool.apply_async(stay, 1).unwrap();
    let mut results = pool.imap(square, 0..1000).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    // SAFETY: the child calls what the library says works in a fork, and leaves without
    // any exit handler; it takes no lock that another thread may hold but malloc's,
    // which the C library makes usable in a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = |error: kinfolk::Error| error.kind() == ErrorKind::NotOwner;
        let mut fine = pool.apply(square, 2).is_err_and(refused);
        fine &= pool.statistics().is_err_and(refused) && pool.join().is_err_and(refused);
        fine &= !task.cancel();
        pool.terminate();
        // It ends, with an error.
        fine &= results.any(|result| result.is_err()) && results.all(|result| result.is_err());
        drop(results);
        drop(task);
        drop(pool);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: writes to a number that lives.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    let rest: kinfolk::Result<Vec<u64>> = results.collect();
    assert_eq!(rest.unwrap().len(), 999);
    assert_eq!(workers(&pool), pids);
    assert!(task.cancel());
}

for_each_start_method! {
    fn a_task_that_is_asked_for_again_and_again_comes_to_its_end(method) {
        let pool = Pool::builder().workers(1).start_method(method).build().unwrap();
        let task = pool.apply_async(square, 3).unwrap();
        wait_until("it is done", || task.ready());
        assert_eq!(task.successful(), Some(true));
        assert_eq!(task.get().unwrap(), 9);
    }

    fn an_iterator_that_is_dropped_early_takes_no_more_items(method) {
        let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
        let mut results = pool.imap(square, 0..).unwrap();
        for n in 0..100 {
            assert_eq!(results.next().unwrap().unwrap(), n * n);
        }
        drop(results);
        let mut any = pool.imap_unordered(square, 0..).unwrap();
        assert!(any.next().unwrap().1.is_ok());
        drop(any);
        assert_eq!(pool.apply(square, 5).unwrap(), 25);
        pool.close();
        pool.join().unwrap();
        assert_eq!(pool.statistics().unwrap().queued, 0);
    }

    fn drop_ends_a_busy_pool_at_any_moment(method) {
        for n in 0..20_u32 {
            let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
            let pids = workers(&pool);
            let tasks = pool.map_async(square, 0..u64::from(n) * 50).unwrap();
            let stuck = pool.map_async(stay, 0..2).unwrap();
            if n % 2 == 0 {
                let _ = tasks.wait_timeout(Duration::from_micros(u64::from(n) * 100));
            }
            drop(pool);
            assert!(stuck.get().is_err());
            drop(tasks);
            assert!(pids.into_iter().all(is_gone));
        }
    }
}

for_each_start_method! {
    fn a_parent_that_is_killed_at_any_moment_leaves_no_worker(method) {
        for n in 0..200_u64 {
            let (told, tell) = pipe::<(), u32>().unwrap();
            let builder = Process::builder().start_method(StartMethod::Forkserver);
            let builder = if method == StartMethod::Fork { builder.start_method(method) } else { builder };
            let process = builder.spawn(parent, (method, tell)).unwrap();
            // From the start of the first worker to the middle of the work.
            std::thread::sleep(Duration::from_micros(n * n / 2 % 20_000));
            process.kill().unwrap();
            process.wait().unwrap();
            // Until the last one that holds it is gone.
            let mut pids = Vec::new();
            while let Ok(pid) = told.recv() {
                pids.push(pid);
            }
            for pid in pids {
                wait_until("the worker is gone", || is_gone(pid));
            }
        }
    }
}

#[test]
fn a_pool_that_is_dropped_at_once_has_no_worker_left() {
    let _watchdog = watchdog("a_pool_that_is_dropped_at_once_has_no_worker_left");
    for _ in 0..20 {
        let pool = pool_of(4);
        let pids = workers(&pool);
        drop(pool);
        assert!(pids.into_iter().all(is_gone));
    }
}

in_its_own_process! {
    fn nothing_of_a_pool_is_left_behind() {
        // A forkserver would have a child ahead, another one after each start.
        let pool_of_three =
            || Pool::builder().workers(3).start_method(StartMethod::Spawn).build().unwrap();
        let before = Leaks::snapshot();
        for _ in 0..5 {
            let pool = pool_of_three();
            pool.map(square, 0..1000).unwrap();
            signal(workers(&pool)[0], libc::SIGKILL);
            pool.map(square, 0..1000).unwrap();
            let stuck = pool.apply_async(stay, 1).unwrap();
            drop(pool);
            drop(stuck);
        }
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        before.check();
    }

    fn a_pool_ends_when_its_process_may_not_send_signals_any_more() {
        // SAFETY: touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: only root has privileges to drop");
            return;
        }
        let pool = pool_of(2);
        assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4]);
        let pids = workers(&pool);
        let _stuck = pool.apply_async(stay, 1).unwrap();
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setuid(65_534) }, 0);
        drop(pool);
        assert!(pids.into_iter().all(is_gone));
    }

    fn ctrl_c_is_left_to_the_parent() {
        extern "C" fn deaf(_: libc::c_int) {}
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGINT, deaf as extern "C" fn(libc::c_int) as usize) };
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
        let pool = pool_of(4);
        pool.map(square, 0..100).unwrap();
        let pids = workers(&pool);
        let slow = |n: u64| {
            std::thread::sleep(Duration::from_millis(1));
            n
        };
        let tasks = pool.map_async(slow, 0..200).unwrap();
        for _ in 0..20 {
            signal(0, libc::SIGINT);
            let _ = tasks.wait_timeout(Duration::from_millis(2));
        }
        assert_eq!(tasks.get().unwrap().len(), 200);
        assert_eq!(workers(&pool), pids);
        assert_eq!(pool.statistics().unwrap().deaths, 0);
    }
}
