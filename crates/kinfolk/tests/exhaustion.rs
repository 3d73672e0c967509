//! Shared state where descriptors or memory run out: clear errors, no signal, and
//! what there is goes on.

use std::fs::File;

use kinfolk::queue::{self, Options};
use kinfolk::{
    Abandoned, Barrier, BoundedSemaphore, Condition, Connection, Error, ErrorKind, Event, Lock,
    Pool, Process, RLock, Semaphore, SharedMemory, WaitSet, pipe, wait,
};
use kinfolk_testkit::{SHORT, in_its_own_process, open_fds};

kinfolk::test_init!();

/// Lowers a limit of this process.
fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: reads one rlimit, which lives.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Chooses a limit of this process that can be raised again.
fn limit_for_now(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit, which lives.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Opens files until no descriptor is free.
fn all_descriptors() -> Vec<File> {
    limit(libc::RLIMIT_NOFILE, 100);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Tries it with no descriptor free, then with one more each time, until it
/// succeeds: all errors are clear, and leave nothing open.
fn until_it_succeeds<T>(what: &str, attempt: impl Fn() -> Result<T, Error>) {
    let mut all = all_descriptors();
    for free in 0..20 {
        let before = open_fds();
        match attempt() {
            Ok(done) => {
                assert!(free > 0, "{what} needs no descriptor");
                drop(done);
                assert_eq!(open_fds(), before, "{what}");
                return;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{what}: {error}");
                assert!(error.to_string().contains("no free file descriptor"), "{what}: {error}");
            }
        }
        assert_eq!(open_fds(), before, "{what}");
        all.pop();
    }
    panic!("{what} never succeeds");
}

/// Holds what it was given until it is killed.
fn hold((lock, semaphore, tell): (Lock, Semaphore, Connection<bool, ()>)) {
    let _held = (lock.lock().unwrap(), semaphore.acquire().unwrap());
    tell.send(&true).unwrap();
    loop {
        std::thread::park();
    }
}

in_its_own_process! {
    fn whatever_is_made_or_cloned_without_a_free_descriptor_is_a_clear_error() {
        let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
        let (condition, event) = (Condition::new().unwrap(), Event::new().unwrap());
        let (barrier, memory) = (Barrier::new(1).unwrap(), SharedMemory::new(10).unwrap());
        let semaphore = Semaphore::new(1).unwrap();
        let bounded = BoundedSemaphore::new(1).unwrap();
        let (sender, receiver) = queue::bounded::<u32>(1).unwrap();
        until_it_succeeds("Lock::new", Lock::new);
        until_it_succeeds("Lock::try_clone", || lock.try_clone());
        until_it_succeeds("RLock::new", RLock::new);
        until_it_succeeds("RLock::try_clone", || rlock.try_clone());
        until_it_succeeds("Semaphore::new", || Semaphore::new(1));
        until_it_succeeds("Semaphore::try_clone", || semaphore.try_clone());
        until_it_succeeds("BoundedSemaphore::new", || BoundedSemaphore::new(1));
        until_it_succeeds("BoundedSemaphore::try_clone", || bounded.try_clone());
        until_it_succeeds("Condition::new", Condition::new);
        until_it_succeeds("Condition::try_clone", || condition.try_clone());
        until_it_succeeds("Event::new", Event::new);
        until_it_succeeds("Event::try_clone", || event.try_clone());
        until_it_succeeds("Barrier::new", || Barrier::new(1));
        until_it_succeeds("Barrier::try_clone", || barrier.try_clone());
        until_it_succeeds("SharedMemory::new", || SharedMemory::new(10));
        until_it_succeeds("SharedMemory::try_clone", || memory.try_clone());
        until_it_succeeds("queue::bounded", || queue::bounded::<u32>(1));
        until_it_succeeds("Sender::try_clone", || sender.try_clone());
        until_it_succeeds("Receiver::try_clone", || receiver.try_clone());
        until_it_succeeds("WaitSet::new", WaitSet::<File>::new);
        // They have not suffered.
        sender.send(&7).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
        drop((lock.lock().unwrap(), rlock.lock().unwrap(), semaphore.acquire().unwrap()));
        assert_eq!(barrier.wait(), Ok(0));
    }

    fn a_queue_that_cannot_be_received_without_descriptors_is_received_later() {
        let (sender, receiver) = queue::bounded::<u32>(1).unwrap();
        let (here, there) = pipe::<queue::Receiver<u32>, ()>().unwrap();
        here.send(&receiver).unwrap();
        let mut all = all_descriptors();
        let before = open_fds();
        let error = there.recv().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert_eq!(open_fds(), before);
        all.truncate(all.len() - 10);
        let received: queue::Receiver<u32> = there.recv().unwrap();
        sender.send(&7).unwrap();
        assert_eq!(received.recv().unwrap(), 7);
    }

    /// To learn whether a process lives needs a descriptor; to go on does not.
    fn the_dead_are_noticed_without_a_free_descriptor() {
        let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
        let (told, tell) = pipe::<(), bool>().unwrap();
        let things = (lock.try_clone().unwrap(), semaphore.try_clone().unwrap(), tell);
        let holder = Process::spawn(hold, things).unwrap();
        assert!(told.recv().unwrap());
        let all = all_descriptors();
        assert!(lock.lock_timeout(SHORT).unwrap().is_none());
        // It is not reaped, so its number is in use.
        holder.kill().unwrap();
        assert_eq!(lock.lock().unwrap_err().pid(), holder.pid());
        drop(semaphore.acquire().unwrap());
        drop(all);
    }

    /// A child finds out who it is when it needs it first, which may be late.
    fn a_forked_child_without_a_free_descriptor_is_not_dead() {
        let lock = Lock::new().unwrap();
        let (told, tell) = pipe::<(), bool>().unwrap();
        let all = std::cell::RefCell::new(Vec::new());
        let holder: Process<()> = Process::builder()
            .fork(|| {
                *all.borrow_mut() = all_descriptors();
                std::mem::forget(lock.lock().map_err(Abandoned::into_inner));
                tell.send(&true).unwrap();
                loop {
                    std::thread::park();
                }
            })
            .unwrap();
        assert!(told.recv().unwrap());
        assert!(lock.lock_timeout(SHORT).unwrap().is_none());
        assert!(lock.try_lock().unwrap().is_none());
        holder.kill().unwrap();
        assert_eq!(lock.lock().unwrap_err().pid(), holder.pid());
    }

    /// Waiting for a receiver needs a descriptor of its own.
    fn a_receiver_can_be_waited_for_without_a_free_descriptor() {
        let (sender, receiver) = queue::bounded::<u32>(1).unwrap();
        let (told, tell) = pipe::<(), bool>().unwrap();
        let send_late = |(sender, told): (queue::Sender<u32>, Connection<(), bool>)| {
            assert!(told.recv().unwrap());
            sender.send(&7).unwrap();
            assert!(told.recv().unwrap());
        };
        let process = Process::spawn(send_late, (sender, told)).unwrap();
        let all = all_descriptors();
        tell.send(&true).unwrap();
        let received = loop {
            assert_eq!(wait(&[&receiver], None).unwrap(), [0]);
            if let Some(received) = receiver.try_recv().unwrap() {
                break received;
            }
        };
        assert_eq!(received, 7);
        tell.send(&true).unwrap();
        let end = loop {
            assert_eq!(wait(&[&receiver], None).unwrap(), [0]);
            if let Err(error) = receiver.try_recv() {
                break error;
            }
        };
        assert!(end.is_disconnected());
        drop(all);
        process.join().unwrap();
    }

    /// The limit on files counts for memory files too, and is enforced by a signal.
    fn a_limit_on_files_is_an_error_wherever_memory_is_made() {
        let (sender, receiver) =
            queue::with_options::<String>(Options::new(1000).bytes(4 << 20)).unwrap();
        let (here, there) = pipe::<String, ()>().unwrap();
        limit(libc::RLIMIT_FSIZE, 4096);
        let is_refused = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
            assert!(error.to_string().contains("ulimit -f"), "{error}");
        };
        is_refused(queue::bounded::<u8>(1).unwrap_err());
        is_refused(Semaphore::new(1).unwrap_err());
        is_refused(SharedMemory::new(8192).unwrap_err());
        let large = "7".repeat(4 << 20);
        is_refused(here.send(&large).unwrap_err());
        here.send(&"small".to_owned()).unwrap();
        assert_eq!(there.recv().unwrap(), "small");
        // A queue has its size already, and grows inside of it.
        for part in [10_000, 1_000_000] {
            let part = large[..part].to_owned();
            let mut sent = 0;
            while sent < 300 && sender.try_send(&part).unwrap() {
                sent += 1;
            }
            assert!(sent > 2);
            for _ in 0..sent {
                assert!(receiver.recv().unwrap() == part);
            }
        }
    }

    /// Where no more address space is free, nothing can be mapped.
    fn a_limit_on_memory_is_an_error_and_the_queue_goes_on() {
        let (sender, receiver) =
            queue::with_options::<String>(Options::new(1000).bytes(16 << 20)).unwrap();
        let large = "7".repeat(12 << 20);
        sender.send(&large).unwrap();
        sender.send(&"small".to_owned()).unwrap();
        limit_for_now(libc::RLIMIT_AS, 8 << 20);
        for _ in 0..3 {
            assert_eq!(receiver.recv_bytes().unwrap_err().kind(), ErrorKind::Exhausted);
            assert_eq!(receiver.recv().unwrap_err().kind(), ErrorKind::Exhausted);
            assert_eq!(receiver.recv_leased().unwrap_err().kind(), ErrorKind::Exhausted);
        }
        assert_eq!(queue::bounded::<u8>(1).unwrap_err().kind(), ErrorKind::Exhausted);
        assert_eq!(sender.try_clone().unwrap_err().kind(), ErrorKind::Exhausted);
        limit_for_now(libc::RLIMIT_AS, libc::RLIM_INFINITY);
        // Nothing was lost.
        assert!(receiver.recv().unwrap() == large);
        assert_eq!(receiver.recv().unwrap(), "small");
    }

    /// A result that there is no memory for costs its item alone.
    fn a_result_without_memory_for_it_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::builder().workers(1).largest_message(16 << 20).build().unwrap();
        let sevens = |count: usize| "7".repeat(count);
        assert_eq!(pool.apply(sevens, 3).unwrap(), "777");
        limit_for_now(libc::RLIMIT_AS, 8 << 20);
        for _ in 0..3 {
            let error = pool.apply(sevens, 12 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
            assert_eq!(pool.apply(sevens, 3).unwrap(), "777");
        }
        limit_for_now(libc::RLIMIT_AS, libc::RLIM_INFINITY);
        assert_eq!(pool.apply(sevens, 12 << 20).unwrap().len(), 12 << 20);
        assert_eq!(pool.statistics().unwrap().deaths, 0);
    }
}
