//! How a process ended.

use std::fmt;

use crate::sys::process::Reaped;

/// The number of the signal that [`Child::terminate`](super::Child::terminate) sends.
pub(crate) const SIGTERM: i32 = 15;
/// The number of the signal that [`Child::kill`](super::Child::kill) sends.
pub(crate) const SIGKILL: i32 = 9;
/// The number of the signal that [`Child::interrupt`](super::Child::interrupt) sends.
pub(crate) const SIGINT: i32 = 2;

/// The exit status of a child whose function panicked, as in Rust's own `main`.
pub(crate) const PANICKED: i32 = 101;
/// The exit status of a child that could not take its arguments or give its result.
pub(crate) const FAILED: i32 = 1;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "exitcode")]
pub enum ExitStatus {
    /// It exited with this status: 0 after its function returned, 101 after a panic.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It ended, but something else in this process took its status away (a
    /// `waitpid(-1)`, or SIGCHLD ignored), and neither the kernel (6.15 or
    /// later) nor the process itself had told how.
    Unknown,
}

impl From<Reaped> for ExitStatus {
    fn from(reaped: Reaped) -> Self {
        match reaped {
            Reaped::Exited(code) => Self::Exited(code),
            Reaped::Signaled(signal) => Self::Signaled(signal),
            Reaped::Unknown => Self::Unknown,
        }
    }
}

impl ExitStatus {
    /// Whether it exited with status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The exit status, if it exited.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal's number, if a signal ended it.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signaled(signal) => Some(signal),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signaled(signal) => match signal_name(signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Unknown => f.write_str("ended, its exit status taken by a foreign wait"),
        }
    }
}

/// The name of a signal that ends processes; the numbers are those of all Linux
/// architectures that the library supports.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        SIGINT => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        SIGTERM => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn display_names_status_and_signal() {
        assert_eq!(ExitStatus::Exited(3).to_string(), "exited with status 3");
        assert_eq!(ExitStatus::Signaled(9).to_string(), "was killed by signal 9 (SIGKILL)");
        assert_eq!(ExitStatus::Signaled(64).to_string(), "was killed by signal 64");
    }
}
