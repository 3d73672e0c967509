//! Peers of TCP that do not read for a while, and ends that are not in order.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use kinfolk::{Address, AuthKey, Client, Connection, ConnectionOptions, ErrorKind, Listener};
use kinfolk_testkit::watchdog;

kinfolk::test_init!();

/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(3);
/// For how long one does not read. That time passes is what the tests are about.
const PAUSE: Duration = Duration::from_secs(8);

/// The options of a test.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(b"known to both")).keep_alive(SILENCE)
}

/// A sender and a receiver that are connected by TCP.
fn connected(options: &ConnectionOptions) -> (Connection<(), ()>, Connection<(), ()>) {
    let listener = Listener::bind(Address::tcp("127.0.0.1", 0), options).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(listener.address(), options).unwrap());
        let accepted = listener.accept().unwrap();
        (accepted, client.join().unwrap())
    })
}

#[test]
fn a_peer_that_reads_late_gets_all_of_a_message_whose_sender_waits() {
    let _watchdog = watchdog("a_peer_that_reads_late_gets_all_of_a_message_whose_sender_waits");
    thread::scope(|scope| {
        for options in [options(), options().plain()] {
            scope.spawn(move || {
                let (sending, receiving) = connected(&options);
                // Larger than the buffers of both sides.
                let message = vec![7; 32 << 20];
                thread::scope(|scope| {
                    let sender = scope.spawn(|| sending.send_bytes(&message));
                    thread::sleep(PAUSE);
                    assert!(receiving.recv_bytes().unwrap() == message);
                    sender.join().unwrap().unwrap();
                });
            });
        }
    });
}

#[test]
fn a_peer_that_reads_late_gets_all_that_a_sender_left() {
    let _watchdog = watchdog("a_peer_that_reads_late_gets_all_that_a_sender_left");
    let (sending, receiving) = connected(&options().plain());
    // More than the receiver has room for, and about as much as the sender has.
    let message = vec![7; 1 << 10];
    thread::scope(|scope| {
        let message = &message;
        scope.spawn(move || {
            for _ in 0..1000 {
                sending.send_bytes(message).unwrap();
            }
            drop(sending);
        });
        thread::sleep(PAUSE);
        for _ in 0..1000 {
            assert!(receiving.recv_bytes().unwrap() == *message);
        }
    });
    assert!(receiving.recv_bytes().unwrap_err().is_disconnected());
}

#[test]
fn any_time_may_be_stated() {
    let _watchdog = watchdog("any_time_may_be_stated");
    for time in [Duration::ZERO, Duration::from_secs(65_534), Duration::MAX] {
        let (sending, receiving) = connected(&options().keep_alive(time));
        sending.send_bytes(b"there").unwrap();
        assert_eq!(receiving.recv_bytes().unwrap(), b"there");
    }
}

/// Ends a connection by a reset.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: reads one linger, which lives.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
    drop(stream);
}

#[test]
fn a_reset_does_not_claim_that_all_has_come() {
    let _watchdog = watchdog("a_reset_does_not_claim_that_all_has_come");
    let options = ConnectionOptions::new().without_authkey_on_tcp();
    let listener = Listener::bind(Address::tcp("127.0.0.1", 0), &options).unwrap();
    let Address::Tcp { port, .. } = *listener.address() else { panic!() };
    // Between two messages, in the middle of a header, and of what follows it.
    for part in [&b""[..], &[0, 0], &[0, 0, 0, 9, 1, 2]] {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let server = listener.accept::<(), ()>().unwrap();
        peer.write_all(&[0, 0, 0, 1, 7]).unwrap();
        assert_eq!(server.recv_bytes().unwrap(), [7]);
        peer.write_all(part).unwrap();
        // Some of it has been taken by the time of the reset, if there is some.
        if !part.is_empty() {
            assert!(server.poll(Duration::from_secs(60)).unwrap());
            assert_eq!(server.recv_bytes_timeout(Duration::ZERO).unwrap(), None);
        }
        reset(peer);
        let error = server.recv_bytes().unwrap_err();
        if part.is_empty() {
            assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
            assert!(error.to_string().contains("may be lost"), "{error}");
        } else {
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
        }
        assert!(server.recv_bytes().unwrap_err().to_string().contains("has ended"));
    }
}

#[test]
fn an_end_in_order_is_one() {
    let _watchdog = watchdog("an_end_in_order_is_one");
    let (one, other) = connected(&options().plain());
    one.send_bytes(b"goodbye").unwrap();
    drop(one);
    assert_eq!(other.recv_bytes().unwrap(), b"goodbye");
    let error = other.recv_bytes().unwrap_err();
    assert!(error.to_string().contains("all that it sent"), "{error}");
}
