//! From the SIGKILL of a pool's only worker until the next item is done. The worker
//! has been at an item that never ends for 20 ms. A batch's figure is its median.
//! (procspawn's pool hangs here.)

use std::time::{Duration, Instant};

use kinfolk::Pool;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Batch, Bench, CPYTHON, Case, KINFOLK, NANOSECONDS, Result};
use crate::script;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[(KINFOLK, kinfolk), (CPYTHON, |case| script::batch(NAME, case))],
    peers: &[],
};

/// Its name.
const NAME: &str = "pool-recovery";
/// How many workers a batch kills: odd, so that one is in the middle.
const TIMES: usize = 21;

/// A batch of kills, of which the median counts.
fn batch(mut recovery: impl FnMut() -> Result<Duration> + 'static) -> Result<Batch> {
    Ok(Box::new(move || {
        let mut times = (0..TIMES).map(|_| recovery()).collect::<Result<Vec<_>>>()?;
        times.sort();
        Ok(times[TIMES / 2].as_nanos() as f64)
    }))
}

/// Never returns.
fn stuck(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Returns the process.
fn process_id(_: ()) -> u32 {
    std::process::id()
}

/// Kills a process after a while, and says when.
fn kill(pid: u32) -> Result<Instant> {
    std::thread::sleep(Duration::from_millis(20));
    let now = Instant::now();
    kill_process(Pid::from_raw(pid.try_into()?).ok_or("no process")?, Signal::KILL)?;
    Ok(now)
}

/// A pool.
fn kinfolk(_case: Case) -> Result<Batch> {
    let pool = Pool::builder().workers(1).build()?;
    batch(move || {
        let pid = pool.apply(process_id, ())?;
        let lost = pool.apply_async(stuck, ())?;
        let next = pool.apply_async(process_id, ())?;
        let killed = kill(pid)?;
        let other = next.get()?;
        let time = killed.elapsed();
        if lost.get().is_ok() || other == pid {
            return Err("the worker was not killed".into());
        }
        Ok(time)
    })
}
