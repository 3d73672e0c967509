//! Waiting for many.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::time::Duration;

use kinfolk::{Connection, ErrorKind, Process, WaitSet, pipe, wait};
use kinfolk_testkit::watchdog;

kinfolk::test_init!();

#[test]
fn all_that_are_ready_are_returned() {
    let _watchdog = watchdog("all_that_are_ready_are_returned");
    let (a, b) = pipe::<u8, u8>().unwrap();
    let (c, d) = pipe::<u8, u8>().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let process = Process::spawn(|()| (), ()).unwrap();
    process.wait().unwrap();
    let objects: [&dyn AsFd; 4] = [&b, &d, &reader, &process];
    assert_eq!(wait(&objects, None).unwrap(), [3]);
    a.send(&1).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(wait(&objects, None).unwrap(), [0, 2, 3]);
    drop(c);
    assert_eq!(wait(&objects, None).unwrap(), [0, 1, 2, 3]);
}

#[test]
fn nothing_ready_ends_at_the_timeout() {
    let (_a, b) = pipe::<u8, u8>().unwrap();
    assert!(wait(&[&b], Some(Duration::from_millis(10))).unwrap().is_empty());
    assert!(wait(&[], Some(Duration::from_millis(1))).unwrap().is_empty());
}

#[test]
fn thousands_are_waited_for_at_once() {
    let _watchdog = watchdog("thousands_are_waited_for_at_once");
    fn body(_: ()) {
        let pipes: Vec<_> = std::iter::from_fn(|| pipe::<u32, ()>().ok()).take(2000).collect();
        assert!(pipes.len() > 400, "the limit on descriptors allows some");
        let ends: Vec<&dyn AsFd> = pipes.iter().map(|(_, end)| end as _).collect();
        let last = pipes.len() - 1;
        pipes[last].0.send(&1).unwrap();
        pipes[7].0.send(&1).unwrap();
        assert_eq!(wait(&ends, None).unwrap(), [7, last]);
    }
    Process::spawn(body, ()).unwrap().join().unwrap();
}

#[test]
fn a_set_registers_once_and_gives_its_objects_back() {
    let _watchdog = watchdog("a_set_registers_once_and_gives_its_objects_back");
    let mut set: WaitSet<Connection<(), u32>> = WaitSet::new().unwrap();
    let mut senders = Vec::new();
    for _ in 0..50 {
        let (sender, receiver) = pipe::<u32, ()>().unwrap();
        senders.push((set.insert(receiver).unwrap(), sender));
    }
    for round in 0..100_u32 {
        let (key, sender) = &senders[(round as usize * 7) % senders.len()];
        sender.send(&round).unwrap();
        assert_eq!(set.wait(None).unwrap(), [*key]);
        assert_eq!(set.get(*key).unwrap().recv().unwrap(), round);
    }
    let (key, sender) = senders.pop().unwrap();
    let receiver = set.remove(key).unwrap();
    sender.send(&1).unwrap();
    assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(set.remove(key).is_none() && set.get(key).is_none());
    drop(senders);
    assert_eq!(set.wait(None).unwrap().len(), set.len());
}

#[test]
fn a_set_takes_regular_files_and_the_same_object_twice() {
    let (sender, receiver) = pipe::<u32, ()>().unwrap();
    let file = File::open("/proc/self/exe").unwrap();
    let mut set: WaitSet<&dyn AsFd> = WaitSet::new().unwrap();
    let first = set.insert(&receiver).unwrap();
    let second = set.insert(&receiver).unwrap();
    assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
    sender.send(&1).unwrap();
    let mut ready = set.wait(None).unwrap();
    ready.sort_unstable();
    assert_eq!(ready, [first, second]);
    let always = set.insert(&file).unwrap();
    assert_eq!(set.wait(None).unwrap().len(), 3);
    assert!(set.remove(always).is_some());
}

#[test]
fn an_empty_set_without_a_timeout_is_an_error() {
    let mut set: WaitSet<File> = WaitSet::new().unwrap();
    assert_eq!(set.wait(None).unwrap_err().kind(), ErrorKind::InvalidInput);
}
