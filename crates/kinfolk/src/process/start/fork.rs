//! Start method `fork`: the child has a copy of this process's memory.

use std::io::Write as _;

use super::{Launch, Started, Work};
use crate::process::{bootstrap, current};
use crate::sys::process as sys_process;
use crate::{Error, ErrorKind, Result};

/// Starts the child.
///
/// # Errors
///
/// If other threads run, or the system refuses.
pub(in crate::process) fn launch(launch: &mut Launch<'_>) -> Result<Started> {
    let carried = matches!(launch.work, Work::Closure(_));
    if !carried {
        check_threads()?;
    }
    let surroundings = &mut launch.preparation.surroundings;
    surroundings.environment = launch.environment.take();
    surroundings.cwd = launch.cwd.take().map(Into::into);
    if launch.stdio.iter().any(Option::is_some) {
        let inherited = super::forkserver::stdio(&launch.stdio)?;
        launch.preparation.surroundings.stdio = Some(inherited);
    }
    let (link, ends) = super::link()?;
    let forked = {
        // Another thread may be writing: the child would wait for it in vain.
        let (mut stdout, _stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
        // What is buffered here would be written by both.
        let _ = stdout.flush();
        current::across_fork(|| sys_process::fork(carried))
    };
    let forked = forked.map_err(|error| Error::io(error, "forking"))?;
    let Some(pid) = forked else { bootstrap::run_forked(launch, ends) };
    // The child waits for its preparation, so it is there to be opened.
    let pidfd = super::pidfd(pid)?;
    drop(ends);
    launch.tell_started(pid, pidfd, link)
}

/// An error while other threads run.
pub(in crate::process) fn check_threads() -> Result<()> {
    match sys_process::thread_count() {
        Ok(1) => Ok(()),
        Ok(count) => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the start method fork is refused while other threads run: this process has \
                 {count}; use forkserver or spawn"
            ),
        )),
        Err(error) => Err(Error::io(error, "counting this process's threads in /proc")),
    }
}
