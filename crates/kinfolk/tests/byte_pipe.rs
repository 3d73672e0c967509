//! Ends of pipes that are plain descriptors.

use std::os::fd::AsFd as _;
use std::time::Duration;

use kinfolk::{BytePipe, ErrorKind};

/// A time that only a hang takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn messages_of_any_size_come_whole_and_in_order() {
    let [a, b] = BytePipe::pair().unwrap();
    let (a, b) = (BytePipe::new(a.as_fd()), BytePipe::new(b.as_fd()));
    for size in [0, 1, 1024, 70_000, 9 << 20] {
        let message = vec![7; size];
        assert!(a.send_timeout(&message, Duration::ZERO).unwrap());
        assert!(b.poll_timeout(Duration::ZERO).unwrap());
        assert_eq!(*b.recv_timeout(usize::MAX, Duration::ZERO).unwrap().unwrap(), *message);
    }
    assert!(!b.poll_timeout(Duration::from_millis(1)).unwrap());
    assert!(b.recv_timeout(usize::MAX, Duration::from_millis(1)).unwrap().is_none());
}

#[test]
fn a_full_pipe_is_waited_for_in_time() {
    let [a, b] = BytePipe::pair().unwrap();
    let (a, b) = (BytePipe::new(a.as_fd()), BytePipe::new(b.as_fd()));
    for size in [1000, 100_000] {
        let message = vec![1; size];
        let mut sent = 0;
        while a.send_timeout(&message, Duration::from_millis(1)).unwrap() {
            sent += 1;
        }
        assert!(sent > 0);
        for _ in 0..sent {
            assert_eq!(b.recv_timeout(usize::MAX, LONG).unwrap().unwrap().len(), size);
        }
    }
}

#[test]
fn a_message_over_the_maximum_stays() {
    let [a, b] = BytePipe::pair().unwrap();
    let b = BytePipe::new(b.as_fd());
    assert!(BytePipe::new(a.as_fd()).send_timeout(b"four", LONG).unwrap());
    let error = b.recv_timeout(3, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong);
    assert_eq!(*b.recv_timeout(4, LONG).unwrap().unwrap(), *b"four");
}

#[test]
fn the_end_of_the_other_side_ends_every_wait() {
    let [a, b] = BytePipe::pair().unwrap();
    let b = BytePipe::new(b.as_fd());
    assert!(BytePipe::new(a.as_fd()).send_timeout(b"last", LONG).unwrap());
    let closer = std::thread::spawn(move || drop(a));
    assert_eq!(*b.recv_timeout(usize::MAX, LONG).unwrap().unwrap(), *b"last");
    let error = b.recv_timeout(usize::MAX, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(b.poll_timeout(LONG).unwrap());
    assert_eq!(b.send_timeout(b"x", LONG).unwrap_err().kind(), ErrorKind::Disconnected);
    closer.join().unwrap();
}

#[test]
fn only_ends_of_pipes_are_such() {
    let [a, _b] = BytePipe::pair().unwrap();
    assert!(BytePipe::new(a.as_fd()).is_end());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(!BytePipe::new(stream.as_fd()).is_end());
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(!BytePipe::new(reader.as_fd()).is_end());
}
