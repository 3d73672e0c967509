//! What a test must not leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::look::{children_of, open_fds};

/// What this process had at one moment.
#[derive(Debug)]
pub struct Leaks {
    /// The open file descriptors.
    fds: BTreeMap<u32, String>,
    /// The child processes.
    children: BTreeSet<u32>,
    /// The files in shared memory.
    shared: BTreeSet<String>,
}

impl Leaks {
    /// Takes down what this process has now.
    #[must_use]
    pub fn snapshot() -> Self {
        Self {
            fds: open_fds(),
            children: children_of(std::process::id()).into_iter().collect(),
            shared: shared_files(),
        }
    }

    /// Waits until this process has nothing that it did not have before.
    ///
    /// # Panics
    ///
    /// If something is left after a minute.
    pub fn check(&self) {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < patience, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What there is now and was not before, in words.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let now = Self::snapshot();
        let fds = now.fds.iter().filter(|(number, target)| self.fds.get(number) != Some(target));
        let fds = fds.map(|(number, target)| format!("fd {number}: {target}"));
        let children = now.children.difference(&self.children).map(|pid| format!("child {pid}"));
        let shared = now.shared.difference(&self.shared).map(|name| format!("/dev/shm/{name}"));
        fds.chain(children).chain(shared).collect()
    }
}

/// The names in `/dev/shm`.
fn shared_files() -> BTreeSet<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::Leaks;

    #[test]
    fn an_open_file_and_a_child_are_seen_and_their_end_too() {
        let before = Leaks::snapshot();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let left = before.left();
        assert!(left.iter().any(|line| line.contains("/dev/null")), "{left:?}");
        assert!(left.contains(&format!("child {}", child.id())), "{left:?}");
        drop(file);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!before.left().contains(&format!("child {}", child.id())));
    }
}
