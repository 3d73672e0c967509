//! Starting a function in a process, and what comes back.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

use kinfolk::{
    Context, ErrorKind, ExitStatus, Handle, JoinTimeoutError, Process, StartMethod, Stdio,
};
use kinfolk_testkit::{for_each_start_method, in_its_own_process};
use serde::{Deserialize, Serialize};

kinfolk::test_init!();

fn start<A, R>(method: StartMethod, function: fn(A) -> R, argument: A) -> Process<R>
where
    A: Serialize + serde::de::DeserializeOwned,
    R: Serialize + serde::de::DeserializeOwned,
{
    Context::new(method).spawn(function, argument).expect("the process starts")
}

fn double<T: std::ops::Add<Output = T> + Copy>(n: T) -> T {
    n + n
}

/// Serialises, but does not come back.
#[derive(Debug, Serialize)]
struct CrashAtDecode;

impl<'de> Deserialize<'de> for CrashAtDecode {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("crash at decode")
    }
}

/// Does not serialise.
#[derive(Debug, Deserialize)]
struct ErrorAtEncode;

impl Serialize for ErrorAtEncode {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no thanks"))
    }
}

/// Ends the process while it is decoded.
#[derive(Debug, Serialize)]
struct ExitAtDecode;

impl<'de> Deserialize<'de> for ExitAtDecode {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        std::process::exit(7)
    }
}

/// Panics while it is serialised.
#[derive(Debug, Deserialize)]
struct CrashAtEncode;

impl Serialize for CrashAtEncode {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("crash at encode")
    }
}

for_each_start_method! {
    fn generic_functions_and_closures_run(method) {
        assert_eq!(start(method, double::<u32>, 21).join().unwrap(), 42);
        assert_eq!(start(method, double::<f64>, 0.5).join().unwrap(), 1.0);
        assert_eq!(start(method, |s: String| s.len(), "four".to_owned()).join().unwrap(), 4);
        assert_eq!(start(method, |(a, b): (u8, u8)| a + b, (1, 2)).join().unwrap(), 3);
    }

    fn large_argument_and_result_are_carried(method) {
        let argument = vec![7_u8; 16 << 20];
        let back = start(method, |bytes: Vec<u8>| bytes, argument.clone()).join().unwrap();
        assert_eq!(back, argument);
    }

    fn the_function_runs_in_another_process(method) {
        let process = start(method, |()| std::process::id(), ());
        let pid = process.pid();
        assert_ne!(pid, std::process::id());
        assert_eq!(process.join().unwrap(), pid);
    }

    fn a_panic_comes_back_with_message_place_name_and_pid(method) {
        let process = Context::new(method)
            .builder()
            .name("panicker")
            .stderr(Stdio::null())
            .spawn(|n: i32| -> i32 { panic!("number {n} is bad") }, 13)
            .unwrap();
        let pid = process.pid();
        let status = process.wait().unwrap();
        let error = process.join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        let text = error.to_string();
        assert!(text.contains("number 13 is bad"), "{text}");
        assert!(text.contains("tests/process.rs:"), "{text}");
        assert!(text.contains("`panicker`") && text.contains(&format!("pid {pid}")), "{text}");
        assert_eq!(status, ExitStatus::Exited(101));
    }

    fn an_argument_that_does_not_deserialise_is_an_error(method) {
        let process = Context::new(method)
            .builder()
            .stderr(Stdio::null())
            .spawn(|_: CrashAtDecode| (), CrashAtDecode)
            .unwrap();
        let error = process.join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deserialize);
        assert!(error.to_string().contains("crash at decode"), "{error}");
    }

    fn an_exit_while_decoding_is_an_error(method) {
        let error = start(method, |_: ExitAtDecode| (), ExitAtDecode).join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Died);
        assert!(error.to_string().contains("exited with status 7"), "{error}");
    }

    fn a_result_that_does_not_serialise_is_an_error(method) {
        let error = start(method, |()| ErrorAtEncode, ()).join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Serialize);
        let process = Context::new(method)
            .builder()
            .stderr(Stdio::null())
            .spawn(|()| CrashAtEncode, ())
            .unwrap();
        let error = process.join().unwrap_err();
        assert!(error.to_string().contains("crash at encode"), "{error}");
    }

    fn a_child_that_exits_or_aborts_is_an_error_that_says_how(method) {
        let error = start(method, |()| -> () { std::process::exit(3) }, ()).join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Died);
        assert!(error.to_string().contains("exited with status 3"), "{error}");
        let error = start(method, |()| -> () { std::process::abort() }, ()).join().unwrap_err();
        assert!(error.to_string().contains("SIGABRT"), "{error}");
    }

    fn handles_travel_in_arguments_and_results(method) {
        let (reader, writer) = std::io::pipe().unwrap();
        let process = start(
            method,
            |(text, out): (String, Handle<std::os::fd::OwnedFd>)| {
                let mut out = File::from(out.into_inner());
                out.write_all(text.as_bytes()).unwrap();
                Handle::from(File::open("/proc/self/cmdline").unwrap())
            },
            ("through the pipe".to_owned(), Handle::from(std::os::fd::OwnedFd::from(writer))),
        );
        let mut text = String::new();
        File::from(std::os::fd::OwnedFd::from(reader)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the pipe");
        let mut file = process.join().unwrap().into_inner();
        file.rewind().unwrap();
    }

    fn connections_travel_and_serve(method) {
        let (here, there) = kinfolk::pipe::<u64, u64>().unwrap();
        let process = start(
            method,
            |there: kinfolk::Connection<u64, u64>| {
                while let Ok(n) = there.recv() {
                    there.send(&(n * n)).unwrap();
                }
            },
            there,
        );
        for n in 0..100 {
            here.send(&n).unwrap();
            assert_eq!(here.recv().unwrap(), n * n);
        }
        here.close();
        process.join().unwrap();
    }

    fn a_handle_in_time_gives_the_result_and_out_of_time_comes_back(method) {
        let (hold, held) = kinfolk::pipe::<(), ()>().unwrap();
        let process = start(method, |held: kinfolk::Connection<(), ()>| held.recv().is_ok(), held);
        let process = match process.join_timeout(Duration::from_millis(1)) {
            Err(JoinTimeoutError::Timeout(process)) => process,
            other => panic!("{other:?}"),
        };
        hold.send(&()).unwrap();
        assert!(process.join_timeout(Duration::from_secs(60)).unwrap());
    }
}

#[test]
fn an_argument_that_does_not_serialise_starts_nothing() {
    let before = kinfolk_testkit::open_fds();
    let error = Process::spawn(|_: ErrorAtEncode| (), ErrorAtEncode).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    drop(before);
}

#[test]
fn a_program_that_never_calls_init_is_named_as_the_reason() {
    let error = Context::new(StartMethod::Spawn)
        .executable("/bin/false")
        .spawn(double::<u32>, 1)
        .unwrap()
        .join()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    let text = error.to_string();
    assert!(text.contains("exited with status 1") && text.contains("kinfolk::init()"), "{text}");
}

/// A program in a file. Nobody else may start a process meanwhile: it would hold the
/// file open for writing, and what is so cannot be executed.
fn script(name: &str, lines: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

in_its_own_process! {
    fn a_program_that_never_begins_is_killed_at_the_start_deadline() {
        let process = Context::new(StartMethod::Spawn)
            .executable(script("never-begins", "exec sleep 1000"))
            .builder()
            .start_timeout(Duration::from_millis(200))
            .spawn(double::<u32>, 1)
            .unwrap();
        let error = process.join().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Start);
        assert!(error.to_string().contains("did not begin within 200ms"), "{error}");
    }

    fn a_program_killed_before_it_begins_is_an_error_that_names_the_signal() {
        let path = script("is-killed", "kill -SEGV $$");
        for method in [StartMethod::Spawn, StartMethod::Forkserver] {
            let context = Context::new(method).executable(&path);
            let error = match context.spawn(double::<u32>, 1) {
                Ok(process) => process.join().unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::Start);
            let text = error.to_string();
            assert!(text.contains("SIGSEGV") && !text.contains("init"), "{text}");
        }
    }
}

#[test]
fn a_start_deadline_in_years_is_one() {
    let builder = Process::builder().start_timeout(Duration::MAX);
    assert_eq!(builder.spawn(double::<u32>, 1).unwrap().join().unwrap(), 2);
}

#[test]
fn an_executable_that_does_not_exist_is_an_error_at_once() {
    let error = Context::new(StartMethod::Spawn)
        .executable("/does/not/exist")
        .spawn(double::<u32>, 1)
        .unwrap_err();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[test]
fn a_function_outside_the_program_is_refused() {
    unsafe extern "C" {
        fn getpid() -> i32;
    }
    let address = getpid as *const ();
    // SAFETY: an address of code as a `fn` pointer; it is looked at, never called.
    let foreign = unsafe { std::mem::transmute::<*const (), fn(usize) -> usize>(address) };
    let error = Process::spawn(foreign, 1).unwrap_err();
    assert!(error.to_string().contains("dynamic library"), "{error}");
}

#[test]
fn fork_is_refused_while_threads_run_and_names_their_count() {
    let error = Context::new(StartMethod::Fork).spawn(double::<u32>, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let count = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(count > 1);
    let text = error.to_string();
    assert!(text.contains("threads") && text.chars().any(|c| c.is_ascii_digit()), "{text}");
}

#[test]
fn a_fork_carries_a_closure_that_captures() {
    fn body(n: u32) -> u32 {
        let numbers = [n, n + 1];
        let (here, there) = kinfolk::pipe::<u32, ()>().unwrap();
        let process =
            Process::builder().fork(|| numbers.iter().sum::<u32>() + there_value(&there)).unwrap();
        here.send(&100).unwrap();
        process.join().unwrap()
    }
    fn there_value(there: &kinfolk::Connection<(), u32>) -> u32 {
        there.recv().unwrap()
    }
    let process = Context::new(StartMethod::Spawn).spawn(body, 1).unwrap();
    assert_eq!(process.join().unwrap(), 103);
}
