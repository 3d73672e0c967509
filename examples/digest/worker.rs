//! What the workers do.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a file.
pub(crate) type Digest = [u8; 32];

/// How much of a file is read at a time.
const CHUNK: usize = 128 * 1024;

/// The digest of a file, or why there is none.
pub(crate) fn digest(path: OsString) -> Result<Digest, String> {
    read(path.as_ref()).map_err(|error| error.to_string())
}

/// Digests a file as it is read.
fn read(path: &Path) -> io::Result<Digest> {
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
