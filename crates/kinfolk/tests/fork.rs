//! Forks between any two operations, and what else might make a living process
//! look dead, or one look like another.

use std::sync::atomic::{AtomicBool, Ordering};

use kinfolk::queue::{self, Options};
use kinfolk::{Abandoned, Barrier, Condition, Event, Lock, Process, RLock, Semaphore, pipe, wait};
use kinfolk_testkit::{LONG, SHORT, forever, in_its_own_process, wait_until, watchdog};

kinfolk::test_init!();

/// A child of a fork that the library knows nothing of.
struct RawFork(i32);

impl RawFork {
    /// Forks; the child runs `body`, and ends with status 0 unless it panics.
    fn new(body: impl FnOnce()) -> Self {
        // SAFETY: the child uses what the C library keeps usable after a fork, and
        // the locks of this library, which are what is tested.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: has no preconditions.
            unsafe { libc::_exit(done.is_err().into()) };
        }
        Self(pid)
    }

    /// Waits for its end, and returns its status.
    fn status(self) -> i32 {
        let mut status = 0;
        // SAFETY: writes a number, which lives.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        status
    }

    /// Waits for its end, which must be a good one.
    fn join(self) {
        assert_eq!(self.status(), 0);
    }
}

in_its_own_process! {
    /// A fork copies every guard, and none of what it holds: dropped in the child,
    /// it changes nothing.
    fn copies_of_guards_in_a_forked_child_release_nothing() {
        let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
        let semaphore = Semaphore::new(2).unwrap();
        let (sender, receiver) =
            queue::with_options::<String>(Options::new(10).bytes(1 << 20)).unwrap();
        let text = "a job".to_owned();
        let large = "large".repeat(120_000);
        for message in [&text, &large, &text] {
            sender.send(message).unwrap();
        }
        let guards = (lock.lock().unwrap(), rlock.lock().unwrap(), rlock.lock().unwrap());
        let permit = semaphore.acquire().unwrap();
        let (small, view) = (receiver.recv_leased().unwrap(), receiver.recv_view().unwrap());
        let last = receiver.recv_leased().unwrap();
        let held = std::cell::Cell::new(Some((guards, permit, small, view, last)));
        RawFork::new(|| {
            let (guards, permit, small, view, last) = held.take().unwrap();
            assert!(lock.try_lock().unwrap().is_none());
            assert!(rlock.try_lock().unwrap().is_none());
            drop((guards, permit, small, view));
            last.done();
            assert!(lock.try_lock().unwrap().is_none());
            assert!(rlock.try_lock().unwrap().is_none());
        })
        .join();
        let (guards, permit, small, view, last) = held.take().unwrap();
        assert_eq!(semaphore.value(), 1);
        // All is where it was, and nothing of it is in the queue.
        assert_eq!((&*small, view.len()), (&text, large.len() + 3));
        assert!(receiver.recv_leased_timeout(SHORT).unwrap().is_none());
        // The view keeps its space: there is none for another one with it.
        let too_large = vec![0; 480_000];
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| sender.send_bytes(&too_large));
            assert!(wait(&[&receiver], Some(SHORT)).unwrap().is_empty());
            drop(view);
            sending.join().unwrap().unwrap();
        });
        drop(receiver.recv_view().unwrap());
        drop((guards.1, permit));
        assert!(lock.is_locked() && rlock.is_locked());
        drop((guards.0, guards.2));
        assert!(!lock.is_locked() && !rlock.is_locked());
        assert_eq!(semaphore.value(), 2);
        last.done();
        small.done();
        sender.join();
    }

    /// A child is not taken for its parent, and neither for dead while it lives: not
    /// after its parent's end, nor after it closed every descriptor.
    fn a_forked_child_holds_in_its_own_name() {
        let lock = Lock::new().unwrap();
        let (told, tell) = pipe::<(), i32>().unwrap();
        let middle = |lock: Lock, tell: kinfolk::Connection<i32, ()>| {
            // The one in the middle held it before the fork, and dies with it.
            let guard = lock.lock().unwrap();
            let child = RawFork::new(|| {
                let guard = lock.lock().map_err(Abandoned::into_inner);
                // SAFETY: nothing of this process uses a descriptor any more.
                unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
                std::mem::forget(guard);
                forever()
            });
            tell.send(&child.0).unwrap();
            std::mem::forget(guard);
            forever()
        };
        let process = kinfolk::Process::builder()
            .fork(|| middle(lock.try_clone().unwrap(), tell))
            .unwrap();
        let process: Process<()> = process;
        let child = told.recv().unwrap();
        assert!(lock.try_lock().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
        // Either the child took over, or this process is the heir of the one in the
        // middle, and the child its.
        let mut heir = 0;
        if let Ok(Some(guard)) | Err(guard) = lock
            .lock_timeout(SHORT)
            .map_err(|abandoned| { heir = abandoned.pid(); abandoned.into_inner() })
        {
            assert_eq!(heir, process.pid());
            drop(guard);
        }
        wait_until("the child has no descriptor", || {
            std::fs::read_dir(format!("/proc/{child}/fd")).is_ok_and(|fds| fds.count() <= 3)
        });
        assert!(lock.lock_timeout(SHORT).unwrap().is_none());
        assert!(lock.try_lock().unwrap().is_none());
        // SAFETY: nobody else waits for it, so the number is its own.
        unsafe { libc::kill(child, libc::SIGKILL) };
        let abandoned = lock.lock().unwrap_err();
        assert_eq!(abandoned.pid(), child.unsigned_abs());
    }

    /// Others fork while a thread is in the middle of everything: no child waits
    /// for what its copy of that thread seemed to hold.
    fn forks_in_the_middle_of_another_threads_operations_leave_no_child_waiting() {
        let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
        let (condition, event) = (Condition::new().unwrap(), Event::new().unwrap());
        let barrier = Barrier::new(1).unwrap();
        let (sender, receiver) = queue::bounded::<String>(4).unwrap();
        let stop = AtomicBool::new(false);
        let use_all = |text: &String| {
            drop(lock.lock().map_err(Abandoned::into_inner));
            drop(semaphore.acquire().unwrap());
            condition.notify_all();
            event.set();
            event.clear();
            // Who is killed at it breaks it.
            if barrier.wait().is_err() {
                barrier.reset();
            }
            sender.send(text).unwrap();
            receiver.recv_leased().unwrap().done();
        };
        let texts = ["small".to_owned(), "large".repeat(10_000)];
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    texts.iter().for_each(use_all);
                }
            });
            for round in 0..200 {
                // SAFETY: as for a raw fork above.
                let process = unsafe {
                    Process::builder().fork_unchecked(|| texts.iter().for_each(use_all))
                };
                let process: Process<()> = process.unwrap();
                if round % 4 == 0 {
                    process.kill().unwrap();
                    process.wait().unwrap();
                } else {
                    process.join().unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
            worker.join().unwrap();
        });
        assert!(!lock.is_locked());
        // What a killed child had taken comes back.
        while receiver.recv_leased_timeout(SHORT).unwrap().map(queue::Lease::done).is_some() {}
        sender.join();
        assert_eq!(semaphore.acquire_timeout(LONG).unwrap().map(drop), Some(()));
    }
}

#[test]
fn the_end_of_the_thread_that_took_it_releases_nothing() {
    let _watchdog = watchdog("the_end_of_the_thread_that_took_it_releases_nothing");
    let lock = Lock::new().unwrap();
    let is_held = |lock: Lock| lock.try_lock().is_ok_and(|guard| guard.is_none());
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(lock.lock().unwrap()));
    });
    assert!(Process::spawn(is_held, lock.try_clone().unwrap()).unwrap().join().unwrap());
    assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    lock.release().unwrap();
}

/// The number of a dead holder is given to another process.
#[test]
fn a_reused_process_id_is_not_the_dead_holder() {
    let _watchdog = watchdog("a_reused_process_id_is_not_the_dead_holder");
    let lock = Lock::new().unwrap();
    let semaphore = Semaphore::new(1).unwrap();
    let hold = |(lock, semaphore): (Lock, Semaphore)| {
        std::mem::forget((lock.lock().unwrap(), semaphore.acquire().unwrap()));
        // Start times are told apart by the hundredth of a second, as the uptime is:
        // no system goes through all numbers in one, but this test would.
        let uptime = || std::fs::read_to_string("/proc/uptime").unwrap();
        for _ in 0..2 {
            let before = uptime();
            while before.split(' ').next() == uptime().split(' ').next() {
                std::thread::yield_now();
            }
        }
    };
    let things = (lock.try_clone().unwrap(), semaphore.try_clone().unwrap());
    let holder = Process::spawn(hold, things).unwrap();
    let pid = holder.pid();
    holder.join().unwrap();
    // Another test may be given the number first.
    let next = std::path::Path::new("/proc/sys/kernel/ns_last_pid");
    let mut other = None;
    for _ in 0..1000 {
        if std::fs::write(next, (pid - 1).to_string()).is_err() {
            eprintln!("skipped: choosing process ids needs privileges");
            return;
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        if child.id() == pid {
            other = Some(child);
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let Some(mut other) = other else {
        eprintln!("skipped: the number was always given to somebody else");
        return;
    };
    assert_eq!(lock.lock().unwrap_err().pid(), pid);
    drop(semaphore.acquire().unwrap());
    other.kill().unwrap();
    other.wait().unwrap();
}
