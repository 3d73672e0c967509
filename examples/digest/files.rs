//! Finding the files.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What is under a folder.
#[derive(Default)]
pub(crate) struct Found {
    /// The paths of the regular files.
    pub(crate) files: Vec<OsString>,
    /// What could not be looked into, and why.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

/// Finds the regular files under `root`, as `find ROOT -type f` does: links are
/// not followed, but for `root` itself; pipes, sockets and devices are passed over.
pub(crate) fn find(root: &Path) -> Found {
    let mut found = Found::default();
    let mut folders = Vec::new();
    match fs::metadata(root) {
        Ok(kind) if kind.is_dir() => folders.push(root.to_owned()),
        Ok(kind) if kind.is_file() => found.files.push(root.into()),
        Ok(_) => found.fault(root, ErrorKind::NotADirectory.into()),
        Err(error) => found.fault(root, error),
    }
    while let Some(folder) = folders.pop() {
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    found.sort_in(&folder, entry, &mut folders);
                }
            }
            Err(error) => found.fault(&folder, error),
        }
    }
    found
}

impl Found {
    /// Sorts in what was read from `folder`: files here, further folders there.
    fn sort_in(&mut self, folder: &Path, entry: io::Result<DirEntry>, folders: &mut Vec<PathBuf>) {
        match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok((path, kind)) if kind.is_dir() => folders.push(path),
            Ok((path, kind)) if kind.is_file() => self.files.push(path.into()),
            Ok(_) => {}
            Err(error) => self.fault(folder, error),
        }
    }

    /// Takes down what could not be looked into.
    fn fault(&mut self, path: &Path, error: io::Error) {
        self.unreadable.push((path.to_owned(), error));
    }
}
