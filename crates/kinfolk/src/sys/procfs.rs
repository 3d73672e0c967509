//! What `/proc` tells of other processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::fd::with_free_descriptors;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its id.
    pub(crate) pid: i32,
    /// Its parent's id.
    pub(crate) parent: i32,
    /// When it started: with the id, what tells it from a later one.
    pub(crate) started: u64,
    /// Whether it has ended and is not reaped.
    pub(crate) ended: bool,
    /// What it, or the thread that this is of, is at.
    pub(crate) standing: Standing,
}

/// What a process or thread is at; of several threads, the first of these that one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// The kernel keeps it from its program and from signals, perhaps for long.
    Held,
    /// It runs, or will as soon as it has a processor or is woken.
    Runs,
    /// It runs no instruction of its program before it is told to go on.
    Stopped,
}

/// All processes that can be seen.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// The processes by their ids.
    pub(crate) processes: BTreeMap<i32, Stat>,
    /// Whether there may be some that cannot be seen.
    pub(crate) partial: bool,
}

/// Takes down all processes that can be seen.
pub(crate) fn census() -> io::Result<Census> {
    let mut census = Census { partial: hides_processes(), ..Census::default() };
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match stat(pid) {
            Ok(Some(stat)) => {
                census.processes.insert(pid, stat);
            }
            // It ended meanwhile.
            Ok(None) => {}
            Err(_) => census.partial = true,
        }
    }
    Ok(census)
}

/// One process; `None` if there is none of that id.
pub(crate) fn stat(pid: i32) -> io::Result<Option<Stat>> {
    read(pid, &Path::new("/proc").join(pid.to_string()).join("stat"))
}

/// The number of this process's pid namespace.
pub(crate) fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// What the threads of a process are at; stopped if it has ended.
pub(crate) fn threads(pid: i32) -> io::Result<Standing> {
    let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
        Err(error) if is_gone(&error) => return Ok(Standing::Stopped),
        tasks => tasks?,
    };
    let mut standing = Standing::Stopped;
    for task in tasks {
        let task = match task {
            Err(error) if is_gone(&error) => return Ok(Standing::Stopped),
            task => task?,
        };
        if let Some(stat) = read(pid, &task.path().join("stat"))? {
            standing = standing.min(stat.standing);
        }
    }
    Ok(standing)
}

/// Reads a `stat` file; `None` if what it is of has ended and was reaped.
fn read(pid: i32, path: &Path) -> io::Result<Option<Stat>> {
    let content = match fs::read(path) {
        // Whether a process lives must be known with no descriptor free, too.
        Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            with_free_descriptors(|| fs::read(path)).flatten()
        }
        content => content,
    };
    match content {
        Ok(line) => parse(pid, &line).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error means that there is no such process.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Reads a line of `/proc/PID/stat`. The name, in parentheses, may hold any byte.
fn parse(pid: i32, line: &[u8]) -> Option<Stat> {
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&line[after_name..]).ok()?.split_ascii_whitespace();
    // The fields by their numbers in proc(5): 3, 4, 20 and 22.
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    let zombie = matches!(state, "Z" | "X");
    // A process whose first thread alone has ended shows as a zombie, but runs.
    let ended = zombie && threads <= 1;
    let standing = match state {
        "D" => Standing::Held,
        "Z" | "X" | "T" | "t" => Standing::Stopped,
        _ => Standing::Runs,
    };
    Some(Stat { pid, parent, started, ended, standing })
}

/// Whether `/proc` is mounted so that it hides processes of other users.
pub(super) fn hides_processes() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return true };
    let proc = |line: &&str| line.split_ascii_whitespace().nth(4) == Some("/proc");
    // The last one covers those before it.
    mounts.lines().rfind(proc).is_none_or(|line| line.contains("hidepid="))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::{Standing, census, parse, stat, threads};

    #[test]
    fn this_process_is_found_and_runs() {
        let me = i32::try_from(std::process::id()).unwrap();
        let stat = stat(me).unwrap().unwrap();
        assert!(stat.parent > 0 && !stat.ended);
        let found = census().unwrap().processes[&me];
        assert_eq!((found.parent, found.started), (stat.parent, stat.started));
        assert!(threads(me).unwrap() <= Standing::Runs);
    }

    #[test]
    fn no_process_is_none_and_stopped() {
        assert_eq!(stat(i32::MAX).unwrap(), None);
        assert_eq!(threads(i32::MAX).unwrap(), Standing::Stopped);
    }

    #[test]
    fn a_name_that_is_no_text_hides_nobody() {
        let script = r"printf '\377) Z (' > /proc/$$/comm; echo; exec sleep 1000 < /dev/null";
        let script = script.replace("exec ", "");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = census().unwrap().processes.get(&pid).copied();
        Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert!(!found.ended);
        assert_eq!(found.parent.unsigned_abs(), std::process::id());
    }

    #[test]
    fn the_fields_are_those_after_the_name() {
        let line = b"7 (a) R 1 (b) Z 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1 20 99 22";
        let stat = parse(7, line).unwrap();
        assert_eq!((stat.parent, stat.started), (3, 99));
        assert!(stat.ended && stat.standing == Standing::Stopped);
        assert_eq!(parse(7, b"7 (a"), None);
        assert_eq!(parse(7, b"7 (a) R 1 2 3"), None);
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_runs() {
        let line = b"7 (a) Z 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 2 20 99 22";
        assert!(!parse(7, line).unwrap().ended);
    }
}
