//! The process of a worker: one that the pool has started, or that its host has.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::process::signal_tree;
use crate::{ExitStatus, Process, Result};

/// The number of the signal that ends a process that does not mind.
const SIGTERM: i32 = 15;
/// The number of the signal that ends any.
const SIGKILL: i32 = 9;

/// The process of a worker.
pub(super) enum Body {
    /// Of the pool's own.
    Own(Process<()>),
    /// Of the host's, who tells how it ended.
    Hosted {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// What signals go to.
        pidfd: OwnedFd,
    },
}

impl Body {
    /// Whether it is the host's.
    pub(super) fn is_hosted(&self) -> bool {
        matches!(self, Self::Hosted { .. })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own(process) => process.name(),
            Self::Hosted { name, .. } => name,
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Own(process) => process.pid(),
            Self::Hosted { pid, .. } => *pid,
        }
    }

    /// How it ended; `None` while it runs, or if its host has to say.
    pub(super) fn exitcode(&self) -> Result<Option<ExitStatus>> {
        match self {
            Self::Own(process) => process.exitcode(),
            Self::Hosted { .. } => Ok(None),
        }
    }

    /// Asks it, and what it started, to end.
    pub(super) fn terminate_tree(&self) {
        let _ = match self {
            Self::Own(process) => process.terminate_tree(),
            Self::Hosted { pid, pidfd, .. } => signal_tree(*pid, pidfd.as_fd(), SIGTERM),
        };
    }

    /// Kills it, and what it started as far as that can be found.
    pub(super) fn kill_tree(&self) {
        match self {
            Self::Own(process) => {
                let _ = process.kill_tree();
                // Also where this process has dropped the privilege to send it signals.
                process.cut_lifeline();
            }
            Self::Hosted { pid, pidfd, .. } => {
                let _ = signal_tree(*pid, pidfd.as_fd(), SIGKILL);
            }
        }
    }
}

/// To wait for: readable when it has ended.
impl AsFd for Body {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(process) => process.as_fd(),
            Self::Hosted { pidfd, .. } => pidfd.as_fd(),
        }
    }
}
