//! What a child has of its parent: directory, environment, streams, descriptors.

use std::collections::BTreeMap;
use std::io::Read as _;

use kinfolk::{Connection, Context, Process, StartMethod, Stdio};
use kinfolk_testkit::{for_each_start_method, open_fds};

kinfolk::test_init!();

/// What a child sees.
type Seen = (String, String, Option<String>, u32, String);

fn see(_: ()) -> Seen {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    (
        std::env::current_dir().unwrap().display().to_string(),
        line("Umask:"),
        std::env::var("KINFOLK_TEST_VARIABLE").ok(),
        std::env::vars_os().count() as u32,
        line("SigBlk:"),
    )
}

for_each_start_method! {
    fn directory_environment_and_umask_are_the_parents_at_the_start(method) {
        // In a process of its own: what it changes belongs to all threads.
        fn body(method: StartMethod) {
            let context = Context::new(method);
            let before = context.spawn(see, ()).unwrap().join().unwrap();
            assert_eq!(before.0, std::env::current_dir().unwrap().display().to_string());
            std::env::set_current_dir("/").unwrap();
            std::process::Command::new("true").status().unwrap();
            // SAFETY: this process has one thread that reads or writes the environment.
            unsafe { std::env::set_var("KINFOLK_TEST_VARIABLE", "changed") };
            let after = context.spawn(see, ()).unwrap().join().unwrap();
            assert_eq!(after.0, "/");
            assert_eq!(after.2.as_deref(), Some("changed"));
            assert_eq!(after.3, std::env::vars_os().count() as u32);
            assert_eq!((after.1, after.4), (see(()).1, see(()).4));
        }
        Context::new(StartMethod::Spawn).spawn(body, method).unwrap().join().unwrap();
    }

    fn the_builder_says_otherwise(method) {
        let builder = || Context::new(method).builder().current_dir("/usr");
        let process = builder().env("KINFOLK_TEST_VARIABLE", "given").spawn(see, ()).unwrap();
        let seen = process.join().unwrap();
        assert_eq!((seen.0.as_str(), seen.2.as_deref()), ("/usr", Some("given")));
        let process = builder().env_clear().env("ONLY", "one").spawn(see, ()).unwrap();
        assert_eq!(process.join().unwrap().3, 1);
        let error = builder().current_dir("/does/not/exist").spawn(see, ()).unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }

    fn the_standard_streams_lead_where_the_builder_says(method) {
        let (mut out, writer) = std::io::pipe().unwrap();
        let process = Context::new(method)
            .builder()
            .stdin(Stdio::null())
            .stdout(writer)
            .spawn(
                |()| {
                    use std::io::Write as _;
                    let mut nothing = Vec::new();
                    std::io::stdin().read_to_end(&mut nothing).unwrap();
                    std::io::stdout().write_all(b"to the pipe").unwrap();
                    nothing.len()
                },
                (),
            )
            .unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "to the pipe");
        assert_eq!(process.join().unwrap(), 0);
    }

    fn a_child_has_its_streams_its_lifeline_its_channel_and_what_was_passed(method) {
        // Inherited by nobody but a fork.
        let _open = std::fs::File::open("/proc/self/maps").unwrap();
        let (_here, there) = kinfolk::pipe::<(), ()>().unwrap();
        fn fds(_there: Connection<(), ()>) -> BTreeMap<u32, String> {
            open_fds()
        }
        let seen = Context::new(method).spawn(fds, there).unwrap().join().unwrap();
        let beyond: Vec<&String> =
            seen.iter().filter(|(number, _)| **number > 2).map(|(_, target)| target).collect();
        let count = |kind: &str| beyond.iter().filter(|target| target.starts_with(kind)).count();
        if method == StartMethod::Fork {
            assert!(beyond.iter().any(|target| target.ends_with("/maps")), "{seen:?}");
            return;
        }
        // The channel and the connection, and the lifeline.
        assert_eq!((count("socket:"), count("pipe:")), (2, 1), "{seen:?}");
        assert_eq!(beyond.len(), 3, "{seen:?}");
    }

    fn threads_signals_and_abort_are_right_in_a_child(method) {
        let process = Context::new(method)
            .spawn(
                |()| {
                    let sum: u32 = (0..4)
                        .map(|n| std::thread::spawn(move || n))
                        .map(|thread| thread.join().unwrap())
                        .sum();
                    let lock = std::sync::Mutex::new(sum);
                    *lock.lock().unwrap()
                },
                (),
            )
            .unwrap();
        assert_eq!(process.join().unwrap(), 6);
        let process = Context::new(method)
            .builder()
            .stderr(Stdio::null())
            .spawn(|()| std::process::abort(), ())
            .map(|process: Process<()>| process)
            .unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(6));
    }
}

#[test]
fn a_forkserver_is_replaced_when_a_limit_changes() {
    fn limit(_: ()) -> String {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
    }
    fn body(_: ()) {
        let before = Process::spawn(limit, ()).unwrap().join().unwrap();
        let me = std::process::id().to_string();
        let status =
            std::process::Command::new("prlimit").args(["--pid", &me, "--core=4096:4096"]).status();
        // The command belongs to util-linux, which Debian always has.
        if !status.unwrap().success() {
            eprintln!("skipped: the limit cannot be changed here");
            return;
        }
        let after = Process::spawn(limit, ()).unwrap().join().unwrap();
        assert!(before == after || after.contains("4096"), "{after}");
        assert!(after.contains("4096"), "{before} / {after}");
    }
    Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
}

#[test]
fn the_preload_runs_once_before_all_children() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static LOADED: AtomicU32 = AtomicU32::new(0);
    fn body(_: ()) {
        kinfolk::set_forkserver_preload(|| {
            LOADED.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        for _ in 0..3 {
            let process = Process::spawn(|()| LOADED.load(Ordering::Relaxed), ()).unwrap();
            assert_eq!(process.join().unwrap(), 1);
        }
        kinfolk::set_forkserver_preload(|| panic!("cannot load")).unwrap();
        let error = Process::spawn(|()| (), ()).unwrap_err().to_string();
        assert!(error.contains("preload") && error.contains("cannot load"), "{error}");
        kinfolk::set_forkserver_preload(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
        })
        .unwrap();
        // With a thread in the server, a new program does its work.
        let process = Process::spawn(|()| std::env::args().nth(2), ()).unwrap();
        assert_eq!(process.join().unwrap().as_deref(), Some("function"));
    }
    let process =
        Context::new(StartMethod::Spawn).builder().stderr(Stdio::null()).spawn(body, ()).unwrap();
    process.join().unwrap();
}
