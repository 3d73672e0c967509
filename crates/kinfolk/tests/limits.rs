//! What happens when descriptors run out, and what failed starts leave.

use std::fs::File;

use kinfolk::{Context, ErrorKind, Handle, Process, StartMethod};
use kinfolk_testkit::{Leaks, children_of, for_each_start_method, open_fds, wait_until, watchdog};

kinfolk::test_init!();

/// Lowers this process's limit of file descriptors.
fn limit_descriptors(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: reads one rlimit, which lives.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// The number of this process's descriptors below 64, counted without one more.
fn number_of_fds() -> usize {
    // SAFETY: this command of fcntl touches no memory; what is not open is an error.
    (0..64).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).count()
}

/// What this process's descriptors lead to, by kind. Which they are changes with each
/// start: a forkserver is one child ahead.
fn kinds_of_fds() -> Vec<String> {
    let kind = |target: String| target.split(":[").next().unwrap_or_default().to_owned();
    let mut kinds: Vec<_> = open_fds().into_values().map(kind).collect();
    kinds.sort_unstable();
    kinds
}

fn park(_: ()) {
    loop {
        std::thread::park();
    }
}

fn add((a, b): (u32, u32)) -> u32 {
    a + b
}

for_each_start_method! {
    fn a_thousand_children_beyond_the_limit_of_descriptors_are_a_clear_error(method) {
        fn body(method: StartMethod) {
            limit_descriptors(256);
            let context = Context::new(method);
            // What the library keeps for good is made by the first start.
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            let before = kinds_of_fds();
            let mut children = Vec::new();
            let error = loop {
                assert!(children.len() < 1000, "the limit is reached before");
                match context.spawn(park, ()) {
                    Ok(child) => children.push(child),
                    Err(error) => break error,
                }
            };
            assert!(children.len() > 50, "{} children", children.len());
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
            let text = error.to_string();
            assert!(text.contains("no free file descriptor") && text.contains("ulimit"), "{text}");
            // None of them was harmed.
            assert!(children.iter().all(|child| child.is_alive()));
            // Room for one is room for one.
            let one = children.pop().unwrap();
            one.kill().unwrap();
            one.wait().unwrap();
            drop(one);
            assert_eq!(kinfolk::active_children().len(), children.len());
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            for child in children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert_eq!(kinds_of_fds(), before);
        }
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }

    fn failed_starts_leave_no_descriptor_no_child_and_memory_as_it_was(method) {
        fn body(method: StartMethod) {
            let context = Context::new(method);
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            // A server, and the child ahead, which comes when the server gets to it.
            let stay = if method == StartMethod::Forkserver { 2 } else { 0 };
            wait_until("the next one waits", || children_of(std::process::id()).len() == stay);
            let leaks = Leaks::snapshot();
            let on_the_heap: Vec<u64> = (0..100_000).collect();
            let on_the_stack: [u64; 1000] = std::array::from_fn(|n| n as u64 * 3);
            for _ in 0..100 {
                let error =
                    context.builder().current_dir("/does/not/exist").spawn(add, (1, 2)).unwrap_err();
                assert!(error.to_string().contains("/does/not/exist"), "{error}");
                if method == StartMethod::Spawn {
                    let missing = context.clone().executable("/does/not/exist");
                    assert!(missing.spawn(add, (1, 2)).is_err());
                    let no_program = context.clone().executable("/dev/null");
                    assert!(no_program.spawn(add, (1, 2)).is_err());
                }
                let daemon = context.builder().daemon(true).outlive_parent(true);
                assert_eq!(daemon.spawn(add, (1, 2)).unwrap_err().kind(), ErrorKind::InvalidInput);
            }
            assert_eq!(leaks.left(), Vec::<String>::new());
            assert!((0..).zip(&on_the_heap).all(|(n, word)| *word == n));
            assert!((0..).zip(&on_the_stack).all(|(n, word)| *word == n * 3));
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
        }
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }

    fn a_detached_child_that_has_ended_leaves_no_descriptor(method) {
        fn body(method: StartMethod) {
            let context = Context::new(method);
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            let before = kinds_of_fds();
            drop(context.spawn(park, ()).unwrap());
            let children = kinfolk::active_children();
            children[0].kill().unwrap();
            drop(children);
            wait_until("it is reaped", || kinfolk::active_children().is_empty());
            assert_eq!(kinds_of_fds(), before);
        }
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }

    fn starts_without_a_free_descriptor_fail_wherever_it_is_missing_and_leave_nothing(method) {
        fn body(method: StartMethod) {
            limit_descriptors(64);
            let context = Context::new(method);
            assert_eq!(context.spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
            let mut all = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                all.push(file);
            }
            // With one free descriptor more each time, another step finds none.
            for _ in 0..64 {
                let before = number_of_fds();
                match context.spawn(add, (1, 2)) {
                    Ok(process) => match process.join() {
                        Ok(sum) => {
                            assert_eq!(sum, 3);
                            return;
                        }
                        // A fork has no more than its parent.
                        Err(error) => assert_eq!(method, StartMethod::Fork, "{error}"),
                    },
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}"),
                }
                // The child ahead was there before, or is gone.
                assert!(number_of_fds() <= before);
                all.pop();
            }
            panic!("no start succeeds");
        }
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }
}

#[test]
fn too_many_descriptors_under_way_are_a_clear_error_and_later_sends_work() {
    const EACH: usize = 20;
    fn body(_: ()) {
        // The system counts them for those without privileges only.
        // SAFETY: touches no memory.
        let _ = unsafe { libc::setuid(65_534) };
        limit_descriptors(400);
        let (here, there) = kinfolk::pipe::<Vec<Handle<File>>, ()>().unwrap();
        let handles =
            || -> Vec<_> { (0..EACH).map(|_| File::open("/dev/null").unwrap().into()).collect() };
        let mut sent = 0;
        let error = loop {
            assert!(sent * EACH < 2000, "the limit is reached before");
            match here.send(&handles()) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(sent > 0);
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(error.to_string().contains("receive some first"), "{error}");
        // A start that has to pass descriptors fails as clearly, or goes without.
        match Process::spawn(add, (1, 2)) {
            Ok(process) => assert_eq!(process.join().unwrap(), 3),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}"),
        }
        for _ in 0..sent {
            assert_eq!(there.recv().unwrap().len(), EACH);
        }
        here.send(&handles()).unwrap();
        assert_eq!(there.recv().unwrap().len(), EACH);
        assert_eq!(Process::spawn(add, (1, 2)).unwrap().join().unwrap(), 3);
    }
    let _watchdog = watchdog("too_many_descriptors_under_way_are_a_clear_error");
    Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
}
