//! Where a child's standard streams lead.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;

/// Where a child's standard input, output or error leads.
///
/// Anything that owns a file descriptor converts into it: a [`File`], an end of
/// [`std::io::pipe`], an [`OwnedFd`].
#[derive(Debug)]
pub struct Stdio(pub(super) Target);

/// The places a stream can lead to.
#[derive(Debug)]
pub(super) enum Target {
    /// Where the parent's leads.
    Inherit,
    /// Nowhere: reading ends at once, what is written is dropped.
    Null,
    /// This file.
    File(OwnedFd),
}

impl Stdio {
    /// Where the parent's stream leads when the child is started: the default.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Target::Inherit)
    }

    /// Nowhere: reading ends at once, what is written is dropped.
    #[must_use]
    pub fn null() -> Self {
        Self(Target::Null)
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(Target::File(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self(Target::File(file.into()))
    }
}

impl From<PipeReader> for Stdio {
    fn from(pipe: PipeReader) -> Self {
        Self(Target::File(pipe.into()))
    }
}

impl From<PipeWriter> for Stdio {
    fn from(pipe: PipeWriter) -> Self {
        Self(Target::File(pipe.into()))
    }
}
