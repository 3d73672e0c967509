//! What a worker process does.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};

use kinfolk::Connection;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a file.
pub(crate) type Digest = [u8; 32];

/// What a worker says of a file: its digest, or why there is none.
pub(crate) type Answer = Result<Digest, String>;

/// How much of a file is read at a time.
const CHUNK: usize = 128 * 1024;

/// Answers each path that comes with the file's digest: a worker's whole life.
///
/// It ends when the parent closes its end of the pipe. If the parent is killed,
/// the worker is ended at once by the library, and needs not look for that.
pub(crate) fn work(parent: Connection<Answer, OsString>) {
    while let Ok(path) = parent.recv() {
        let answer = digest(&path).map_err(|error| error.to_string());
        if parent.send(&answer).is_err() {
            break;
        }
    }
}

/// The digest of a file.
fn digest(path: &OsStr) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(size) => hasher.update(&chunk[..size]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
