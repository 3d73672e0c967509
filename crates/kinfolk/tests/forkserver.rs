//! The forkserver: killed at work, replaced, and children of it that are right.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kinfolk::{Closed, Connection, Context, ErrorKind, ExitStatus, Process, StartMethod, Stdio};
use kinfolk_testkit::{children_of, cmdline, for_each_start_method, wait_until, watchdog};

kinfolk::test_init!();

/// Runs `body` in a process of its own.
fn alone<R>(body: fn(()) -> R) -> R
where
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap()
}

/// The forkservers of this process. Their children have their command line, but
/// have not executed it.
fn servers() -> Vec<u32> {
    let is_server = |pid: &u32| cmdline(*pid).get(2).is_some_and(|word| word == "forkserver");
    children_of(std::process::id())
        .into_iter()
        .filter(|pid| is_server(pid) && has_executed(*pid))
        .collect()
}

/// Whether the process executed a program since it came into being, as the
/// kernel's flags say.
fn has_executed(pid: u32) -> bool {
    const FORKED_BUT_NOT_EXECUTED: u32 = 0x40;
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let flags = line.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(6));
    flags.is_some_and(|flags| flags.parse().is_ok_and(|f: u32| f & FORKED_BUT_NOT_EXECUTED == 0))
}

#[test]
fn a_forkserver_killed_in_the_middle_of_a_request_starts_no_function_twice() {
    const THREADS: u32 = 4;
    const EACH: u32 = 40;
    type Began = Connection<u32, Closed>;
    fn child((number, began): (u32, Began)) -> u32 {
        began.send(&number).unwrap();
        number
    }
    /// Starts children; returns the numbers of those that were started.
    fn start(first: u32, began: &Began) -> Vec<u32> {
        let (hand, taken) = kinfolk::pipe::<Began, ()>().unwrap();
        let mut started = Vec::new();
        for number in first..first + EACH {
            hand.send(began).unwrap();
            match Process::spawn(child, (number, taken.recv().unwrap())) {
                Ok(process) => {
                    assert_eq!(process.join().unwrap(), number);
                    started.push(number);
                }
                // The killer met three servers of one start.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Start, "{error}"),
            }
        }
        started
    }
    fn body(_: ()) -> (u32, u32) {
        let (heard, began) = kinfolk::pipe_one_way::<u32>().unwrap();
        let done = AtomicBool::new(false);
        let killed = AtomicU32::new(0);
        let started: Vec<u32> = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut pause = 1_u64;
                while !done.load(Ordering::Relaxed) {
                    for server in servers() {
                        // SAFETY: touches no memory. The number is that of a child of this
                        // process, or of nobody since another thread reaped it.
                        unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
                        killed.fetch_add(1, Ordering::Relaxed);
                    }
                    // Differs each time, to meet the server at another place.
                    pause = pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    std::thread::sleep(std::time::Duration::from_micros(3000 + (pause >> 51)));
                }
            });
            let began = &began;
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || start(thread * EACH, began)))
                .collect();
            let all: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            done.store(true, Ordering::Relaxed);
            all.into_iter().flat_map(Result::unwrap).collect()
        });
        drop(began);
        let mut counts = vec![0; (THREADS * EACH) as usize];
        while let Ok(number) = heard.recv() {
            counts[number as usize] += 1;
        }
        for (number, count) in (0..).zip(counts) {
            assert_eq!(count, u32::from(started.contains(&number)), "starts of {number}");
        }
        (started.len() as u32, killed.into_inner())
    }
    let _watchdog = watchdog("a_forkserver_killed_in_the_middle_of_a_request");
    let (started, killed) = alone(body);
    assert!(started > 0 && killed > 0, "{started} started, {killed} servers killed");
}

#[test]
fn a_process_that_drops_privileges_gets_a_new_server() {
    fn user(_: ()) -> (u32, u32) {
        // SAFETY: touches no memory.
        let user = unsafe { libc::geteuid() };
        // SAFETY: touches no memory; gaining it back must fail.
        (user, unsafe { libc::setuid(0) }.unsigned_abs())
    }
    fn body(_: ()) {
        let first = Process::spawn(user, ()).unwrap().join().unwrap();
        assert_eq!(first, (0, 0));
        let before = servers();
        assert_eq!(before.len(), 1);
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setgid(65_534) }, 0);
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setuid(65_534) }, 0);
        // The program may lie where the new user must not go; then the start
        // fails, which gives nothing back either.
        match Process::spawn(user, ()) {
            Ok(process) => assert_eq!(process.join().unwrap(), (65_534, 1)),
            Err(error) => assert!(error.to_string().contains("executing"), "{error}"),
        }
        assert!(servers().iter().all(|server| !before.contains(server)), "a new server");
    }
    // SAFETY: touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root has privileges to drop");
        return;
    }
    let _watchdog = watchdog("a_process_that_drops_privileges_gets_a_new_server");
    alone(body);
}

#[test]
fn a_process_that_forbids_itself_new_privileges_gets_a_new_server() {
    fn no_new_privileges(_: ()) -> i32 {
        // SAFETY: touches no memory.
        unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) }
    }
    fn body(_: ()) {
        let ask = || Process::spawn(no_new_privileges, ()).unwrap().join().unwrap();
        assert_eq!(ask(), 0);
        let before = servers();
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        assert_eq!(ask(), 1);
        assert!(servers().iter().all(|server| !before.contains(server)), "a new server");
    }
    // SAFETY: touches no memory.
    if unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } != 0 {
        eprintln!("skipped: new privileges are forbidden already");
        return;
    }
    let _watchdog = watchdog("a_process_that_forbids_itself_new_privileges_gets_a_new_server");
    alone(body);
}

/// Adds.
fn add((a, b): (u32, u32)) -> u32 {
    a + b
}

/// Never returns.
fn forever(_: ()) {
    loop {
        std::thread::park();
    }
}

#[test]
fn forks_while_other_threads_start_processes_leave_no_child_waiting() {
    fn body(_: ()) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
                    }
                });
            }
            for _ in 0..100 {
                let (heard, word) = kinfolk::pipe_one_way::<u32>().unwrap();
                // SAFETY: the child uses the library alone, and the allocator, which the C
                // library hands over in order.
                let carrying =
                    unsafe { Process::builder().fork_unchecked(|| word.send(&7).unwrap()) };
                carrying.unwrap().join().unwrap();
                assert_eq!(heard.recv().unwrap(), 7);
                // SAFETY: as above.
                match unsafe { libc::fork() } {
                    -1 => panic!("no fork"),
                    0 => {
                        let sum = Process::spawn(add, (1, 2)).unwrap().join().unwrap();
                        // SAFETY: ends the child.
                        unsafe { libc::_exit(sum.cast_signed()) }
                    }
                    raw => {
                        let mut status = 0;
                        // SAFETY: writes one int, which lives.
                        assert_eq!(unsafe { libc::waitpid(raw, &raw mut status, 0) }, raw);
                        assert_eq!(libc::WEXITSTATUS(status), 3, "{status}");
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
    let _watchdog = watchdog("forks_while_other_threads_start_processes");
    alone(body);
}

#[test]
fn forks_of_several_threads_carry_their_connections() {
    fn body(_: ()) {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for number in 0..50 {
                        let (heard, word) = kinfolk::pipe_one_way::<u32>().unwrap();
                        let send = || word.send(&number).map_err(|error| error.to_string());
                        // SAFETY: as above.
                        let process = unsafe { Process::builder().fork_unchecked(send) };
                        assert_eq!(process.unwrap().join().unwrap(), Ok(()));
                        assert_eq!(heard.recv().unwrap(), number);
                    }
                });
            }
        });
    }
    let _watchdog = watchdog("forks_of_several_threads_carry_their_connections");
    alone(body);
}

#[test]
fn who_is_stopped_at_a_start_is_killed_at_its_deadline() {
    fn stop(pid: u32) {
        // SAFETY: touches no memory; the number is that of a child of this process.
        assert_eq!(unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) }, 0);
    }
    fn body(_: ()) {
        let children = || children_of(std::process::id());
        let soon = || Process::builder().start_timeout(Duration::from_millis(200));
        let starts = || Process::spawn(add, (1, 2)).unwrap().join().unwrap() == 3;
        assert!(starts());
        wait_until("the next one waits", || children().len() == 2);
        let server = servers();
        // The child ahead.
        stop(children().into_iter().find(|pid| !server.contains(pid)).unwrap());
        let error = soon().spawn(add, (1, 2)).unwrap().join().unwrap_err();
        assert!(error.to_string().contains("did not begin within 200ms"), "{error}");
        assert!(starts());
        // The server: the child ahead is there, the one after it is not made.
        wait_until("the next one waits", || children().len() == 2);
        stop(servers()[0]);
        assert!(starts());
        let error = soon().spawn(add, (1, 2)).unwrap_err();
        assert!(error.to_string().contains("did not answer in time"), "{error}");
        assert!(starts());
    }
    let _watchdog = watchdog("who_is_stopped_at_a_start_is_killed_at_its_deadline");
    alone(body);
}

/// Where the preloads of the next test leave a mark.
const MARK: &str = "KINFOLK_TEST_MARK";

#[test]
fn a_server_killed_before_it_takes_requests_is_started_again() {
    fn killed_once() {
        let mark = std::env::var_os(MARK).unwrap();
        if std::fs::File::create_new(mark).is_ok() {
            // SAFETY: touches no memory; this process ends here.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }
    fn body(_: ()) {
        kinfolk::set_forkserver_preload(killed_once).unwrap();
        assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
        let mark = std::env::var_os(MARK).unwrap();
        assert!(std::path::Path::new(&mark).exists(), "a server was killed");
        kinfolk::set_forkserver_preload(|| std::process::abort()).unwrap();
        let error = Process::spawn(add, (1, 2)).unwrap_err();
        assert!(error.to_string().contains("SIGABRT"), "{error}");
    }
    let _watchdog = watchdog("a_server_killed_before_it_takes_requests_is_started_again");
    let mark = std::env::temp_dir().join(format!("kinfolk-mark-{}", std::process::id()));
    let builder = Context::new(StartMethod::Spawn).builder().env(MARK, &mark);
    let done = builder.stderr(Stdio::null()).spawn(body, ()).unwrap().join();
    let _ = std::fs::remove_file(&mark);
    done.unwrap();
}

#[test]
fn a_limit_on_processes_is_felt_as_long_as_it_is_reached() {
    fn limit(most: u64) {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: 1000 };
        // SAFETY: reads one rlimit, which lives.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) }, 0);
    }
    /// Starts processes until that is refused.
    fn fill() -> Vec<Process<()>> {
        let mut held = Vec::new();
        loop {
            match Process::spawn(forever, ()) {
                Ok(process) => held.push(process),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                    assert!(error.to_string().contains("a limit on processes"), "{error}");
                    return held;
                }
            }
        }
    }
    fn body(_: ()) {
        // One that nobody else has: root itself is not limited.
        let user = 1_000_000 + std::process::id();
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setgid(user) }, 0);
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::setuid(user) }, 0);
        let starts = || Process::spawn(add, (1, 2)).unwrap().join().unwrap() == 3;
        // Room for a server, but not for the child that it tries itself with.
        limit(2);
        let _ = Process::spawn(add, (1, 2)).map(Process::join);
        limit(12);
        assert!(starts());
        assert_eq!(servers().len(), 1, "it was tried again");
        // What was refused while there were many says nothing when there are few.
        for process in fill() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        assert!(starts());
        // The server has the limits that this process had.
        let held = fill();
        limit(30);
        assert!(starts());
        for process in held {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
    // SAFETY: touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become a user without processes");
        return;
    }
    let _watchdog = watchdog("a_limit_on_processes_is_felt_as_long_as_it_is_reached");
    alone(body);
}

for_each_start_method! {
    fn a_umask_changed_between_two_starts_is_seen(method) {
        fn umask(_: ()) -> u32 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
            u32::from_str_radix(line.trim(), 8).unwrap()
        }
        fn body(method: StartMethod) {
            for mask in [0o027, 0o077, 0, 0o022] {
                // SAFETY: touches no memory; this process creates no files.
                unsafe { libc::umask(mask) };
                let process = Context::new(method).spawn(umask, ()).unwrap();
                assert_eq!(process.join().unwrap(), mask);
            }
        }
        // In a process of its own: the mask belongs to all threads.
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }

    fn a_robust_mutex_of_a_killed_child_tells_its_next_owner(method) {
        use std::os::fd::OwnedFd;
        fn die_with_it(memory: kinfolk::Handle<OwnedFd>) {
            let mutex = robust::map(&memory);
            assert_eq!(robust::lock(mutex), 0);
            // SAFETY: touches no memory; this process ends here.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        let memory = robust::memory();
        let mutex = robust::map(&memory);
        robust::init(mutex);
        for _ in 0..3 {
            let passed = kinfolk::Handle::from(memory.try_clone().unwrap());
            let process = Context::new(method).spawn(die_with_it, passed).unwrap();
            assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(9));
            assert_eq!(robust::lock(mutex), libc::EOWNERDEAD);
            robust::make_consistent_and_unlock(mutex);
        }
    }

    fn raise_and_abort_end_a_child_by_their_signal(method) {
        for (function, signal) in [
            // SAFETY: raise touches no memory of this process.
            ((|()| { unsafe { libc::raise(libc::SIGUSR1) }; }) as fn(()), 10),
            (|()| std::process::abort(), 6),
            (|()| { std::thread::spawn(|| std::process::abort()).join().unwrap(); }, 6),
            (|()| {
                // SAFETY: touches no memory.
                let this_thread = unsafe { libc::pthread_self() };
                // SAFETY: touches no memory; the thread is alive.
                unsafe { libc::pthread_kill(this_thread, libc::SIGUSR2) };
            }, 12),
        ] {
            let process =
                Context::new(method).builder().stderr(Stdio::null()).spawn(function, ()).unwrap();
            assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(signal));
        }
    }

    fn threads_of_a_child_have_ids_of_their_own_and_take_locks(method) {
        fn ids(_: ()) -> Vec<i32> {
            // SAFETY: touches no memory.
            let id = || unsafe { libc::gettid() };
            let lock = std::sync::Mutex::new(vec![id()]);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| lock.lock().unwrap().push(id()));
                }
            });
            lock.into_inner().unwrap()
        }
        let process = Context::new(method).spawn(ids, ()).unwrap();
        let pid = process.pid().cast_signed();
        let mut ids = process.join().unwrap();
        assert_eq!(ids[0], pid, "the first thread is the process");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 9);
    }
}

/// A robust mutex in memory that processes share.
mod robust {
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    /// Where a mutex lies.
    pub(super) type Mutex = *mut libc::pthread_mutex_t;

    /// Memory for a mutex.
    pub(super) fn memory() -> OwnedFd {
        // SAFETY: the name is a string ended by zero.
        let fd = unsafe { libc::memfd_create(c"robust".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: the kernel has just opened it for this caller.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 4096) }, 0);
        fd
    }

    /// Maps the memory for good.
    pub(super) fn map(memory: &OwnedFd) -> Mutex {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let (null, fd) = (std::ptr::null_mut(), memory.as_raw_fd());
        // SAFETY: a new mapping of a file of this size, chosen by the kernel.
        let start = unsafe { libc::mmap(null, 4096, both, libc::MAP_SHARED, fd, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        start.cast()
    }

    /// Makes a robust mutex that processes share.
    pub(super) fn init(mutex: Mutex) {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let at = attributes.as_mut_ptr();
        // SAFETY: fills the attributes, which live.
        assert_eq!(unsafe { libc::pthread_mutexattr_init(at) }, 0);
        // SAFETY: the attributes were filled above.
        let shared =
            unsafe { libc::pthread_mutexattr_setpshared(at, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        let robust = unsafe { libc::pthread_mutexattr_setrobust(at, libc::PTHREAD_MUTEX_ROBUST) };
        assert_eq!((shared, robust), (0, 0));
        // SAFETY: the mutex lies in a mapping that is large enough and kept for
        // good; nobody uses it yet.
        assert_eq!(unsafe { libc::pthread_mutex_init(mutex, at) }, 0);
    }

    /// Locks it; returns what the C library says.
    pub(super) fn lock(mutex: Mutex) -> i32 {
        // SAFETY: made by `init`, in a mapping that is kept for good.
        unsafe { libc::pthread_mutex_lock(mutex) }
    }

    /// Unlocks one whose owner had died.
    pub(super) fn make_consistent_and_unlock(mutex: Mutex) {
        // SAFETY: this thread has just locked it.
        assert_eq!(unsafe { libc::pthread_mutex_consistent(mutex) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(mutex) }, 0);
    }
}
