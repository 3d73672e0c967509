//! What both benches of starting a process have in common.

use std::hint::black_box;

use kinfolk::{Context, StartMethod};

use crate::EXIT;
use crate::bench::{Batch, Case, Result, repeat};
use crate::stage::own_program;

/// How many processes a batch starts.
pub(super) const TIMES: u32 = 100;

/// The function of the children: its argument and result are typed.
fn successor(n: u64) -> u64 {
    n + 1
}

/// Makes `size` bytes resident. They stay until the process ends.
fn reside(size: u64) -> Result<()> {
    let memory = vec![1_u8; usize::try_from(size)?];
    black_box(memory.leak());
    Ok(())
}

/// Whether a child has done its work.
fn check(result: u64) -> Result<()> {
    if result == 1 { Ok(()) } else { Err("a wrong result".into()) }
}

/// kinfolk: start, typed result, join.
pub(super) fn kinfolk(case: Case, method: StartMethod) -> Result<Batch> {
    reside(case.size)?;
    let context = Context::new(method);
    repeat(TIMES, move || check(context.spawn(successor, 0)?.join()?))
}

/// procspawn: start, typed result, join.
pub(super) fn procspawn(case: Case) -> Result<Batch> {
    reside(case.size)?;
    repeat(TIMES, || check(procspawn::spawn(0, successor).join()?))
}

/// The standard library: start and wait, with no result.
pub(super) fn std_process(case: Case) -> Result<Batch> {
    reside(case.size)?;
    repeat(TIMES, || {
        let status = own_program().arg(EXIT).status()?;
        if status.success() { Ok(()) } else { Err(format!("a child: {status}").into()) }
    })
}
