//! Handles of tasks, and the limits of workers: of their starts, their share of items
//! and the descriptors of their parent.

use std::fs::File;
use std::sync::mpsc;
use std::time::Duration;

use kinfolk::{Connection, ErrorKind, Pool, Value, pipe};
use kinfolk_testkit::{
    LONG, for_each_start_method, forever, in_its_own_process, is_gone, kill, wait_until, watchdog,
};

kinfolk::test_init!();

fn square(n: u64) -> u64 {
    n * n
}

fn odd_or_panic(n: u64) -> u64 {
    assert!(n % 2 == 1, "{n} is even");
    n
}

fn pid(_: u64) -> u32 {
    std::process::id()
}

#[test]
fn a_task_of_many_items_has_one_handle() {
    let _watchdog = watchdog("a_task_of_many_items_has_one_handle");
    let pool = Pool::builder().workers(2).build().unwrap();
    let task = pool.chunked(7).map_async(square, 0..50).unwrap();
    task.wait();
    assert!(task.ready() && !task.cancel());
    assert_eq!(task.successful(), Some(true));
    let squares: Vec<u64> = (0..50).map(square).collect();
    assert_eq!(task.get_timeout(LONG).unwrap().unwrap(), squares);
    assert_eq!(pool.map_async(square, 0..0).unwrap().get().unwrap(), []);

    let (tell, told) = mpsc::channel();
    let task = pool.map_async(square, 0..50).unwrap();
    task.on_done(move |result| tell.send(result.unwrap()).unwrap()).unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), squares);
}

#[test]
fn one_failure_among_many_items_is_that_of_the_task() {
    let _watchdog = watchdog("one_failure_among_many_items_is_that_of_the_task");
    let pool = Pool::builder().workers(2).build().unwrap();
    for bad in [1, 7, 29] {
        let items = (0..30).map(|n| 2 * n + u64::from(n != bad));
        let task = pool.chunked(10).map_async(odd_or_panic, items).unwrap();
        task.wait();
        assert_eq!(task.successful(), Some(false));
        let error = task.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.to_string().contains(&format!("{} is even", 2 * bad)), "{error}");
    }
}

#[test]
fn a_task_that_is_not_done_in_time_can_be_asked_again() {
    let _watchdog = watchdog("a_task_that_is_not_done_in_time_can_be_asked_again");
    let (ours, theirs) = pipe::<u64, ()>().unwrap();
    let initializer = |go: Connection<(), u64>| go;
    let pool = Pool::builder().workers(1).initializer(initializer, theirs);
    let pool = pool.build().unwrap();
    let hear = |go: &mut Connection<(), u64>, n: u64| n + go.recv().unwrap();
    let task = pool.stateful().map_async(hear, 0..2).unwrap();
    assert_eq!(task.successful(), None);
    let task = task.get_timeout(Duration::ZERO).unwrap_err();
    assert!(!task.ready());
    ours.send(&10).unwrap();
    ours.send(&20).unwrap();
    assert_eq!(task.get().unwrap(), [10, 21]);
}

#[test]
fn a_map_that_is_cancelled_harms_no_other() {
    let _watchdog = watchdog("a_map_that_is_cancelled_harms_no_other");
    let pool = Pool::builder().workers(3).build().unwrap();
    let squares: Vec<u64> = (0..300).map(square).collect();
    for _ in 0..5 {
        let stuck = pool.map_async(|_: u64| -> u64 { forever() }, 0..2).unwrap();
        let others = [0; 3].map(|_| pool.chunked(5).map_async(square, 0..300).unwrap());
        assert!(!stuck.ready());
        assert!(stuck.cancel());
        for other in others {
            assert_eq!(other.get().unwrap(), squares);
        }
        assert_eq!(stuck.get().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

/// Starts a process of its own, says its id, and is stuck in C code that no SIGTERM ends.
fn be_stuck(tell: &mut Connection<u32, ()>, _: u64) {
    // SAFETY: all of it is plain data, of which zeroes are valid.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes the set, which lives.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: reads the set; what is blocked harms nobody.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
    let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    tell.send(&child.id()).unwrap();
    // Its pool ends it, and with it this process: nobody waits for it.
    std::mem::forget(child);
    loop {
        // SAFETY: touches no memory.
        unsafe { libc::pause() };
    }
}

for_each_start_method! {
    fn an_item_that_is_stuck_is_ended_with_what_it_started(method) {
        let (told, tell) = pipe::<(), u32>().unwrap();
        let pool = Pool::builder().workers(2).start_method(method);
        let pool = pool.initializer(|tell: Connection<u32, ()>| tell, tell);
        let pool = pool.build().unwrap();
        let stuck = pool.stateful().apply_async(be_stuck, 1).unwrap();
        // Under `fork`, tasks go on while somebody waits.
        while !told.poll(Duration::ZERO).unwrap() {
            assert!(!stuck.wait_timeout(Duration::from_millis(1)));
        }
        let child = told.recv().unwrap();
        assert!(stuck.cancel());
        assert_eq!(stuck.get().unwrap_err().kind(), ErrorKind::Cancelled);
        wait_until("its child is gone", || is_gone(child));
        assert_eq!(pool.apply(square, 3).unwrap(), 9);
    }
}

in_its_own_process! {
    fn a_panic_comes_with_its_backtrace_where_the_environment_asks_for_it() {
        let _watchdog = watchdog("a_panic_comes_with_its_backtrace");
        // SAFETY: no other thread of this process reads the environment now.
        unsafe { std::env::set_var("RUST_BACKTRACE", "1") };
        let pool = Pool::builder().workers(1).build().unwrap();
        let text = pool.apply(odd_or_panic, 2).unwrap_err().to_string();
        assert!(text.contains("2 is even") && text.contains("odd_or_panic"), "{text}");
        assert!(text.contains("pool_tasks.rs"), "{text}");
    }
}

#[test]
fn no_worker_is_given_more_than_its_share() {
    let _watchdog = watchdog("no_worker_is_given_more_than_its_share");
    let pool = Pool::builder().workers(2).tasks_per_worker(5).build().unwrap();
    for size in [3, 64] {
        let pids = pool.chunked(size).map(pid, 0..64).unwrap();
        for one in &pids {
            assert!(pids.iter().filter(|other| *other == one).count() <= 5, "{pids:?}");
        }
    }
    assert_eq!(pool.map(square, 0..20).unwrap(), (0..20).map(square).collect::<Vec<_>>());
    // A chunk that was made before its worker had a part of its share.
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    assert_eq!(pool.map_async(square, 0..20).unwrap().get().unwrap().len(), 20);
}

#[test]
fn workers_that_do_not_begin_in_time_fail_the_tasks_with_the_reason() {
    let _watchdog = watchdog("workers_that_do_not_begin_in_time");
    let pool = Pool::builder().workers(2).start_timeout(Duration::from_millis(50));
    let pool = pool.initializer(|()| -> u8 { forever() }, ()).build().unwrap();
    let error = pool.apply(square, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("had not begun after 50ms"), "{error}");
}

#[test]
fn one_worker_that_does_not_begin_in_time_costs_nothing() {
    let _watchdog = watchdog("one_worker_that_does_not_begin_in_time_costs_nothing");
    let begun = Value::new(0_u32).unwrap();
    let initializer = |begun: Value<u32>| {
        let count = begun.lock().unwrap();
        count.set(count.get() + 1);
        let first = count.get() == 1;
        drop(count);
        if first { forever() } else { begun }
    };
    let pool = Pool::builder().workers(1).start_timeout(Duration::from_secs(5));
    let pool = pool.initializer(initializer, begun.try_clone().unwrap()).build().unwrap();
    assert_eq!(pool.map(square, 0..20).unwrap().len(), 20);
    assert!(begun.get().unwrap() >= 2);
}

in_its_own_process! {
    fn workers_that_die_while_no_descriptor_is_free_are_replaced_when_there_is() {
        let _watchdog = watchdog("workers_that_die_while_no_descriptor_is_free");
        let pool = Pool::builder().workers(2).build().unwrap();
        let squares: Vec<u64> = (0..100).map(square).collect();
        assert_eq!(pool.map(square, 0..100).unwrap(), squares);
        let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
        // SAFETY: reads one rlimit, which lives.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // One of two: the other does all. Its descriptors are free then, and taken.
        let one = pool.statistics().unwrap().workers[0].pid;
        kill(one);
        for _ in 0..3 {
            assert_eq!(pool.chunked(5).map(square, 0..100).unwrap(), squares);
            files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        }
        drop(files);
        wait_until("both are there again", || {
            pool.map(square, 0..100).unwrap() == squares
                && pool.statistics().unwrap().workers.iter().filter(|worker| worker.ready).count() == 2
        });
    }
}
