//! Ending a process with all its descendants.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::status::SIGKILL;
use crate::sys::process as sys_process;
use crate::sys::procfs::{self, Stat};
use crate::{Error, Result};

/// The number of SIGSTOP and SIGCONT, which freeze and thaw.
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// How often the tree is looked at for new members before giving up.
const ROUNDS: usize = 100;

/// What a tree form of ending a process has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEnd {
    /// How many processes got the signal.
    pub signaled: usize,
    /// Whether these are known to be all.
    ///
    /// A descendant whose own parent has ended, and which the library did not
    /// start, has left the tree unnoticed, unless the process was started as a
    /// [`subreaper`](super::Builder::subreaper): only then this can be `true`.
    pub complete: bool,
}

/// Signals the process `root` and its descendants. They are frozen first, and
/// looked for until there are no new ones, so that none escapes by forking.
pub(super) fn end_tree(
    root: i32,
    pidfd: BorrowedFd<'_>,
    signal: i32,
    subreaper: bool,
) -> Result<TreeEnd> {
    let context = |error| Error::io(error, format!("ending the tree of process {root}"));
    sys_process::signal(pidfd, SIGSTOP).map_err(context)?;
    let mut members: BTreeMap<i32, (Stat, OwnedFd)> = BTreeMap::new();
    let mut complete = false;
    for _ in 0..ROUNDS {
        let (grown, refused) = grow(root, &mut members).map_err(context)?;
        if refused || !grown {
            complete = !refused;
            break;
        }
    }
    let mut signaled = 0;
    let ends = members.values().map(|(_, member)| member.as_fd()).chain([pidfd]);
    for member in ends {
        match sys_process::signal(member, signal) {
            Ok(()) => signaled += 1,
            Err(_) => complete = false,
        }
        if signal != SIGKILL {
            // What cannot be thawed could not be frozen.
            let _ = sys_process::signal(member, SIGCONT);
        }
    }
    Ok(TreeEnd { signaled, complete: complete && subreaper })
}

/// Freezes the descendants of `root` that are not members yet, and adds them.
/// Returns whether there were any, and whether one could not be frozen.
fn grow(root: i32, members: &mut BTreeMap<i32, (Stat, OwnedFd)>) -> std::io::Result<(bool, bool)> {
    let mut grown = false;
    let all = procfs::all()?;
    loop {
        let before = members.len();
        for stat in &all {
            let inside = stat.parent == root || members.contains_key(&stat.parent);
            if !inside || stat.zombie || stat.pid == root || members.contains_key(&stat.pid) {
                continue;
            }
            let Ok(pidfd) = sys_process::pidfd_open(stat.pid) else { continue };
            // The id may have passed to another process since it was read.
            if procfs::stat(stat.pid).is_none_or(|now| now.started != stat.started) {
                continue;
            }
            if sys_process::signal(pidfd.as_fd(), SIGSTOP).is_err() {
                return Ok((grown, true));
            }
            members.insert(stat.pid, (*stat, pidfd));
            grown = true;
        }
        if members.len() == before {
            return Ok((grown, false));
        }
    }
}
