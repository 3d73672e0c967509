//! Random kills for a long time, with everything that was promised counted after.
//!
//! Each part takes a share of 10 seconds, or of those in `KINFOLK_SOAK`: `ci/test`
//! gives it 8, in its long form 600.

mod crew;
mod queues;
mod sync;
mod words;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

kinfolk::test_init!();

/// A share of the time for all.
fn share(part: u32, of: u32) -> Duration {
    let seconds = std::env::var("KINFOLK_SOAK").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10)) * part / of
}

/// One after the other: side by side they would only take each other's time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes each function a test in a process of its own, one at a time, under a
/// watchdog that lets it have its share of the time.
macro_rules! soaks {
    ($( $(#[$attribute:meta])* fn $name:ident(($part:literal of $of:literal)) = $body:path; )*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            let _turn = turn();
            let time = share($part, $of);
            let _watchdog = kinfolk_testkit::watchdog_after(stringify!($name), time);
            kinfolk::Context::new(kinfolk::StartMethod::Spawn)
                .spawn($body, time)
                .expect("the process for the test starts")
                .join()
                .expect("the test passes");
        }
    )*};
}

soaks! {
    /// At most what one call of a killed receiver had taken is missing.
    fn queues_lose_nothing_but_what_a_killed_call_had_taken((8 of 20)) = queues::plain;

    /// Nothing is missing, and nothing comes again but what a dead process held.
    fn queues_lose_nothing_that_is_on_lease((7 of 20)) = queues::on_lease;

    /// Nobody is let in but by the release or the death of the holder.
    fn a_lock_excludes_and_its_heirs_repair((1 of 20)) = sync::lock;

    /// Permits are never lost nor multiplied.
    fn a_semaphore_keeps_its_permits((1 of 20)) = sync::semaphore;

    /// No notification is swallowed.
    fn a_condition_notifies_who_lives((1 of 20)) = sync::condition;

    /// Who waits goes on once it is set, whoever dies.
    fn an_event_wakes_all_whoever_set_it((1 of 20)) = sync::event;

    /// Each death breaks it, and between two all meet equally often.
    fn a_barrier_breaks_for_all_or_for_none((1 of 20)) = sync::barrier;
}
