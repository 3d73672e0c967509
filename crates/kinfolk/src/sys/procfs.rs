//! What `/proc` tells of other processes.

use std::fs;
use std::io;

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
    pub(crate) zombie: bool,
}

/// All processes that can be seen.
pub(crate) fn all() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        // One that ends meanwhile is none.
        if let Some(stat) =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(stat)
        {
            found.push(stat);
        }
    }
    Ok(found)
}

/// One process; `None` if there is none of that id.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a line of `/proc/PID/stat`. The name, in parentheses, may hold anything.
fn parse(pid: i32, line: &str) -> Option<Stat> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // The start time is the 22nd field; state was the third.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { pid, parent, started, zombie: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::{all, parse, stat};

    #[test]
    fn this_process_is_found() {
        let me = i32::try_from(std::process::id()).unwrap();
        let stat = stat(me).unwrap();
        assert!(stat.parent > 0 && !stat.zombie);
        assert!(all().unwrap().contains(&stat));
    }

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let line = "7 (a) R 1 (b) Z 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 99 22";
        let stat = parse(7, line).unwrap();
        assert_eq!((stat.parent, stat.started, stat.zombie), (3, 99, true));
        assert_eq!(parse(7, "7 (a"), None);
    }
}
