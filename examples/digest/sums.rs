//! The output: what `sha256sum` writes, and `sha256sum --check` reads.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use crate::worker::Digest;

/// Writes the line of a file: digest, two blanks, path. A path that would break
/// the line has its backslashes and line ends escaped, and the line then begins
/// with a backslash. Any other byte stands for itself, valid UTF-8 or not.
pub(crate) fn write(out: &mut impl Write, digest: &Digest, path: &OsStr) -> io::Result<()> {
    let path = path.as_bytes();
    if path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        out.write_all(b"\\")?;
    }
    for byte in digest {
        write!(out, "{byte:02x}")?;
    }
    out.write_all(b"  ")?;
    for byte in path {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            _ => out.write_all(&[*byte])?,
        }
    }
    out.write_all(b"\n")
}
