//! Parents that do what a library does not expect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use kinfolk::{Connection, Context, ErrorKind, ExitStatus, StartMethod, Stdio};
use kinfolk_testkit::{for_each_start_method, is_gone, open_fds, wait_until};

kinfolk::test_init!();

fn add((a, b): (u32, u32)) -> u32 {
    a + b
}

fn fds(_: ()) -> BTreeMap<u32, String> {
    open_fds()
}

fn forever(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Runs `body` in a process of its own.
fn alone(body: fn(StartMethod), method: StartMethod) {
    let builder = Context::new(StartMethod::Spawn).builder();
    builder.spawn(body, method).unwrap().join().unwrap();
}

for_each_start_method! {
    fn closed_standard_streams_are_no_place_for_the_librarys_descriptors(method) {
        fn body(method: StartMethod) {
            for number in 0..3 {
                // SAFETY: nobody owns the standard streams.
                unsafe { libc::close(number) };
            }
            let context = Context::new(method);
            let (word, there) = kinfolk::pipe::<u32, u32>().unwrap();
            let echo = |there: Connection<u32, u32>| {
                there.send(&(there.recv().unwrap() + 1)).unwrap();
            };
            let process = context.spawn(echo, there).unwrap();
            word.send(&1).unwrap();
            assert_eq!(word.recv().unwrap(), 2);
            process.join().unwrap();
            // What a child has as its streams is nobody's channel or lifeline.
            let held = context.builder().daemon(true).spawn(forever, ()).unwrap();
            let seen = context.spawn(fds, ()).unwrap().join().unwrap();
            for number in 0..3 {
                let target = seen.get(&number).map_or("closed", String::as_str);
                // A fork has copies also of what is harmless in it: pidfds.
                let fine = if method == StartMethod::Fork {
                    !["socket:", "pipe:", "/memfd:"].iter().any(|kind| target.starts_with(kind))
                } else {
                    ["closed", "/dev/null"].contains(&target)
                };
                assert!(fine, "{number}: {seen:?}");
            }
            // The builder's streams have their numbers.
            let process = context.builder().stdin(Stdio::null()).spawn(fds, ()).unwrap();
            assert_eq!(process.join().unwrap().get(&0).unwrap(), "/dev/null");
            held.kill().unwrap();
            assert_eq!(held.wait().unwrap(), ExitStatus::Signaled(9));
        }
        alone(body, method);
    }

    fn results_come_back_while_sigchld_is_ignored(method) {
        fn body(method: StartMethod) {
            // SAFETY: no handler is involved.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            let context = Context::new(method);
            for _ in 0..10 {
                assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            }
            let process = context.spawn(forever, ()).unwrap();
            assert!(process.is_alive());
            process.kill().unwrap();
            // The kernel reaped it: from Linux 6.15 on it tells how it ended.
            let status = process.wait().unwrap();
            assert!([ExitStatus::Signaled(9), ExitStatus::Unknown].contains(&status), "{status}");
            // Killed before or after it began.
            let kind = process.join().unwrap_err().kind();
            assert!([ErrorKind::Start, ErrorKind::Died].contains(&kind), "{kind:?}");
            let late = context.spawn(forever, ()).unwrap();
            drop(late);
            for child in kinfolk::active_children() {
                child.kill().unwrap();
            }
            wait_until("all are gone", || kinfolk::active_children().is_empty());
        }
        alone(body, method);
    }
}

/// Calls `waitpid(-1)` until told to stop, as some other code in the process might.
fn wait_for_anybody(stop: &AtomicBool) -> u32 {
    let mut taken = 0;
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: a null status is allowed.
        if unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {
            taken += 1;
        }
        std::thread::yield_now();
    }
    taken
}

#[test]
fn results_come_back_while_something_else_waits_for_all_children() {
    fn body(method: StartMethod) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let thief = scope.spawn(|| wait_for_anybody(&stop));
            let context = Context::new(method);
            let mut failed = None;
            for _ in 0..50 {
                let process = context.spawn(add, (1, 2)).unwrap();
                let pid = process.pid();
                match process.join() {
                    Ok(sum) => assert_eq!(sum, 3),
                    Err(error) => failed = Some(error),
                }
                assert!(is_gone(pid));
                let process = context.spawn(forever, ()).unwrap();
                process.kill().unwrap();
                let status = process.wait().unwrap();
                let known = [ExitStatus::Signaled(9), ExitStatus::Unknown];
                assert!(known.contains(&status), "{status}");
            }
            stop.store(true, Ordering::Relaxed);
            let taken = thief.join().unwrap();
            eprintln!("{taken} of 100 ends were taken");
            assert!(failed.is_none(), "{failed:?}");
        });
    }
    let _watchdog = kinfolk_testkit::watchdog("something_else_waits_for_all_children");
    for method in [StartMethod::Spawn, StartMethod::Forkserver] {
        alone(body, method);
    }
}
