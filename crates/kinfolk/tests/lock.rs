//! Locks: exclusion, and what a dead holder leaves.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use kinfolk::{
    Abandoned, Connection, Context, ErrorKind, Handle, Lock, LockGuard, Process, StartMethod, pipe,
    wait,
};
use kinfolk_testkit::{SHORT, for_each_start_method, watchdog};

kinfolk::test_init!();

/// Adds to a number in a file, which only works undisturbed.
fn count((lock, file, times): (Lock, Handle<File>, u64)) {
    for _ in 0..times {
        let _guard = lock.lock().expect("nobody is killed here");
        add_one(&file);
    }
}

fn add_one(file: &File) {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let next = u64::from_le_bytes(bytes) + 1;
    file.write_all_at(&next.to_le_bytes(), 0).unwrap();
}

fn number_file(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("kinfolk-{name}-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all_at(&[0; 8], 0).unwrap();
    file
}

/// Holds the lock until it is killed.
fn hold((lock, told): (Lock, Connection<bool, ()>)) {
    let _guard = lock.lock().unwrap_or_else(Abandoned::into_inner);
    told.send(&true).unwrap();
    loop {
        std::thread::park();
    }
}

fn start_holder(method: StartMethod, lock: &Lock) -> Process<()> {
    let (told, tell) = pipe().unwrap();
    let holder = Context::new(method).spawn(hold, (lock.try_clone().unwrap(), tell)).unwrap();
    let told: Connection<(), bool> = told;
    assert!(told.recv().unwrap());
    holder
}

for_each_start_method! {
    fn one_process_at_a_time_holds_the_lock(method) {
        let lock = Lock::new().unwrap();
        let file = number_file("count");
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let file = Handle::from(file.try_clone().unwrap());
                Context::new(method).spawn(count, (lock.try_clone().unwrap(), file, 2_000)).unwrap()
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), 8_000);
        assert!(!lock.is_locked());
    }
}

for_each_start_method! {
    fn who_gets_the_lock_of_a_killed_holder_is_told_its_pid_and_name(method) {
        let lock = Lock::new().unwrap();
        let holder = start_holder(method, &lock);
        assert!(lock.try_lock().unwrap().is_none());
        let (pid, name) = (holder.pid(), holder.name().to_owned());
        holder.kill().unwrap();
        let abandoned = lock.lock().unwrap_err();
        assert_eq!((abandoned.pid(), abandoned.name()), (pid, Some(&*name)));
        assert!(abandoned.to_string().contains(&name), "{abandoned}");
        assert!(lock.is_locked());
        drop(abandoned);
        assert!(!lock.is_locked());
        drop(lock.lock().expect("it is told once"));
    }
}

#[test]
fn trying_and_waiting_for_a_time_take_over_too() {
    let _watchdog = watchdog("trying_and_waiting_for_a_time_take_over_too");
    let lock = Lock::new().unwrap();
    let holder = start_holder(StartMethod::Forkserver, &lock);
    assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    holder.kill().unwrap();
    wait(&[&holder], None).unwrap();
    assert!(lock.try_lock().is_err());
    let holder = start_holder(StartMethod::Forkserver, &lock);
    holder.kill().unwrap();
    assert!(lock.lock_timeout(Duration::from_secs(60)).is_err());
}

#[test]
fn all_who_wait_are_served_after_a_kill() {
    let _watchdog = watchdog("all_who_wait_are_served_after_a_kill");
    let lock = Lock::new().unwrap();
    let holder = start_holder(StartMethod::Forkserver, &lock);
    let file = number_file("waiting");
    let take = |(lock, file): (Lock, Handle<File>)| {
        let told = lock.lock().map(drop).map_err(|abandoned| drop(abandoned.into_inner())).is_err();
        add_one(&file);
        told
    };
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let file = Handle::from(file.try_clone().unwrap());
            Process::spawn(take, (lock.try_clone().unwrap(), file)).unwrap()
        })
        .collect();
    holder.kill().unwrap();
    let told: Vec<bool> = waiting.into_iter().map(|process| process.join().unwrap()).collect();
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "{told:?}");
}

#[test]
fn a_killed_waiter_leaves_no_trace() {
    let _watchdog = watchdog("a_killed_waiter_leaves_no_trace");
    let lock = Lock::new().unwrap();
    for _ in 0..20 {
        let guard = lock.lock().unwrap();
        let waiter =
            Process::spawn(|lock: Lock| drop(lock.lock()), lock.try_clone().unwrap()).unwrap();
        wait(&[&waiter], Some(Duration::from_millis(3))).unwrap();
        waiter.kill().unwrap();
        drop(guard);
        // It may have got it in between.
        drop(lock.lock().map_err(Abandoned::into_inner));
    }
}

for_each_start_method! {
    fn another_process_may_release_it(method) {
        let lock = Lock::new().unwrap();
        let guard = lock.lock().unwrap();
        let release = |lock: Lock| lock.release().is_ok();
        assert!(Context::new(method).spawn(release, lock.try_clone().unwrap()).unwrap().join().unwrap());
        assert!(!lock.is_locked());
        // Meanwhile somebody else has it, and the old guard releases nothing.
        let holder = start_holder(method, &lock);
        drop(guard);
        assert!(lock.is_locked());
        holder.kill().unwrap();
        assert_eq!(lock.lock().unwrap_err().pid(), holder.pid());
        assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

for_each_start_method! {
    fn what_is_left_held_on_purpose_stays_held(method) {
        let lock = Lock::new().unwrap();
        let leave = |lock: Lock| lock.lock().map(LockGuard::leave_held).is_ok();
        assert!(Context::new(method).spawn(leave, lock.try_clone().unwrap()).unwrap().join().unwrap());
        assert!(lock.is_locked());
        assert!(lock.try_lock().unwrap().is_none());
        assert!(lock.lock_timeout(SHORT).unwrap().is_none());
        lock.release().unwrap();
        drop(lock.try_lock().unwrap().unwrap());
    }
}

for_each_start_method! {
    fn a_process_that_exits_with_it_gives_it_up(method) {
        let lock = Lock::new().unwrap();
        let forget = |lock: Lock| lock.lock().map(std::mem::forget).is_ok();
        let process = Context::new(method).spawn(forget, lock.try_clone().unwrap()).unwrap();
        let pid = process.pid();
        assert!(process.join().unwrap());
        assert_eq!(lock.lock().unwrap_err().pid(), pid);
    }
}

#[test]
fn threads_exclude_each_other() {
    let _watchdog = watchdog("threads_exclude_each_other");
    let lock = Lock::new().unwrap();
    let mut number = 0_u64;
    let shared = std::sync::atomic::AtomicPtr::new(&raw mut number);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let _guard = lock.lock().unwrap();
                    let number = shared.load(std::sync::atomic::Ordering::Relaxed);
                    // SAFETY: alive until the scope ends, and the lock is held.
                    unsafe { *number += 1 };
                }
            });
        }
    });
    assert_eq!(number, 40_000);
}

/// Random kills of processes that take the lock again and again: what they do
/// under it is never seen half done, except by who is told.
#[test]
fn no_kill_lets_two_in_or_keeps_all_out() {
    let _watchdog = watchdog("no_kill_lets_two_in_or_keeps_all_out");
    let work = |(lock, file): (Lock, Handle<File>)| {
        loop {
            let (guard, told) = match lock.lock() {
                Ok(guard) => (guard, false),
                Err(abandoned) => (abandoned.into_inner(), true),
            };
            let mut numbers = [0; 16];
            file.read_exact_at(&mut numbers, 0).unwrap();
            let half = |part: &[u8]| u64::from_le_bytes(part.try_into().unwrap());
            let (one, two) = (half(&numbers[..8]), half(&numbers[8..]));
            if one != two && !told {
                return format!("{one} and {two}");
            }
            file.write_all_at(&(one + 1).to_le_bytes(), 0).unwrap();
            file.write_all_at(&(one + 1).to_le_bytes(), 8).unwrap();
            drop(guard);
        }
    };
    let lock = Lock::new().unwrap();
    let file = number_file("two");
    file.write_all_at(&[0; 16], 0).unwrap();
    let start = || {
        let file = Handle::from(file.try_clone().unwrap());
        Process::spawn(work, (lock.try_clone().unwrap(), file)).unwrap()
    };
    let mut workers: Vec<Process<String>> = (0..3).map(|_| start()).collect();
    for round in 0..100 {
        let victim = workers.swap_remove(round % workers.len());
        let ended =
            wait(&[&victim], Some(Duration::from_micros(900 + 130 * round as u64))).unwrap();
        assert!(ended.is_empty(), "{:?}", victim.join());
        victim.kill().unwrap();
        workers.push(start());
    }
    for worker in &workers {
        worker.kill().unwrap();
    }
    drop(workers);
    let last = lock.lock_timeout(Duration::from_secs(60)).map_err(Abandoned::into_inner);
    assert!(!matches!(last, Ok(None)));
}
