//! The hand-written loop beside the pools: forked workers, a pipe to each and one back.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::ops::Range;

use crate::bench::Result;

/// Forked workers that call a function for chunks of numbers.
#[derive(Debug)]
pub(crate) struct Workers {
    /// To each of them, and from it.
    ends: Vec<(PipeWriter, PipeReader)>,
    /// Their processes.
    pids: Vec<libc::pid_t>,
    /// How many numbers a chunk has.
    chunk: usize,
    /// Where a chunk is on its way.
    buffer: Vec<u8>,
}

impl Workers {
    /// Forks workers. This process has no other thread.
    pub(crate) fn fork(count: usize, chunk: usize, function: fn(u64) -> u64) -> Result<Self> {
        let buffer = vec![0; chunk * size_of::<u64>()];
        let mut workers = Self { ends: Vec::new(), pids: Vec::new(), chunk, buffer };
        for _ in 0..count {
            let (requests, to) = pipe()?;
            let (from, results) = pipe()?;
            // SAFETY: a floor's process has one thread, so that its fork may do anything.
            match unsafe { libc::fork() } {
                -1 => return Err(std::io::Error::last_os_error().into()),
                0 => {
                    drop((to, from));
                    let status = i32::from(work(requests, results, chunk, function).is_err());
                    // SAFETY: always sound: it does not return and runs no handler.
                    unsafe { libc::_exit(status) }
                }
                pid => workers.pids.push(pid),
            }
            workers.ends.push((to, from));
        }
        Ok(workers)
    }

    /// Maps numbers, whole chunks of them, of which so many are at each worker at a time.
    pub(crate) fn map(
        &mut self,
        numbers: Range<u64>,
        ahead: usize,
        mut each: impl FnMut(u64),
    ) -> Result<()> {
        let chunks = usize::try_from(numbers.end - numbers.start)? / self.chunk;
        let under_way = ahead * self.ends.len();
        let mut numbers = numbers;
        for chunk in 0..chunks + under_way {
            let (to, from) = &mut self.ends[chunk % self.pids.len()];
            if chunk >= under_way && chunk - under_way < chunks {
                from.read_exact(&mut self.buffer)?;
                for number in self.buffer.as_chunks().0 {
                    each(u64::from_ne_bytes(*number));
                }
            }
            if chunk < chunks {
                for (place, number) in self.buffer.as_chunks_mut().0.iter_mut().zip(&mut numbers) {
                    *place = number.to_ne_bytes();
                }
                to.write_all(&self.buffer)?;
            }
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A worker ends when its pipe does, of which those forked after it have the
        // other end as well: all of them are closed first.
        self.ends.clear();
        for pid in &self.pids {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(*pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Calls the function for the numbers of each chunk, until there are no more.
fn work(
    mut requests: PipeReader,
    mut results: PipeWriter,
    chunk: usize,
    function: fn(u64) -> u64,
) -> Result<()> {
    let mut buffer = vec![0; chunk * size_of::<u64>()];
    loop {
        match requests.read_exact(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        for number in buffer.as_chunks_mut().0 {
            *number = function(u64::from_ne_bytes(*number)).to_ne_bytes();
        }
        results.write_all(&buffer)?;
    }
}
