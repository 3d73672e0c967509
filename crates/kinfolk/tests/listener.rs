//! Listeners and clients: addresses, keys, values and ends.

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use kinfolk::{
    Address, AuthKey, Client, Connection, ConnectionOptions, ErrorKind, Handle, Listener, Process,
    RecvIntoError, WaitSet, answer_challenge, answer_challenge_timeout, deliver_challenge,
    deliver_challenge_timeout, pipe, wait,
};
use kinfolk_testkit::watchdog;

kinfolk::test_init!();

/// The options of a test: a key that all its sides know.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(b"known to both"))
}

/// Where connections are made, and how: by unix sockets, TCP that is encrypted, and TCP that
/// is not.
fn everywhere() -> [(Option<Address>, ConnectionOptions); 3] {
    let tcp = Some(Address::tcp("127.0.0.1", 0));
    [(None, options()), (tcp.clone(), options()), (tcp, options().plain())]
}

/// A folder of one test.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("listener-{name}-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

/// A listener and a client that are connected.
fn connected<S: Send + 'static, R: Send + 'static>(
    address: Option<Address>,
    options: &ConnectionOptions,
) -> (Connection<S, R>, Connection<R, S>) {
    let listener = Listener::bind(address, options).unwrap();
    let (address, copy) = (listener.address().clone(), options.clone());
    let client = thread::spawn(move || Client::connect(address, &copy).unwrap());
    let accepted = listener.accept().unwrap();
    (accepted, client.join().unwrap())
}

#[test]
fn values_and_bytes_go_both_ways() {
    let _watchdog = watchdog("values_and_bytes_go_both_ways");
    for (address, options) in everywhere() {
        let (server, client) = connected::<String, u32>(address, &options);
        client.send(&7).unwrap();
        assert_eq!(server.recv().unwrap(), 7);
        server.send(&"seven".to_owned()).unwrap();
        assert_eq!(client.recv().unwrap(), "seven");
        client.send_bytes(b"").unwrap();
        client.send_bytes(b"bytes").unwrap();
        assert_eq!(server.recv_bytes().unwrap(), b"");
        assert_eq!(server.recv_bytes().unwrap(), b"bytes");
        drop(client);
        assert!(server.recv().unwrap_err().is_disconnected());
    }
}

#[test]
fn another_key_is_refused_and_the_listener_goes_on() {
    let _watchdog = watchdog("another_key_is_refused_and_the_listener_goes_on");
    for (address, options) in everywhere() {
        let listener = Listener::bind(address, &options).unwrap();
        let address = listener.address().clone();
        let client = thread::spawn(move || {
            let wrong = options.clone().authkey(AuthKey::from_bytes(b"another"));
            let error = Client::connect::<(), ()>(&address, &wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
            Client::connect::<u8, u8>(&address, &options).unwrap().send(&1).unwrap();
        });
        assert_eq!(listener.accept::<u8, u8>().unwrap().recv().unwrap(), 1);
        client.join().unwrap();
        assert_eq!(listener.refused(), 1);
        let reason = listener.take_refusal().unwrap();
        assert_eq!(reason.kind(), ErrorKind::Authentication);
        assert!(reason.to_string().contains("another key"), "{reason}");
        assert!(listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap().is_none());
    }
}

#[test]
fn a_message_of_any_size_arrives_whole() {
    let _watchdog = watchdog("a_message_of_any_size_arrives_whole");
    let sizes = [0, 1, 16_383, 16_384, 16_385, 65_518, 65_519, 65_520, 262_076, 262_077, 3 << 20];
    for (address, options) in everywhere() {
        let (server, client) = connected::<String, ()>(address, &options);
        let sender = thread::spawn(move || {
            for size in sizes {
                let bytes: Vec<u8> = (0..size).map(|place| (place % 127) as u8).collect();
                server.send_bytes(&bytes).unwrap();
                server.send(&String::from_utf8(bytes.clone()).unwrap()).unwrap();
                server.send_bytes(&bytes).unwrap();
            }
            server
        });
        let mut buffer = vec![0; 1 << 20];
        for size in sizes {
            let bytes = client.recv_bytes().unwrap();
            assert_eq!(bytes.len(), size);
            assert!(bytes.iter().enumerate().all(|(place, byte)| *byte == (place % 127) as u8));
            assert!(client.recv().unwrap().as_bytes() == bytes);
            match client.recv_bytes_into(&mut buffer) {
                Ok(length) => assert!(buffer[..length] == bytes),
                Err(RecvIntoError::BufferTooShort(message)) => {
                    assert!(message.into_inner() == bytes)
                }
                Err(error) => panic!("{error}"),
            }
        }
        drop(sender.join().unwrap());
        assert!(client.recv_bytes().unwrap_err().is_disconnected());
    }
}

#[test]
fn what_is_too_long_stays_for_a_larger_maximum_or_ends_the_connection() {
    let _watchdog = watchdog("what_is_too_long_stays_for_a_larger_maximum_or_ends_the_connection");
    for (address, options) in everywhere() {
        let (server, client) = connected::<(), ()>(address, &options.max_message(100_000));
        for size in [101, 70_000] {
            server.send_bytes(&vec![7; size]).unwrap();
            for _ in 0..2 {
                assert_eq!(client.recv_bytes_max(100).unwrap_err().kind(), ErrorKind::TooLong);
            }
            assert!(client.poll(Duration::ZERO).unwrap());
            assert_eq!(client.recv_bytes_max(size).unwrap(), vec![7; size]);
        }
        server.send_bytes(&[7; 100_000]).unwrap();
        assert_eq!(client.recv_bytes().unwrap().len(), 100_000);
        server.send_bytes(&[7; 100_001]).unwrap();
        let error = client.recv_bytes().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong, "{error}");
        assert!(error.to_string().contains("max_message"), "{error}");
        assert!(client.recv_bytes().unwrap_err().is_disconnected());
        assert!(server.recv_bytes().unwrap_err().is_disconnected());
    }
}

#[test]
fn waits_end_when_they_say_and_a_message_ends_them() {
    let _watchdog = watchdog("waits_end_when_they_say_and_a_message_ends_them");
    for (address, options) in everywhere() {
        let (server, client) = connected::<u8, u8>(address, &options);
        assert_eq!(server.try_recv().unwrap(), None);
        assert_eq!(server.recv_timeout(Duration::from_millis(5)).unwrap(), None);
        assert_eq!(server.recv_bytes_timeout(Duration::from_millis(5)).unwrap(), None);
        assert_eq!(server.recv_bytes_max_timeout(9, Duration::from_millis(5)).unwrap(), None);
        let mut buffer = [0; 9];
        let nothing = server.recv_bytes_into_timeout(&mut buffer, Duration::from_millis(5));
        assert_eq!(nothing.unwrap(), None);
        assert!(!server.poll(Duration::from_millis(5)).unwrap());
        assert!(wait(&[&server], Some(Duration::ZERO)).unwrap().is_empty());
        client.send(&1).unwrap();
        client.send(&2).unwrap();
        assert_eq!(wait(&[&client, &server], None).unwrap(), [1]);
        assert!(server.poll(Duration::from_secs(60)).unwrap());
        assert_eq!(server.recv_timeout(Duration::from_secs(60)).unwrap(), Some(1));
        // Nothing is read ahead, so the descriptor tells of the second one.
        assert_eq!(wait(&[&client, &server], None).unwrap(), [1]);
        assert_eq!(server.recv().unwrap(), 2);
        drop(client);
        assert_eq!(wait(&[&server], None).unwrap(), [0]);
    }
}

#[test]
fn a_sender_that_finds_no_room_sends_nothing_or_closes() {
    let _watchdog = watchdog("a_sender_that_finds_no_room_sends_nothing_or_closes");
    for (address, options) in everywhere() {
        let (server, client) = connected::<String, ()>(address, &options);
        // Larger than all buffers: the time passes in the middle.
        let large = "1".repeat(32 << 20);
        let error = server.send_timeout(&large, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(server.send(&String::new()).unwrap_err().is_disconnected());
        assert_eq!(client.recv().unwrap_err().kind(), ErrorKind::Truncated);
        assert!(client.recv().unwrap_err().is_disconnected());
    }
}

#[test]
fn threads_share_an_end_and_wait_for_their_turn_as_long_as_they_say() {
    let _watchdog = watchdog("threads_share_an_end_and_wait_for_their_turn_as_long_as_they_say");
    for (address, options) in everywhere() {
        let (server, client) = connected::<u32, u32>(address, &options);
        thread::scope(|scope| {
            for thread in 0..4 {
                let client = &client;
                scope.spawn(move || {
                    (0..250).for_each(|n| client.send(&(thread * 250 + n)).unwrap())
                });
            }
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..250).map(|_| server.recv().unwrap()).collect::<Vec<_>>())
                })
                .collect();
            let mut all: Vec<_> =
                receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
            // One receives for as long as it takes: another gives up in time.
            let patient = scope.spawn(|| server.recv().unwrap());
            while server.recv_timeout(Duration::from_millis(1)).unwrap().is_some() {}
            client.send(&1).unwrap();
            client.send(&1).unwrap();
            assert_eq!(patient.join().unwrap() + server.recv().unwrap(), 2);
        });
    }
}

#[test]
fn an_end_is_not_sent_and_carries_no_descriptors() {
    let _watchdog = watchdog("an_end_is_not_sent_and_carries_no_descriptors");
    let (server, client) = connected::<Handle<File>, ()>(None, &options());
    let file = Handle::from(File::open("/dev/null").unwrap());
    let error = server.send(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    assert!(error.to_string().contains("over a pipe"), "{error}");
    assert!(client.try_recv().unwrap().is_none(), "nothing was sent");

    let (a, _b) = pipe::<Connection<Handle<File>, ()>, ()>().unwrap();
    let error = a.send(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    assert!(error.to_string().contains("one owner"), "{error}");
}

#[test]
fn pipes_can_be_challenged_too() {
    let _watchdog = watchdog("pipes_can_be_challenged_too");
    let (a, b) = pipe::<(), ()>().unwrap();
    let right = AuthKey::from_bytes(b"right");
    for (key, kind) in
        [(right.clone(), None), (AuthKey::from_bytes(b"wrong"), Some(ErrorKind::Authentication))]
    {
        thread::scope(|scope| {
            let other = scope.spawn(|| answer_challenge(&b, &key));
            assert_eq!(deliver_challenge(&a, &right).err().map(|error| error.kind()), kind);
            assert_eq!(other.join().unwrap().err().map(|error| error.kind()), kind);
        });
    }
    thread::scope(|scope| {
        scope.spawn(|| b.send_bytes(&[0; 257]));
        let error = answer_challenge(&a, &right).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains("longer"), "{error}");
    });
}

#[test]
fn who_is_silent_is_not_challenged_for_ever() {
    let _watchdog = watchdog("who_is_silent_is_not_challenged_for_ever");
    let key = AuthKey::from_bytes(b"right");
    let (a, b) = pipe::<(), ()>().unwrap();
    let soon = Duration::from_millis(5);
    let kind = deliver_challenge_timeout(&a, &key, soon).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(b.recv_bytes_timeout(Duration::ZERO).unwrap().unwrap().starts_with(b"#CHALLENGE#"));
    let kind = answer_challenge_timeout(&b, &key, soon).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Timeout);
    let long = Duration::from_secs(60);
    thread::scope(|scope| {
        let other = scope.spawn(|| answer_challenge_timeout(&b, &key, long));
        deliver_challenge_timeout(&a, &key, long).unwrap();
        other.join().unwrap().unwrap();
    });
    let mut buffer = [0; 9];
    assert_eq!(a.recv_bytes_into_timeout(&mut buffer, soon).unwrap(), None);
    b.send_bytes(b"bytes").unwrap();
    assert_eq!(a.recv_bytes_into_timeout(&mut buffer, long).unwrap(), Some(5));
    b.send_bytes(b"bytes").unwrap();
    assert_eq!(a.recv_bytes_max_timeout(4, long).unwrap_err().kind(), ErrorKind::TooLong);
    assert_eq!(a.recv_bytes_max_timeout(5, long).unwrap().unwrap(), b"bytes");
}

#[test]
fn options_that_let_anybody_in_are_refused() {
    let tcp = || Address::tcp("127.0.0.1", 0);
    let refused = |options: ConnectionOptions| {
        let error = Listener::bind(tcp(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let error = Client::connect::<(), ()>(tcp(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    };
    refused(ConnectionOptions::new().without_authkey());
    refused(ConnectionOptions::new().authkey(AuthKey::from_bytes(b"")));
    assert!(!format!("{:?}", options()).contains("known"), "no key is shown");
}

#[test]
fn without_a_key_only_by_name() {
    let _watchdog = watchdog("without_a_key_only_by_name");
    let none = ConnectionOptions::new().without_authkey();
    let on_tcp = ConnectionOptions::new().without_authkey_on_tcp();
    for (address, options) in [(None, none), (Some(Address::tcp("127.0.0.1", 0)), on_tcp)] {
        let (server, client) = connected::<u8, u8>(address, &options);
        server.send(&1).unwrap();
        assert_eq!(client.recv().unwrap(), 1);
    }
}

#[test]
fn sides_that_do_not_fit_say_so_at_once() {
    let _watchdog = watchdog("sides_that_do_not_fit_say_so_at_once");
    for (listens, connects, hint) in [
        (options(), options().plain(), "leave the option `plain` out"),
        (options().plain(), options(), "the option `plain` allows"),
        (options(), options().without_authkey_on_tcp(), ""),
        (options().plain(), options().without_authkey_on_tcp(), ""),
    ] {
        let listener = Listener::bind(Address::tcp("127.0.0.1", 0), &listens).unwrap();
        let address = listener.address().clone();
        thread::scope(|scope| {
            let client = scope.spawn(|| match Client::connect::<u8, ()>(&address, &connects) {
                Ok(keyless) => {
                    // It takes the greeting for a message, and what it says for an answer.
                    keyless.send(&1).unwrap();
                    String::new()
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
                    error.to_string()
                }
            });
            while listener.refused() == 0 {
                let accepted = listener.accept_timeout::<(), ()>(Duration::from_millis(50));
                assert!(accepted.unwrap().is_none());
            }
            let said = client.join().unwrap();
            assert!(said.contains(hint), "{said}");
        });
    }
}

#[test]
fn the_last_client_is_known_by_its_address() {
    let _watchdog = watchdog("the_last_client_is_known_by_its_address");
    let listener = Listener::bind(Address::tcp("127.0.0.1", 0), &options()).unwrap();
    assert_eq!(listener.last_accepted(), None);
    let address = listener.address().clone();
    let client = thread::spawn(move || Client::connect::<(), ()>(address, &options()).unwrap());
    let _server = listener.accept::<(), ()>().unwrap();
    let _client = client.join().unwrap();
    match listener.last_accepted().unwrap() {
        Address::Tcp { host, .. } => assert_eq!(host, "127.0.0.1"),
        other => panic!("{other}"),
    }
}

#[test]
fn nobody_there_is_an_error_at_once() {
    let _watchdog = watchdog("nobody_there_is_an_error_at_once");
    let folder = scratch("nobody");
    let closed = Listener::bind(Address::tcp("127.0.0.1", 0), &options()).unwrap();
    let port = closed.address().clone();
    closed.close();
    let stale = folder.join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    for address in [Address::unix(folder.join("none")), Address::unix(stale), port] {
        let error = Client::connect::<(), ()>(&address, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_client_waits_no_longer_than_it_says_for_a_listener_that_does_not_accept() {
    let _watchdog = watchdog("a_client_waits_no_longer_than_it_says");
    for (address, options) in everywhere() {
        let options = options.deadline(Duration::from_millis(20)).backlog(1);
        let listener = Listener::bind(address, &options).unwrap();
        // The first ones are let in by the system and wait for a challenge, the others for
        // room.
        for _ in 0..4 {
            let error = Client::connect::<(), ()>(listener.address(), &options).unwrap_err();
            assert!(error.is_timeout(), "{error}");
        }
    }
}

#[test]
fn a_listener_is_waited_for_like_anything_else() {
    let _watchdog = watchdog("a_listener_is_waited_for_like_anything_else");
    for (address, options) in everywhere() {
        let listener = Listener::bind(address, &options).unwrap();
        assert!(wait(&[&listener], Some(Duration::ZERO)).unwrap().is_empty());
        thread::scope(|scope| {
            let client =
                scope.spawn(|| Client::connect::<(), ()>(listener.address(), &options).unwrap());
            let mut set: WaitSet<&Listener> = WaitSet::new().unwrap();
            set.insert(&listener).unwrap();
            let _server = loop {
                assert_eq!(set.wait(None).unwrap().len(), 1);
                if let Some(server) = listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap() {
                    break server;
                }
            };
            client.join().unwrap();
        });
    }
}

#[test]
fn several_threads_accept() {
    let _watchdog = watchdog("several_threads_accept");
    let listener = Listener::bind(None, &options()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| listener.accept::<u8, u8>().unwrap().send(&1).unwrap());
        }
        for _ in 0..4 {
            let client = Client::connect::<u8, u8>(listener.address(), &options()).unwrap();
            assert_eq!(client.recv().unwrap(), 1);
        }
    });
}

#[test]
fn a_family_shares_its_key() {
    let _watchdog = watchdog("a_family_shares_its_key");
    let options = ConnectionOptions::new();
    let listener = Listener::bind(None, &options).unwrap();
    let child = Process::spawn(
        |address: String| {
            let address: Address = address.parse().unwrap();
            let client = Client::connect(&address, &ConnectionOptions::new()).unwrap();
            client.send(&7_u8).unwrap();
            client.recv().unwrap()
        },
        listener.address().to_string(),
    )
    .unwrap();
    let server = listener.accept::<u8, u8>().unwrap();
    server.send(&server.recv().unwrap()).unwrap();
    let answer: u8 = child.join().unwrap();
    assert_eq!(answer, 7);
}
