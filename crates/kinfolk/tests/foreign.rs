//! What a binding to another language is built of: objects as descriptors, waits that
//! signals end, processes that something else has started.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kinfolk::queue::{ByteQueue, Options};
use kinfolk::{
    Barrier, BoundedSemaphore, BrokenBarrier, Condition, Connection, ErrorKind, Event, Handle,
    Lifeline, Lock, Process, RLock, Semaphore, pipe, signal_tree,
};
use kinfolk_testkit::{for_each_start_method, wait_until, watchdog};

kinfolk::test_init!();

/// A time in which nothing is expected to happen, and the test does not depend on it.
const SHORT: Duration = Duration::from_millis(20);
/// A time that does not pass.
const LONG: Duration = Duration::from_secs(3600);

/// The descriptor of an object, as another process would inherit it.
fn inherited(object: &impl AsFd) -> OwnedFd {
    object.as_fd().try_clone_to_owned().unwrap()
}

for_each_start_method! {
    fn a_lifeline_ends_what_holds_it(method) {
        let hold = |(end, tell): (Handle<OwnedFd>, Connection<bool, ()>)| {
            tell.send(&Lifeline::hold(end.into_inner()).unwrap()).unwrap();
            loop {
                std::thread::park();
            }
        };
        let (line, end) = Lifeline::new().unwrap();
        let (told, tell) = pipe::<(), bool>().unwrap();
        let context = kinfolk::Context::new(method);
        let process: Process<()> = context.spawn(hold, (end.into(), tell)).unwrap();
        assert!(told.recv().unwrap());
        assert!(process.is_alive());
        drop(line);
        assert!(process.join().unwrap_err().to_string().contains("signal 9"));
    }
}

#[test]
fn a_lifeline_whose_parent_is_gone_says_so() {
    let (line, end) = Lifeline::new().unwrap();
    drop(line);
    let gone = |end: Handle<OwnedFd>| {
        if !Lifeline::hold(end.into_inner()).unwrap() {
            std::process::exit(7);
        }
    };
    let process = Process::spawn(gone, end.into()).unwrap();
    assert!(process.join().is_err());
}

#[test]
fn a_tree_that_something_else_started_is_ended() {
    let _watchdog = watchdog("a_tree_that_something_else_started_is_ended");
    let mut shell = Command::new("sh").args(["-c", "sleep 3600 & wait"]).spawn().unwrap();
    let tasks = format!("/proc/{0}/task/{0}/children", shell.id());
    wait_until("it has a child", || !std::fs::read_to_string(&tasks).unwrap().is_empty());
    let grandchild = std::fs::read_to_string(&tasks).unwrap();
    let pidfd = Handle::from(pidfd(shell.id()));
    let end = signal_tree(shell.id(), pidfd.as_fd(), 9).unwrap();
    assert_eq!(end.signaled, 2);
    shell.wait().unwrap();
    let stat = format!("/proc/{}/stat", grandchild.trim());
    let ended = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z"));
    wait_until("its child has ended", ended);
}

/// A descriptor of a process.
fn pidfd(pid: u32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

#[test]
fn an_object_is_made_of_its_descriptor_and_of_no_other() {
    let lock = Lock::new().unwrap();
    let same = Lock::try_from(inherited(&lock)).unwrap();
    std::mem::forget(lock.lock().unwrap());
    assert!(same.is_locked());
    same.release().unwrap();
    assert!(!lock.is_locked());
    let refused = RLock::try_from(inherited(&lock)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
    assert!(Semaphore::try_from(inherited(&std::io::stdin())).is_err());
    let bounded = BoundedSemaphore::new(3).unwrap();
    assert_eq!(BoundedSemaphore::try_from(inherited(&bounded)).unwrap().value(), 3);
    let event = Event::new().unwrap();
    event.set();
    assert!(Event::try_from(inherited(&event)).unwrap().is_set());
    let barrier = Barrier::new(4).unwrap();
    assert_eq!(Barrier::try_from(inherited(&barrier)).unwrap().parties(), 4);
}

#[test]
fn an_rlock_is_released_by_its_thread_without_a_guard() {
    let lock = RLock::new().unwrap();
    assert!(lock.release().is_err());
    std::mem::forget((lock.lock().unwrap(), lock.lock().unwrap()));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(lock.release().is_err()));
    });
    lock.release().unwrap();
    assert!(lock.is_locked());
    lock.release().unwrap();
    assert!(!lock.is_locked());
}

#[test]
fn permits_left_taken_are_not_returned_by_the_end_of_their_process() {
    let _watchdog = watchdog("permits_left_taken_are_not_returned");
    let semaphore = BoundedSemaphore::new(2).unwrap();
    let take = |(semaphore, leave): (BoundedSemaphore, bool)| {
        semaphore.acquire().unwrap().forget();
        if leave {
            semaphore.leave_taken();
        }
    };
    for leave in [true, false] {
        Process::spawn(take, (semaphore.try_clone().unwrap(), leave)).unwrap().join().unwrap();
    }
    assert_eq!(semaphore.value(), 0);
    semaphore.reclaim();
    assert_eq!(semaphore.value(), 1);
    semaphore.release().unwrap();
    assert!(semaphore.release().is_err());
}

#[test]
fn who_enlists_waits_under_a_lock_of_any_kind() {
    let _watchdog = watchdog("who_enlists_waits_under_a_lock_of_any_kind");
    let (condition, lock) = (Condition::new().unwrap(), RLock::new().unwrap());
    let guard = lock.lock().unwrap();
    let mut enlisted = condition.enlist().unwrap();
    drop(guard);
    assert_eq!(condition.waiting(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = lock.lock().unwrap();
            condition.notify_one();
        });
        assert!(enlisted.wait_timeout(LONG));
    });
    assert!(enlisted.wait_timeout(SHORT), "it was notified");
    drop(enlisted);
    let mut late = condition.enlist().unwrap();
    assert!(!late.wait_timeout(SHORT));
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn who_leaves_without_waiting_passes_its_notification_on() {
    let condition = Condition::new().unwrap();
    let (first, mut second) = (condition.enlist().unwrap(), condition.enlist().unwrap());
    condition.notify_one();
    drop(first);
    assert!(second.wait_timeout(LONG));
    drop(second);
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn a_barrier_with_an_action_breaks_after_its_time() {
    let barrier = Barrier::new(2).unwrap();
    assert_eq!(barrier.wait_timeout_with(SHORT, || unreachable!()), Err(BrokenBarrier));
    let alone = Barrier::new(1).unwrap();
    let acted = AtomicBool::new(false);
    assert_eq!(alone.wait_timeout_with(LONG, || acted.store(true, Ordering::Relaxed)), Ok(0));
    assert!(acted.into_inner());
}

for_each_start_method! {
    fn a_queue_of_bytes_is_both_ends_in_each_process(method) {
        let queue = ByteQueue::new(Options::new(4)).unwrap();
        let echo = |[memory, bell]: [Handle<OwnedFd>; 2]| {
            let queue = ByteQueue::from_fds([memory.into_inner(), bell.into_inner()]).unwrap();
            let message = queue.recv_timeout(LONG).unwrap().unwrap().into_vec().unwrap();
            assert!(queue.send_timeout(&message, LONG).unwrap());
        };
        for message in [&b"small"[..], &[7; 100_000]] {
            let context = kinfolk::Context::new(method);
            assert!(queue.send_timeout(message, LONG).unwrap());
            let fds = queue.fds().map(|fd| fd.try_clone_to_owned().unwrap().into());
            context.spawn(echo, fds).unwrap().join().unwrap();
            let back = queue.recv_timeout(LONG).unwrap().unwrap().into_vec().unwrap();
            assert_eq!(back, message);
        }
    }
}

#[test]
fn a_queue_of_bytes_is_full_empty_and_ready() {
    let queue = ByteQueue::new(Options::new(3)).unwrap();
    assert!(queue.recv_timeout(SHORT).unwrap().is_none());
    assert!(kinfolk::wait(&[&queue], Some(SHORT)).unwrap().is_empty());
    let messages: [&[u8]; 4] = [b"a", b"bb", b"", b"more"];
    assert_eq!(queue.send_many_timeout(&messages, SHORT).unwrap(), 3);
    assert!(!queue.send_timeout(b"more", SHORT).unwrap());
    assert_eq!((queue.len(), queue.capacity()), (3, 3));
    assert_eq!(kinfolk::wait(&[&queue], Some(LONG)).unwrap(), [0]);
    let received = queue.recv_many_timeout(9, LONG).unwrap();
    assert_eq!(received, messages[..3]);
    assert!(queue.is_empty());
    let other = Lock::new().unwrap();
    let refused = ByteQueue::from_fds([inherited(&other), inherited(&other)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{refused}");
}

#[test]
fn an_interrupt_ends_waits_with_a_limit() {
    let _watchdog = watchdog("an_interrupt_ends_waits_with_a_limit");
    thread_local! {
        static STOP: AtomicBool = const { AtomicBool::new(false) };
    }
    kinfolk::set_interrupt(|| STOP.with(|stop| stop.load(Ordering::Relaxed)));
    let lock = Lock::new().unwrap();
    std::mem::forget(lock.lock().unwrap());
    STOP.with(|stop| stop.store(true, Ordering::Relaxed));
    assert!(lock.lock_timeout(LONG).unwrap().is_none());
    assert!(Semaphore::new(0).unwrap().acquire_timeout(LONG).unwrap().is_none());
    assert!(!Event::new().unwrap().wait_timeout(LONG));
    assert!(!Condition::new().unwrap().enlist().unwrap().wait_timeout(LONG));
    let queue = ByteQueue::new(Options::new(1)).unwrap();
    assert!(queue.recv_timeout(Duration::MAX).unwrap().is_none());
    assert!(queue.send_timeout(b"", LONG).unwrap());
    assert!(!queue.send_timeout(b"", Duration::MAX).unwrap());
    STOP.with(|stop| stop.store(false, Ordering::Relaxed));
}
