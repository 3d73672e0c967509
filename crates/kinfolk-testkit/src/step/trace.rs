//! A process that is stopped after every instruction: the system calls of it.
#![allow(unsafe_code)] // ptrace, a fork, shared memory.

use std::cell::Cell;
use std::ffi::{c_long, c_void};
use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::time::Duration;

/// A process id.
pub(super) type Pid = i32;

/// The size of a page, in bytes.
pub(super) const PAGE: usize = 4096;

/// How long a process may take for what it does freely, in seconds.
const PATIENCE: i64 = 20;

/// How a process ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As it wanted.
    Well,
    /// Otherwise, in words.
    Badly(String),
}

/// Why a traced process has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// One instruction further.
    Step,
    /// Before or after a system call.
    Syscall,
    /// It has stopped itself: at its beginning, and when it is done.
    Itself,
}

/// A process that goes on when it is told to. Killed when dropped, and when this
/// process ends.
#[derive(Debug)]
pub(super) struct Tracee {
    /// Its id.
    pid: Pid,
    /// How it goes on: a request of ptrace.
    pace: Cell<u32>,
    /// Whether it is reaped, and its id may be another's.
    ended: Cell<bool>,
}

impl Tracee {
    /// Starts one, up to where it first stops itself.
    ///
    /// # Errors
    ///
    /// In words, if it fails before.
    pub(super) fn start(work: impl FnOnce()) -> Result<Self, String> {
        let pid = fork(|| {
            // SAFETY: takes no memory.
            if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0 {
                work();
                stop_myself();
            }
        });
        let tracee = Self { pid, pace: Cell::new(libc::PTRACE_CONT), ended: Cell::new(false) };
        if tracee.wait()? != Stop::Itself {
            return Err("it does not stop where it should".to_owned());
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        tracee.request(libc::PTRACE_SETOPTIONS, 0, options.unsigned_abs().into())?;
        Ok(tracee)
    }

    /// Its id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its id, to be killed by it.
    pub(super) fn into_pid(self) -> Pid {
        let pid = self.pid;
        std::mem::forget(self);
        pid
    }

    /// What its next instruction is.
    pub(super) fn next(&self) -> Result<Next, String> {
        let place = self.register(RIP)?;
        Ok(match self.peek(place)?.to_le_bytes() {
            [0x0f, 0x05, ..] => {
                Next::Syscall(Syscall { number: self.register(RAX)?, second: self.register(RSI)? })
            }
            [0xf3, 0xa4 | 0xa5 | 0xaa | 0xab, ..] => Next::Copy { end: place + 2 },
            [0xf3, 0x48, 0xa5 | 0xab, ..] => Next::Copy { end: place + 3 },
            _ => Next::Other,
        })
    }

    /// Goes on by its next instruction, all of it.
    pub(super) fn step(&self, next: Next) -> Result<Stop, String> {
        if let Next::Copy { end } = next {
            return self.run_to(end);
        }
        self.go_on(libc::PTRACE_SINGLESTEP)?;
        self.wait()
    }

    /// Goes on until it is done.
    pub(super) fn finish(&self) -> Result<(), String> {
        self.go_on(libc::PTRACE_CONT)?;
        match self.wait()? {
            Stop::Itself => Ok(()),
            stop => Err(format!("it stopped: {stop:?}")),
        }
    }

    /// Goes on up to the next border of a system call.
    pub(super) fn to_syscall(&self) -> Result<Stop, String> {
        self.let_go()?;
        self.wait()
    }

    /// Goes on up to the next border of a system call, without waiting for it.
    pub(super) fn let_go(&self) -> Result<(), String> {
        self.go_on(libc::PTRACE_SYSCALL)
    }

    /// The system call that it is in.
    pub(super) fn syscall(&self) -> Result<Syscall, String> {
        Ok(Syscall { number: self.register(ORIG_RAX)?, second: self.register(RSI)? })
    }

    /// Waits until it stops.
    ///
    /// # Errors
    ///
    /// In words, if it ends, or hangs.
    pub(super) fn wait(&self) -> Result<Stop, String> {
        const SYSCALL: i32 = libc::SIGTRAP | 0x80;
        loop {
            let status = wait_for(self.pid).ok_or("it hangs")?;
            if !libc::WIFSTOPPED(status) {
                self.ended.set(true);
                return Err(format!("it ended: {status:#x}"));
            }
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP => return Ok(Stop::Step),
                SYSCALL => return Ok(Stop::Syscall),
                libc::SIGSTOP => return Ok(Stop::Itself),
                // A shell's, for the group of the tests.
                libc::SIGCONT | libc::SIGWINCH => self.go_on(self.pace.get())?,
                signal => return Err(format!("it got signal {signal}")),
            }
        }
    }

    /// Goes on at a pace, without waiting for the next stop.
    fn go_on(&self, pace: u32) -> Result<(), String> {
        self.pace.set(pace);
        self.request(pace, 0, 0).map(drop)
    }

    /// Goes on up to an instruction of its own code.
    fn run_to(&self, place: u64) -> Result<Stop, String> {
        const BREAK: u64 = 0xcc;
        let before = self.peek(place)?;
        self.request(libc::PTRACE_POKETEXT, place, before & !0xff | BREAK)?;
        self.go_on(libc::PTRACE_CONT)?;
        let stop = self.wait()?;
        self.request(libc::PTRACE_POKETEXT, place, before)?;
        self.request(libc::PTRACE_POKEUSER, RIP, place)?;
        Ok(stop)
    }

    /// A register.
    fn register(&self, register: u64) -> Result<u64, String> {
        self.request(libc::PTRACE_PEEKUSER, register, 0)
    }

    /// The word at an address.
    fn peek(&self, address: u64) -> Result<u64, String> {
        self.request(libc::PTRACE_PEEKTEXT, address, 0)
    }

    /// A request of ptrace, with words only.
    fn request(&self, request: u32, address: u64, data: u64) -> Result<u64, String> {
        let mut answer: c_long = 0;
        let peeks = matches!(request, libc::PTRACE_PEEKUSER | libc::PTRACE_PEEKTEXT);
        let data = if peeks { (&raw mut answer) as u64 } else { data };
        // SAFETY: concerns the memory of another process; of this one's only `answer`
        // is written to, by the requests that read.
        let done = unsafe { libc::syscall(libc::SYS_ptrace, request, self.pid, address, data) };
        if done == -1 {
            return Err(format!("ptrace {request}: {}", std::io::Error::last_os_error()));
        }
        Ok(answer.cast_unsigned())
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.ended.get() {
            kill(self.pid);
        }
    }
}

/// The next instruction of a process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// It makes a system call.
    Syscall(Syscall),
    /// It copies or fills memory, and would stop after every byte.
    Copy {
        /// Where it ends.
        end: u64,
    },
    /// Any other.
    Other,
}

/// Registers, as ptrace finds them.
const RSI: u64 = 13 * 8;
const RAX: u64 = 10 * 8;
const ORIG_RAX: u64 = 15 * 8;
const RIP: u64 = 16 * 8;

/// A system call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syscall {
    /// Its number.
    number: u64,
    /// Its second argument.
    second: u64,
}

impl Syscall {
    /// Whether it sleeps until others do something, or for a time.
    pub(super) fn sleeps(self) -> bool {
        const WAIT: u64 = libc::FUTEX_WAIT as u64;
        const WAIT_BITSET: u64 = libc::FUTEX_WAIT_BITSET as u64;
        match self.number as c_long {
            libc::SYS_futex => {
                matches!(self.second & !(libc::FUTEX_PRIVATE_FLAG as u64), WAIT | WAIT_BITSET)
            }
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_clock_nanosleep => true,
            libc::SYS_poll | libc::SYS_ppoll => self.second != 0,
            _ => false,
        }
    }

    /// Whether it closes a descriptor.
    pub(super) fn closes(self) -> bool {
        self.number as c_long == libc::SYS_close
    }

    /// Whether others may find out that it was made.
    pub(super) fn is_seen(self) -> bool {
        !matches!(
            self.number as c_long,
            libc::SYS_pread64
                | libc::SYS_openat
                | libc::SYS_open
                | libc::SYS_statx
                | libc::SYS_fstat
                | libc::SYS_newfstatat
                | libc::SYS_lseek
                | libc::SYS_poll
                | libc::SYS_ppoll
                | libc::SYS_getpid
                | libc::SYS_clock_gettime
                | libc::SYS_mmap
                | libc::SYS_munmap
                | libc::SYS_madvise
                | libc::SYS_brk
        )
    }
}

/// Whether a process may trace a child of its own, here.
#[must_use]
pub fn is_allowed() -> bool {
    match Tracee::start(stop_myself) {
        Ok(tracee) => tracee.step(Next::Other).is_ok(),
        Err(_) => false,
    }
}

/// Forks, without the handlers of `pthread_atfork`. The child calls `work`, and
/// ends; it is killed if this thread ends before.
pub(super) fn fork(work: impl FnOnce()) -> Pid {
    let mut thread_id: *mut c_void = std::ptr::null_mut();
    // SAFETY: writes to `thread_id` where the C library has the thread's id.
    unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut thread_id) };
    let flags = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // SAFETY: as `fork` does it: the child runs on a copy of this stack, and its
    // copy of the C library learns its id. This process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, thread_id, 0) };
    if pid != 0 {
        assert!(pid > 0, "a fork: {}", std::io::Error::last_os_error());
        return Pid::try_from(pid).expect("a process id");
    }
    // SAFETY: takes no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    // SAFETY: ends this process.
    unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
}

/// Stops this process until its tracer lets it go on.
pub(super) fn stop_myself() {
    // SAFETY: takes no memory.
    unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGSTOP) };
}

/// Kills a child and reaps it.
pub(super) fn kill(pid: Pid) {
    // SAFETY: a child that is not reaped yet, so it is no other's id.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while wait_for(pid).is_some_and(|status| libc::WIFSTOPPED(status)) {}
}

/// Waits for the end of a child and reaps it; `None` if it hangs.
pub(super) fn wait_for_end(pid: Pid) -> Option<Ended> {
    let status = wait_for(pid)?;
    Some(match status {
        0 => Ended::Well,
        _ if libc::WIFSIGNALED(status) => {
            Ended::Badly(format!("signal {}", libc::WTERMSIG(status)))
        }
        _ => Ended::Badly(format!("exit code {}", libc::WEXITSTATUS(status))),
    })
}

/// Waits until a child stops or ends; `None` if it does neither in time.
fn wait_for(pid: Pid) -> Option<i32> {
    let mut status = 0;
    let mut since = None;
    loop {
        // SAFETY: writes to `status`.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid {
            return Some(status);
        }
        // The alarm, which goes off every second.
        let now = now();
        if now - *since.get_or_insert(now) > Duration::from_secs(PATIENCE.cast_unsigned()) {
            return None;
        }
    }
}

/// Makes every wait of this process end once a second, so that it can be given up.
pub(super) fn start_alarm() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: zeros are such a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: a handler that does nothing; without a flag that restarts what it
    // interrupts.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    let second = libc::timeval { tv_sec: 1, tv_usec: 0 };
    let alarm = libc::itimerval { it_interval: second, it_value: second };
    // SAFETY: reads `alarm`; std's own wrapper does not exist.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const alarm, std::ptr::null_mut()) };
}

/// Keeps this process, and those that it forks, on one processor: stepping there
/// is four times as fast.
pub(super) fn stay_on_one_processor() {
    // SAFETY: zeros are a set of none.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes to `allowed`, whose size is given.
    unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
    // SAFETY: a number in the set's range, of a set that was read above.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &allowed) };
    let cpus: Vec<usize> =
        (0..libc::CPU_SETSIZE.unsigned_abs() as usize).filter(is_allowed).collect();
    let Some(cpu) = cpus.get(std::process::id() as usize % cpus.len().max(1)) else { return };
    // SAFETY: zeros are a set of none.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a number in the set's range.
    unsafe { libc::CPU_SET(*cpu, &mut one) };
    // SAFETY: reads `one`, whose size is given.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
}

/// The system's clock, the same in all processes.
pub(super) fn now() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Makes a page of zeros that is shared with forks, for good.
pub(super) fn shared_page() -> NonNull<u8> {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, chosen by the kernel.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, both, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED, "a page of memory");
    NonNull::new(page.cast()).expect("a page of memory")
}
