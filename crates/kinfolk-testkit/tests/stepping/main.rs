//! Kills at every instruction: see `kinfolk_testkit::step`.
//!
//! Each test is a process of one thread. A system that refuses ptrace, and another
//! architecture than `x86_64`, has them ignored, and says so.

#[cfg(target_arch = "x86_64")]
mod large;
#[cfg(target_arch = "x86_64")]
mod lock;
#[cfg(target_arch = "x86_64")]
mod meeting;
#[cfg(target_arch = "x86_64")]
mod queue;
#[cfg(target_arch = "x86_64")]
mod semaphore;

use kinfolk::{Context, StartMethod};
use kinfolk_testkit::watchdog;
use libtest_mimic::{Arguments, Trial};

#[cfg(target_arch = "x86_64")]
const TESTS: &[(&str, fn(()))] = &[
    ("lock", lock::lock),
    ("lock::pairs", lock::pairs),
    ("lock::double_deaths", lock::double_deaths),
    ("rlock", lock::rlock),
    ("queue::sending", queue::sending),
    ("queue::receiving", queue::receiving),
    ("queue::leases", queue::leases),
    ("queue::forked", queue::forked),
    ("queue::pairs", queue::pairs),
    ("queue::double_deaths", queue::double_deaths),
    ("queue::large", large::large),
    ("queue::growth", large::growth),
    ("queue::sweep", large::sweep),
    ("semaphore", semaphore::semaphore),
    ("semaphore::signalling", semaphore::signalling),
    ("semaphore::bounded", semaphore::bounded),
    ("semaphore::pairs", semaphore::pairs),
    ("semaphore::double_deaths", semaphore::double_deaths),
    ("condition", meeting::condition),
    ("condition::double_deaths", meeting::condition_double_deaths),
    ("event", meeting::event),
    ("barrier", meeting::barrier),
    ("barrier::double_deaths", meeting::barrier_double_deaths),
];
#[cfg(not(target_arch = "x86_64"))]
const TESTS: &[(&str, fn(()))] = &[];

fn main() {
    let family = kinfolk::init();
    let arguments = Arguments::from_args();
    #[cfg(target_arch = "x86_64")]
    let possible = kinfolk_testkit::step::is_allowed();
    #[cfg(not(target_arch = "x86_64"))]
    let possible = false;
    if !possible {
        eprintln!("SKIPPED: nothing is killed step by step, for this system does not allow ptrace");
    }
    let trials = TESTS.iter().map(|(name, body)| {
        let run = move || {
            let _watchdog = watchdog(name);
            let process = Context::new(StartMethod::Spawn).spawn(*body, ());
            process.and_then(|process| process.join()).map_err(Into::into)
        };
        Trial::test(*name, run).with_ignored_flag(!possible)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(family);
    conclusion.exit();
}

/// Makes this process known to itself, as the first operation of each fork does.
#[cfg(target_arch = "x86_64")]
fn know_myself() {
    drop(kinfolk::Lock::new().expect("a lock").try_lock());
}
