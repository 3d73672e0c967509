//! Shared memory, with a name and without.

use std::process::Command;

use kinfolk::{Connection, Context, ErrorKind, Process, SharedMemory, pipe, wait};
use kinfolk_testkit::{for_each_start_method, watchdog};

kinfolk::test_init!();

/// A name of this test that no other run uses.
fn name(test: &str) -> String {
    format!("kinfolk-test-{}-{test}", std::process::id())
}

fn bytes(memory: &SharedMemory, offset: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    memory.read(offset, &mut bytes).unwrap();
    bytes
}

/// Creates memory, says so, and stays until it is killed.
fn create_and_stay((name, tell): (String, Connection<bool, ()>)) {
    let memory = SharedMemory::create(&name, 5000).unwrap();
    memory.write(0, b"left").unwrap();
    tell.send(&true).unwrap();
    loop {
        std::thread::park();
    }
}

for_each_start_method! {
    fn memory_travels_inside_a_value_and_is_the_same_there(method) {
        let memory = SharedMemory::new(10_000).unwrap();
        assert_eq!((memory.size(), memory.name()), (10_000, None));
        let answer = |memory: SharedMemory| {
            assert_eq!(bytes(&memory, 9_995, 5), b"there");
            memory.write(3, b"and back").unwrap();
        };
        memory.write(9_995, b"there").unwrap();
        let there = memory.try_clone().unwrap();
        Context::new(method).spawn(answer, there).unwrap().join().unwrap();
        assert_eq!(bytes(&memory, 0, 12), b"\0\0\0and back\0");
    }

    fn a_name_in_use_is_refused_and_one_left_by_a_killed_creator_is_reclaimed(method) {
        let name = name(&format!("left-{method:?}"));
        let (told, tell) = pipe::<(), bool>().unwrap();
        let creator: Process<()> =
            Context::new(method).spawn(create_and_stay, (name.clone(), tell)).unwrap();
        assert!(told.recv().unwrap());
        assert_eq!(SharedMemory::create(&name, 10).unwrap_err().kind(), ErrorKind::InUse);
        let attached = SharedMemory::attach(&name).unwrap();
        assert_eq!(bytes(&attached, 0, 4), b"left");
        creator.kill().unwrap();
        wait(&[&creator], None).unwrap();
        // Who is attached uses it still.
        assert_eq!(SharedMemory::create(&name, 10).unwrap_err().kind(), ErrorKind::InUse);
        attached.close();
        // A child that another test is starting has all descriptors until it executes.
        let again = loop {
            match SharedMemory::create(&name, 300) {
                Err(error) if error.kind() == ErrorKind::InUse => std::thread::yield_now(),
                again => break again.unwrap(),
            }
        };
        assert_eq!((again.size(), bytes(&again, 0, 300)), (300, vec![0; 300]));
        again.unlink().unwrap();
        assert_eq!(SharedMemory::attach(&name).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn what_is_outside_or_cannot_be_is_an_error() {
    let memory = SharedMemory::new(100).unwrap();
    assert_eq!(memory.write(97, b"long").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(memory.read(usize::MAX, &mut [0]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(memory.unlink().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SharedMemory::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SharedMemory::new(1 << 50).unwrap_err().kind(), ErrorKind::Exhausted);
    for name in ["", ".", "..", "a/b", "a\0b"] {
        assert_eq!(SharedMemory::create(name, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_limit_on_files_is_an_error_and_no_signal() {
    let _watchdog = watchdog("a_limit_on_files_is_an_error_and_no_signal");
    let limited = |()| {
        let me = std::process::id().to_string();
        Command::new("prlimit").args(["--pid", &me, "--fsize=4096:4096"]).status().unwrap();
        let small = SharedMemory::new(4096).is_ok();
        let large = SharedMemory::new(8192).map_err(|error| error.kind() == ErrorKind::Exhausted);
        small && large.is_err_and(|exhausted| exhausted)
    };
    assert!(Process::spawn(limited, ()).unwrap().join().unwrap());
}

#[test]
fn a_hundred_megabytes_travel_as_a_handle() {
    let memory = SharedMemory::new(100_000_000).unwrap();
    memory.write(99_999_999, b"!").unwrap();
    let (a, b) = pipe::<SharedMemory, ()>().unwrap();
    a.send(&memory).unwrap();
    let there: SharedMemory = b.recv().unwrap();
    assert_eq!(bytes(&there, 99_999_998, 2), b"\0!");
}

#[test]
fn python_and_this_library_share_a_name() {
    let _watchdog = watchdog("python_and_this_library_share_a_name");
    let name = name("python");
    let memory = SharedMemory::create(&name, 64).unwrap();
    memory.write(0, b"from here").unwrap();
    // Its resource tracker would remove the name at its end.
    let program = "
import sys
from multiprocessing import resource_tracker, shared_memory
memory = shared_memory.SharedMemory(sys.argv[1])
resource_tracker.unregister(memory._name, 'shared_memory')
assert bytes(memory.buf[:9]) == b'from here', bytes(memory.buf[:9])
memory.buf[10:15] = b'there'
memory.close()
";
    match Command::new("python3").args(["-c", program, &name]).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => eprintln!("skipped the part with Python: {error}"),
    }
    assert_eq!(bytes(&memory, 10, 5), b"there");
    memory.unlink().unwrap();
}
