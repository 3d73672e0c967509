//! Ending a process with all its descendants.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::status::SIGKILL;
use crate::sys::poll;
use crate::sys::process as sys_process;
use crate::sys::procfs::{self, Standing, Stat};
use crate::{Error, ErrorKind, Result};

/// The number of SIGSTOP and SIGCONT, which freeze and thaw.
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// How often the tree is looked at for new members before giving up.
const ROUNDS: usize = 100;

/// How long one look waits for members to stop that the kernel holds, in a `vfork` or
/// at a dead disk.
const HELD: Duration = Duration::from_millis(100);

/// How long it waits for others, which stop as soon as they have a processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a tree form of ending a process has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEnd {
    /// How many processes got the signal; 0 if the process had ended.
    pub signaled: usize,
    /// Whether these are known to be all.
    ///
    /// A descendant whose own parent has ended, and which the library did not
    /// start, has left the tree unnoticed, unless the process was started as a
    /// [`subreaper`](super::Builder::subreaper): only then this can be `true`.
    /// It is `false` also if one could not be signalled or made to stop first,
    /// if `/proc` hides processes, and if the process itself had ended, because
    /// its descendants are then its no more.
    pub complete: bool,
}

/// Signals a process that something else than this library started, and its
/// descendants, as [`Child::kill_tree`](crate::Child::kill_tree) does: `pidfd` and
/// `pid` are of the same process.
///
/// # Errors
///
/// If the system refuses it, or a process of this family may not be signalled.
pub fn signal_tree(pid: u32, pidfd: BorrowedFd<'_>, signal: i32) -> Result<TreeEnd> {
    let refuse = |_| Error::new(ErrorKind::InvalidInput, format!("no process has the id {pid}"));
    end_tree(i32::try_from(pid).map_err(refuse)?, pidfd, signal, false)
}

/// Signals the process `root` and its descendants. They are frozen first, and
/// looked for until there are no new ones, so that none escapes by forking.
///
/// Killed in the middle, this process leaves what it has frozen: the lifeline
/// ends those that the library started; the others stay stopped.
pub(super) fn end_tree(
    root: i32,
    pidfd: BorrowedFd<'_>,
    signal: i32,
    subreaper: bool,
) -> Result<TreeEnd> {
    let context = |error| Error::io(error, format!("ending the tree of process {root}"));
    if has_ended(pidfd).map_err(context)? {
        return Ok(TreeEnd { signaled: 0, complete: false });
    }
    sys_process::signal(pidfd, SIGSTOP).map_err(context)?;
    // From here on nothing may return early: the root is frozen.
    let mut tree = Tree { root, pidfd, members: BTreeMap::new(), complete: subreaper };
    if !tree.freeze().unwrap_or(false) {
        tree.complete = false;
    }
    let signaled = tree.signal_all(signal);
    if signal != SIGKILL {
        tree.signal_all(SIGCONT);
    }
    Ok(TreeEnd { signaled, complete: tree.complete })
}

/// A tree while it is being ended.
struct Tree<'a> {
    /// The id of its root.
    root: i32,
    /// Its root, for the kernel.
    pidfd: BorrowedFd<'a>,
    /// The descendants of the root that were found. No descriptor is kept of
    /// them, for a tree may have more members than this process descriptors.
    members: BTreeMap<i32, Stat>,
    /// Whether nothing yet speaks against these being all.
    complete: bool,
}

impl Tree<'_> {
    /// Freezes and finds members until there are no new ones. Returns whether
    /// all have stopped and were found.
    fn freeze(&mut self) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            // Before the look: what still runs may fork after it.
            let settled = self.settle()?;
            if !self.grow()? {
                return Ok(settled);
            }
        }
        Ok(false)
    }

    /// Waits until all have stopped; `false` if one does not.
    fn settle(&self) -> io::Result<bool> {
        let start = Instant::now();
        for pid in self.members.keys().chain([&self.root]) {
            loop {
                let patience = match procfs::threads(*pid)? {
                    Standing::Stopped => break,
                    Standing::Runs => PATIENCE,
                    Standing::Held => HELD,
                };
                if start.elapsed() >= patience {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(true)
    }

    /// Finds, freezes and adds members. Returns whether there were new ones.
    fn grow(&mut self) -> io::Result<bool> {
        let census = procfs::census()?;
        if census.partial {
            self.complete = false;
        }
        // Asked after the look: until then the id was the root's.
        if has_ended(self.pidfd)? {
            self.complete = false;
            return Ok(false);
        }
        let mut children: BTreeMap<i32, Vec<Stat>> = BTreeMap::new();
        for stat in census.processes.values() {
            children.entry(stat.parent).or_default().push(*stat);
        }
        // A member that has ended since may have left its id to another.
        let lives = |member: &Stat| is_same(census.processes.get(&member.pid), member);
        let mut parents: Vec<i32> =
            self.members.values().filter(|member| lives(member)).map(|member| member.pid).collect();
        parents.push(self.root);
        let mut grown = false;
        while let Some(parent) = parents.pop() {
            for child in children.remove(&parent).unwrap_or_default() {
                if child.ended || is_same(self.members.get(&child.pid), &child) {
                    continue;
                }
                match tell(&child, SIGSTOP) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    // Its descendants, and the signal itself, are tried all the same.
                    Err(_) => self.complete = false,
                }
                self.members.insert(child.pid, child);
                parents.push(child.pid);
                grown = true;
            }
        }
        Ok(grown)
    }

    /// Signals the members, then the root, which adopts what loses its parent.
    /// Returns how many got the signal.
    fn signal_all(&mut self, signal: i32) -> usize {
        let mut signaled = 0;
        for member in self.members.values() {
            match tell(member, signal) {
                Ok(reached) => signaled += usize::from(reached),
                Err(_) => self.complete = false,
            }
        }
        match sys_process::signal(self.pidfd, signal) {
            Ok(()) => signaled += 1,
            Err(_) => self.complete = false,
        }
        signaled
    }
}

/// Sends a signal to the process that was seen, and never to a later one of the
/// same id; `false` if it has ended.
fn tell(seen: &Stat, signal: i32) -> io::Result<bool> {
    let pidfd = match sys_process::pidfd_open(seen.pid) {
        Ok(pidfd) => pidfd,
        // Gone, or not: what cannot be seen is not known to be gone.
        Err(error) => {
            return if procfs::stat(seen.pid)?.is_none() { Ok(false) } else { Err(error) };
        }
    };
    if !is_same(procfs::stat(seen.pid)?.as_ref(), seen) {
        return Ok(false);
    }
    sys_process::signal(pidfd.as_fd(), signal)?;
    Ok(true)
}

/// Whether a process is still the one that was seen.
fn is_same(now: Option<&Stat>, seen: &Stat) -> bool {
    now.is_some_and(|now| now.started == seen.started)
}

/// Whether a process has ended.
fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    poll::ready(pidfd, Some(Instant::now()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{TreeEnd, end_tree};
    use crate::sys::process::pidfd_open;
    use crate::sys::procfs;

    /// Starts a shell, and waits for its first line.
    fn shell(script: &str) -> (Child, OwnedFd) {
        let mut child =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pidfd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pidfd)
    }

    /// Ends a shell's tree as if it were a subreaper.
    fn end(child: &Child, pidfd: &OwnedFd, signal: i32) -> TreeEnd {
        end_tree(i32::try_from(child.id()).unwrap(), pidfd.as_fd(), signal, true).unwrap()
    }

    /// The number of living processes that carry `word` in their command line.
    fn count(word: &str) -> usize {
        let census = procfs::census().unwrap();
        let living = census.processes.values().filter(|stat| !stat.ended);
        living
            .filter(|stat| {
                std::fs::read(format!("/proc/{}/cmdline", stat.pid))
                    .is_ok_and(|line| line.split(|byte| *byte == 0).any(|w| w == word.as_bytes()))
            })
            .count()
    }

    /// A time to sleep that no other test sleeps.
    fn marker(test: u32) -> String {
        format!("1000.{test}{}", std::process::id())
    }

    fn wait_until_none(word: &str) {
        let patience = Instant::now() + Duration::from_secs(60);
        while count(word) > 0 {
            assert!(Instant::now() < patience, "{} are left", count(word));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn nobody_escapes_by_forking() {
        let word = marker(1);
        let nest = format!("for i in $(seq 300); do (sleep {word} & wait) & done");
        let script = format!("({nest}; wait) & ({nest}; wait) & echo; {nest}; wait");
        for _ in 0..3 {
            let (mut child, pidfd) = shell(&script);
            let end = end(&child, &pidfd, 9);
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            wait_until_none(&word);
            assert!(end.signaled >= 1, "{end:?}");
        }
    }

    #[test]
    fn a_tree_that_stands_still_is_ended_completely() {
        let word = marker(2);
        let (mut child, pidfd) =
            shell(&format!("(sleep {word} & sleep {word} & wait) & echo; wait"));
        let patience = Instant::now() + Duration::from_secs(60);
        while count(&word) < 2 {
            assert!(Instant::now() < patience);
        }
        let end = end(&child, &pidfd, 9);
        assert_eq!((end.signaled, end.complete), (4, true));
        child.wait().unwrap();
        wait_until_none(&word);
    }

    #[test]
    fn a_name_that_is_no_text_does_not_help() {
        let word = marker(3);
        let (mut child, pidfd) = shell(&format!(
            "sh -c 'printf \"\\377\" > /proc/$$/comm; echo; sleep {word}; true' & wait"
        ));
        end(&child, &pidfd, 9);
        child.wait().unwrap();
        wait_until_none(&word);
    }

    #[test]
    fn who_handles_the_signal_is_thawed_and_goes_on() {
        let (mut child, pidfd) = shell("trap 'exit 3' TERM; echo; while :; do sleep 0.01; done");
        assert!(end(&child, &pidfd, 15).signaled >= 1);
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn what_has_ended_has_no_tree() {
        let (mut child, pidfd) = shell("echo");
        child.wait().unwrap();
        // Its id may be another's now: this process's own, at worst.
        let none = TreeEnd { signaled: 0, complete: false };
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(end_tree(me, pidfd.as_fd(), 9, true).unwrap(), none);
    }
}
