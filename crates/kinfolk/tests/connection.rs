//! Pipes: values, bytes, ends and hostile peers.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use kinfolk::{Connection, ErrorKind, Handle, Process, RecvIntoError, pipe, pipe_one_way, wait};
use kinfolk_testkit::watchdog;

kinfolk::test_init!();

#[test]
fn values_arrive_in_order_both_ways() {
    let (a, b) = pipe::<u32, String>().unwrap();
    for n in 0..1000 {
        a.send(&n).unwrap();
    }
    for n in 0..1000 {
        assert_eq!(b.recv().unwrap(), n);
    }
    b.send(&"back".to_owned()).unwrap();
    assert_eq!(a.recv().unwrap(), "back");
}

#[test]
fn bytes_of_every_size_arrive_whole() {
    let _watchdog = watchdog("bytes_of_every_size_arrive_whole");
    let (receiving, sending) = pipe_one_way::<()>().unwrap();
    let sizes = [0, 1, 4095, 4096, 4097, 65_536, 212_960, 1 << 20, (8 << 20) + 3, 64 << 20];
    let sender = std::thread::spawn(move || {
        for size in sizes {
            let bytes: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
            sending.send_bytes(&bytes).unwrap();
        }
    });
    for size in sizes {
        let bytes = receiving.recv_bytes().unwrap();
        assert_eq!(bytes.len(), size);
        assert!(bytes.iter().enumerate().all(|(place, byte)| *byte == (place % 251) as u8));
    }
    sender.join().unwrap();
    assert!(receiving.recv_bytes().unwrap_err().is_disconnected());
}

#[test]
fn a_receiver_waits_no_longer_than_it_says() {
    let (a, b) = pipe::<u8, u8>().unwrap();
    assert_eq!(a.try_recv().unwrap(), None);
    assert_eq!(a.recv_timeout(Duration::from_millis(5)).unwrap(), None);
    assert_eq!(a.recv_bytes_timeout(Duration::from_millis(5)).unwrap(), None);
    assert!(!a.poll(Duration::from_millis(5)).unwrap());
    b.send(&3).unwrap();
    assert!(a.poll(Duration::from_secs(60)).unwrap());
    assert_eq!(a.recv_timeout(Duration::from_secs(60)).unwrap(), Some(3));
    assert!(b.send_bytes_timeout(b"4", Duration::ZERO).unwrap());
    assert_eq!(a.recv_bytes_timeout(Duration::from_secs(60)).unwrap().unwrap(), b"4");
}

#[test]
fn a_sender_waits_no_longer_than_it_says_and_then_sends_nothing() {
    let (a, b) = pipe::<Vec<u8>, ()>().unwrap();
    let mut sent = 0;
    while a.send_timeout(&vec![0; 100_000], Duration::from_millis(5)).unwrap() {
        sent += 1;
    }
    assert!(sent > 0);
    drop(a);
    for _ in 0..sent {
        assert_eq!(b.recv().unwrap().len(), 100_000);
    }
    assert!(b.recv().unwrap_err().is_disconnected());
}

#[test]
fn the_end_comes_after_all_messages_even_if_the_peer_left_some_unread() {
    let (a, b) = pipe::<u8, u8>().unwrap();
    a.send(&1).unwrap();
    a.send(&2).unwrap();
    // `a` closes with this unread, which the kernel reports to `b` once.
    b.send(&9).unwrap();
    a.close();
    assert_eq!(b.recv().unwrap(), 1);
    assert_eq!(b.recv().unwrap(), 2);
    assert!(b.recv().unwrap_err().is_disconnected());
    assert!(b.send(&1).unwrap_err().is_disconnected());
}

#[test]
fn a_message_over_the_maximum_stays_in_the_queue() {
    let (a, b) = pipe::<(), ()>().unwrap();
    for size in [100, 16 << 20] {
        let sender = a.send_bytes(&vec![1; size]);
        sender.unwrap();
        let error = b.recv_bytes_max(size - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong);
        assert_eq!(b.recv_bytes_max(size).unwrap().len(), size);
    }
}

#[test]
fn a_buffer_too_short_gives_the_message_in_the_error() {
    let (a, b) = pipe::<(), ()>().unwrap();
    let mut buffer = [0; 4];
    a.send_bytes(b"four").unwrap();
    assert_eq!(b.recv_bytes_into(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"four");
    a.send_bytes(b"fives").unwrap();
    match b.recv_bytes_into(&mut buffer) {
        Err(RecvIntoError::BufferTooShort(error)) => assert_eq!(error.into_inner(), b"fives"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_of_another_type_is_an_error() {
    let (a, b) = pipe::<u64, ()>().unwrap();
    a.send_bytes(b"").unwrap();
    assert_eq!(b.recv().unwrap_err().kind(), ErrorKind::Deserialize);
    a.send_bytes(&[1, 2, 3]).unwrap();
    assert_eq!(b.recv().unwrap_err().kind(), ErrorKind::Deserialize);
}

#[test]
fn a_failed_serialisation_sends_nothing_and_leaks_nothing() {
    struct Bad(File);
    impl serde::Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple as _;
            let mut tuple = serializer.serialize_tuple(2)?;
            tuple.serialize_element(&Handle::from(self.0.try_clone().unwrap()))?;
            Err(serde::ser::Error::custom("not this one"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Bad {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            unreachable!("nothing is sent")
        }
    }
    fn body(_: ()) {
        let (a, b) = pipe::<Bad, Bad>().unwrap();
        let bad = Bad(File::open("/dev/null").unwrap());
        let before = kinfolk_testkit::open_fds();
        for _ in 0..10 {
            assert_eq!(a.send(&bad).unwrap_err().kind(), ErrorKind::Serialize);
        }
        assert_eq!(kinfolk_testkit::open_fds(), before);
        assert!(b.try_recv().unwrap().is_none());
    }
    Process::spawn(body, ()).unwrap().join().unwrap();
}

#[test]
fn handles_arrive_and_too_many_are_refused_by_number() {
    let (a, b) = pipe::<Vec<Handle<OwnedFd>>, ()>().unwrap();
    let handle = || Handle::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    a.send(&(0..252).map(|_| handle()).collect()).unwrap();
    assert_eq!(b.recv().unwrap().len(), 252);
    let error = a.send(&(0..253).map(|_| handle()).collect()).unwrap_err();
    assert!(error.to_string().contains("252 handles, not 253"), "{error}");
    assert!(b.try_recv().unwrap().is_none());
}

#[test]
fn without_a_free_descriptor_a_message_with_handles_stays_in_the_queue() {
    fn body(_: ()) {
        let (a, b) = pipe::<Handle<File>, ()>().unwrap();
        a.send(&Handle::from(File::open("/dev/null").unwrap())).unwrap();
        let mut all = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            all.push(file);
        }
        let error = b.recv().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(error.to_string().contains("stays in the queue"), "{error}");
        all.pop();
        assert!(b.recv().is_ok());
    }
    Process::spawn(body, ()).unwrap().join().unwrap();
}

#[test]
fn a_connection_travels_through_a_connection() {
    let (a, b) = pipe::<Connection<u8, u8>, ()>().unwrap();
    let (inner, sent) = pipe::<u8, u8>().unwrap();
    a.send(&sent).unwrap();
    drop(sent);
    let received = b.recv().unwrap();
    inner.send(&5).unwrap();
    assert_eq!(received.recv().unwrap(), 5);
    drop(received);
    assert!(inner.recv().unwrap_err().is_disconnected());
}

#[test]
fn several_writers_and_readers_of_one_end_see_whole_messages_once() {
    let _watchdog = watchdog("several_writers_and_readers_of_one_end_see_whole_messages_once");
    type Sending = Connection<(u32, u32, Vec<u8>), ()>;
    fn write((end, name, count): (Sending, u32, u32)) {
        for number in 0..count {
            // Sizes that differ, so that a reader is often surprised.
            let size = (number * 7919 + name * 104_729) % 20_000;
            end.send(&(name, number, vec![name as u8; size as usize])).unwrap();
        }
    }
    fn read(end: Connection<(), (u32, u32, Vec<u8>)>) -> Vec<(u32, u32)> {
        let mut seen = Vec::new();
        while let Ok((name, number, bytes)) = end.recv() {
            assert!(bytes.iter().all(|byte| u32::from(*byte) == name));
            seen.push((name, number));
        }
        seen
    }
    let (a, b) = pipe::<(u32, u32, Vec<u8>), ()>().unwrap();
    let copy = |end: &Connection<_, _>| {
        let (x, y) = pipe::<Connection<(u32, u32, Vec<u8>), ()>, ()>().unwrap();
        x.send(end).unwrap();
        y.recv().unwrap()
    };
    let writers: Vec<_> =
        (0..3).map(|name| Process::spawn(write, (copy(&a), name, 500)).unwrap()).collect();
    drop(a);
    let (x, y) = pipe::<Connection<(), (u32, u32, Vec<u8>)>, ()>().unwrap();
    x.send(&b).unwrap();
    x.send(&b).unwrap();
    drop(b);
    let readers: Vec<_> =
        (0..2).map(|_| Process::spawn(read, y.recv().unwrap()).unwrap()).collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let mut all: Vec<(u32, u32)> = Vec::new();
    for reader in readers {
        let seen = reader.join().unwrap();
        for name in 0..3 {
            let numbers: Vec<u32> =
                seen.iter().filter(|(from, _)| *from == name).map(|(_, number)| *number).collect();
            assert!(numbers.is_sorted(), "in order for each writer");
        }
        all.extend(seen);
    }
    all.sort_unstable();
    let expected: Vec<_> = (0..3).flat_map(|name| (0..500).map(move |n| (name, n))).collect();
    assert_eq!(all, expected);
}

#[test]
fn killed_writers_and_readers_lose_no_sent_message_but_the_one_received() {
    let _watchdog =
        watchdog("killed_writers_and_readers_lose_no_sent_message_but_the_one_received");
    type Numbers = Connection<(u32, u64), ()>;
    fn write((end, name, log): (Numbers, u32, Connection<u64, ()>)) {
        for number in 0.. {
            if end.send(&(name, number)).is_err() {
                return;
            }
            // Only what `send` returned for is claimed.
            if log.send(&number).is_err() {
                return;
            }
        }
    }
    let (a, b) = pipe::<(u32, u64), ()>().unwrap();
    let mut sent: Vec<Option<u64>> = Vec::new();
    let mut received: Vec<(u32, u64)> = Vec::new();
    for name in 0..10 {
        let (log_end, log) = pipe::<u64, ()>().unwrap();
        let (x, y) = pipe::<Numbers, ()>().unwrap();
        x.send(&a).unwrap();
        let writer = Process::spawn(write, (y.recv().unwrap(), name, log_end)).unwrap();
        let wanted = 50 + u64::from(name) * 37;
        while received.iter().filter(|(from, _)| *from == name).count() < wanted as usize {
            received.push(b.recv().unwrap());
            while log.try_recv().is_ok_and(|one| one.is_some()) {}
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        while let Some(one) = b.try_recv().unwrap() {
            received.push(one);
        }
        let mut last = None;
        while let Ok(number) = log.recv() {
            last = Some(number);
        }
        sent.push(last);
    }
    for (name, last) in (0..).zip(sent) {
        let numbers: Vec<u64> =
            received.iter().filter(|(from, _)| *from == name).map(|(_, n)| *n).collect();
        let whole: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, whole, "each once and in order");
        if let Some(last) = last {
            assert!(numbers.len() as u64 > last, "every message whose send returned arrives");
        }
    }
}

#[test]
fn the_end_is_seen_at_once_when_the_last_writer_is_killed() {
    let _watchdog = watchdog("the_end_is_seen_at_once_when_the_last_writer_is_killed");
    fn hold(end: Connection<u8, ()>) {
        end.send(&1).unwrap();
        loop {
            std::thread::park();
        }
    }
    let (a, b) = pipe::<u8, ()>().unwrap();
    let process = Process::spawn(hold, a).unwrap();
    assert_eq!(b.recv().unwrap(), 1);
    process.kill().unwrap();
    assert!(b.recv().unwrap_err().is_disconnected());
    assert_eq!(wait(&[&b], Some(Duration::ZERO)).unwrap(), [0]);
}
