//! Start method `spawn`: the program is executed anew.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::{Launch, Started};
use crate::process::bootstrap::{MARKER, Role};
use crate::process::preparation::Environment;
use crate::sys::process::{self as sys_process, Exec};
use crate::{Error, ErrorKind, Result};

/// Starts the child.
///
/// # Errors
///
/// If the program cannot be executed.
pub(in crate::process) fn launch(launch: &mut Launch<'_>) -> Result<Started> {
    let (link, ends) = super::link()?;
    let program = Program {
        executable: launch.executable.as_deref(),
        environment: launch.environment.as_ref(),
        role: Role::Function,
        fds: &[ends.channel.as_fd(), ends.lifeline.as_fd()],
        lifeline: Some(ends.lifeline.as_fd()),
        cwd: launch.cwd.as_ref().map(|fd| fd.as_fd()),
        stdio: launch.stdio.each_ref().map(|end| end.as_ref().map(|fd| fd.as_fd())),
    };
    let (pid, pidfd) = program.exec()?;
    drop(ends);
    launch.tell_started(pid, pidfd, link)
}

/// A process of the library's program to execute.
pub(super) struct Program<'a> {
    /// The program, if not this one.
    pub(super) executable: Option<&'a Path>,
    /// The environment, if not this process's.
    pub(super) environment: Option<&'a Environment>,
    /// What the process is for.
    pub(super) role: Role,
    /// The file descriptors it gets, in the order its role expects.
    pub(super) fds: &'a [BorrowedFd<'a>],
    /// The one among them that ends it with this process.
    pub(super) lifeline: Option<BorrowedFd<'a>>,
    /// The working directory, if not this process's.
    pub(super) cwd: Option<BorrowedFd<'a>>,
    /// The standard streams, where not this process's.
    pub(super) stdio: [Option<BorrowedFd<'a>>; 3],
}

impl Program<'_> {
    /// Executes it.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn exec(&self) -> Result<(i32, OwnedFd)> {
        let executable = match self.executable {
            None => c"/proc/self/exe".to_owned(),
            Some(path) => CString::new(path.as_os_str().as_bytes()).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "the executable's path has a zero byte")
            })?,
        };
        let own_name = std::env::args_os().next().unwrap_or_default().into_vec();
        let mut words = vec![CString::new(own_name).unwrap_or_default(), MARKER.to_owned()];
        words.push(self.role.word().to_owned());
        for fd in self.fds {
            words.push(CString::new(fd.as_raw_fd().to_string()).unwrap_or_default());
        }
        let words: Vec<&CStr> = words.iter().map(|word| word.as_c_str()).collect();
        let environment = match self.environment {
            Some(environment) => environment.to_strings(),
            None => Environment::current().to_strings(),
        };
        sys_process::exec(&Exec {
            exe: &executable,
            argv: &words,
            env: &environment,
            keep: self.fds,
            lifeline: self.lifeline,
            cwd: self.cwd,
            stdio: self.stdio,
        })
        .map_err(|error| Error::io(error, format!("executing {}", executable.to_string_lossy())))
    }
}
