//! Hostile peers: handshakes that are cut, grown, repeated, reordered, delayed, reflected
//! and replayed; silent crowds; somebody in the middle.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kinfolk::{Address, AuthKey, Client, ConnectionOptions, ErrorKind, Listener};
use kinfolk_testkit::{in_its_own_process, watchdog};
use md5::Md5;
use sha2::Sha256;

kinfolk::test_init!();

/// The key of both sides.
const KEY: &[u8] = b"known to both";
/// What a challenge begins with.
const CHALLENGE: &[u8] = b"#CHALLENGE#";

/// The options of a test.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(KEY))
}

/// The right answer to a challenge.
fn answer(challenge: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(challenge.strip_prefix(CHALLENGE).unwrap());
    [b"{sha256}", &mac.finalize().into_bytes()[..]].concat()
}

/// A challenge of this file's own.
fn challenge(number: u8) -> Vec<u8> {
    [CHALLENGE, b"{sha256}", &[number; 40]].concat()
}

/// A message with its header.
fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// Reads a message; `None` if there is none any more.
fn read_message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let mut message = vec![0; u32::from_be_bytes(header) as usize];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// What is sent instead of the messages of one side of a handshake, which are numbered.
type Change = Box<dyn Fn(usize, Vec<u8>) -> Vec<u8> + Sync>;

/// Sends a message, changed; returns whether it was not, for nothing follows a change.
fn say(stream: &mut UnixStream, change: &Change, number: usize, message: Vec<u8>) -> bool {
    let right = framed(&message);
    let said = change(number, message);
    // The other side may have ended it by now.
    let _ = stream.write_all(&said);
    said == right
}

/// The messages of a client that knows the key, changed.
fn hostile_client(path: &Path, change: &Change) {
    let mut stream = UnixStream::connect(path).unwrap();
    let asked = read_message(&mut stream).unwrap();
    if say(&mut stream, change, 0, answer(&asked)) {
        read_message(&mut stream).unwrap();
        if say(&mut stream, change, 1, challenge(1)) {
            read_message(&mut stream).unwrap();
            say(&mut stream, change, 2, b"#WELCOME#".to_vec());
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// The messages of a listener that knows the key, changed.
fn hostile_listener(listener: &UnixListener, change: &Change) {
    let (mut stream, _) = listener.accept().unwrap();
    if say(&mut stream, change, 0, challenge(2)) {
        // The answer and the challenge come together.
        read_message(&mut stream).unwrap();
        let asked = read_message(&mut stream).unwrap();
        if say(&mut stream, change, 1, b"#WELCOME#".to_vec()) {
            say(&mut stream, change, 2, answer(&asked));
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Changes of one message of three, none of which may lead to a connection.
fn changes() -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for place in 0..3 {
        let mut only = |change: fn(Vec<u8>) -> Vec<u8>| {
            changes.push(Box::new(move |number, message| {
                if number == place { change(message) } else { framed(&message) }
            }));
        };
        only(|_| Vec::new());
        only(|_| framed(&[]));
        only(|message| framed(&message[..message.len() - 1]));
        only(|message| framed(&[&message[..], b"!"].concat()));
        only(|message| framed(&[&message[..], &[b'!'; 250][..]].concat()));
        only(|message| framed(&message[1..]));
        only(|message| framed(&message.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()));
        only(|_| framed(b"#WELCOM#"));
        only(|_| framed(b"#FAILURE#"));
        only(|_| framed(b"{md4}0123456789abcdef"));
        only(|_| framed(b"#CHALLENGE#{sha1}0123456789012345678901234567890123456789"));
        only(|_| framed(b"#CHALLENGE#{sha256}"));
        only(|_| framed(b"#CHALLENGE#01234567890123456789"));
        only(|_| framed(b"0123456789abcdef"));
        only(|_| vec![0xff, 0xff, 0xff, 0xff]);
        only(|_| vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        only(|_| vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        only(|_| vec![0x80, 0, 0, 0]);
        only(|_| vec![0, 0, 1, 1]);
        only(|_| vec![0x7f, 0xff, 0xff, 0xff]);
    }
    // Every cut of every message.
    for place in 0..3 {
        for size in 0..60 {
            changes.push(Box::new(move |number, message| {
                let mut whole = framed(&message);
                if number == place {
                    whole.truncate(size.min(whole.len() - 1));
                }
                whole
            }));
        }
    }
    // Twice, but for the last, after which anything may come.
    for place in 0..2 {
        changes.push(Box::new(move |number, message| {
            framed(&message).repeat(if number == place { 2 } else { 1 })
        }));
    }
    // One in the place of another.
    for (place, other) in [(0, b"#WELCOME#".to_vec()), (2, challenge(9))] {
        changes.push(Box::new(move |number, message| {
            framed(if number == place { &other } else { &message })
        }));
    }
    changes
}

#[test]
fn no_change_of_a_clients_handshake_gets_in_and_the_listener_lives_on() {
    let _watchdog = watchdog("no_change_of_a_clients_handshake_gets_in");
    let listener = Listener::bind(None, &options()).unwrap();
    let path = listener.address().path().unwrap();
    for (place, change) in changes().iter().enumerate() {
        let before = listener.refused();
        thread::scope(|scope| {
            let client = scope.spawn(|| hostile_client(path, change));
            while listener.refused() == before {
                let accepted = listener.accept_timeout::<(), ()>(Duration::from_millis(20));
                assert!(accepted.unwrap().is_none(), "change {place} got in");
            }
            let refusal = listener.take_refusal().unwrap();
            assert_eq!(refusal.kind(), ErrorKind::Authentication, "{refusal}");
            client.join().unwrap();
        });
    }
    thread::scope(|scope| {
        scope.spawn(|| Client::connect::<(), ()>(listener.address(), &options()).unwrap());
        listener.accept::<(), ()>().unwrap();
    });
}

#[test]
fn no_change_of_a_listeners_handshake_convinces_a_client() {
    let _watchdog = watchdog("no_change_of_a_listeners_handshake_convinces_a_client");
    let folder = std::env::temp_dir().join(format!("hostile-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    for (place, change) in changes().iter().enumerate() {
        thread::scope(|scope| {
            scope.spawn(|| hostile_listener(&listener, change));
            match Client::connect::<(), ()>(Address::from(path.as_path()), &options()) {
                Ok(_) => panic!("change {place} convinced the client"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Authentication, "{error}"),
            }
        });
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_delayed_or_in_pieces_gets_in_all_the_same() {
    let _watchdog = watchdog("what_is_delayed_or_in_pieces_gets_in_all_the_same");
    let listener = Listener::bind(None, &options()).unwrap();
    let path = listener.address().path().unwrap().to_owned();
    let client = thread::spawn(move || {
        let mut stream = UnixStream::connect(&path).unwrap();
        let asked = read_message(&mut stream).unwrap();
        for byte in framed(&answer(&asked)) {
            stream.write_all(&[byte]).unwrap();
            thread::yield_now();
        }
        assert_eq!(read_message(&mut stream).unwrap(), b"#WELCOME#");
        // The last message comes with the first of the connection: nothing is lost.
        stream.write_all(&framed(&challenge(3))).unwrap();
        assert_eq!(read_message(&mut stream).unwrap(), answer(&challenge(3)));
        let both = [framed(b"#WELCOME#"), framed(b"first")].concat();
        stream.write_all(&both).unwrap();
    });
    let server = listener.accept::<(), ()>().unwrap();
    assert_eq!(server.recv_bytes().unwrap(), b"first");
    client.join().unwrap();
}

#[test]
fn reflected_and_replayed_answers_are_refused() {
    let _watchdog = watchdog("reflected_and_replayed_answers_are_refused");
    let listener = Listener::bind(None, &options()).unwrap();
    let path = listener.address().path().unwrap();
    let recorded = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut stream = UnixStream::connect(path).unwrap();
            let said = answer(&read_message(&mut stream).unwrap());
            let said = [said, challenge(4), b"#WELCOME#".to_vec()].map(|message| framed(&message));
            for message in &said {
                stream.write_all(message).unwrap();
                let _ = read_message(&mut stream);
            }
            said
        });
        listener.accept::<(), ()>().unwrap();
        client.join().unwrap()
    });
    let refused = |client: &(dyn Fn(&mut UnixStream) + Sync), reason: &str| {
        let before = listener.refused();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = UnixStream::connect(path).unwrap();
                client(&mut stream);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = io::copy(&mut stream, &mut io::sink());
            });
            while listener.refused() == before {
                let accepted = listener.accept_timeout::<(), ()>(Duration::from_millis(20));
                assert!(accepted.unwrap().is_none());
            }
        });
        let refusal = listener.take_refusal().unwrap().to_string();
        assert!(refusal.contains(reason), "{refusal}");
    };
    refused(&|stream| stream.write_all(&recorded.concat()).unwrap(), "answer is wrong");
    // The challenge itself, and as far as it is hidden.
    refused(
        &|stream| {
            let asked = read_message(stream).unwrap();
            stream.write_all(&framed(&asked)).unwrap();
        },
        "no digest",
    );
    refused(
        &|stream| {
            let asked = read_message(stream).unwrap();
            stream.write_all(&framed(&asked[CHALLENGE.len()..])).unwrap();
        },
        "answer is wrong",
    );
    // One who knows the key would not need it.
    refused(
        &|stream| {
            let asked = read_message(stream).unwrap();
            stream.write_all(&framed(&answer(&asked))).unwrap();
            stream.write_all(&framed(&asked)).unwrap();
        },
        "gave back a challenge",
    );
}

#[test]
fn no_client_answers_what_another_client_of_its_process_asked() {
    let _watchdog = watchdog("no_client_answers_what_another_client_of_its_process_asked");
    let folder = std::env::temp_dir().join(format!("reflect-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let connect = || Client::connect::<(), ()>(Address::from(path.as_path()), &options());
    thread::scope(|scope| {
        let first = scope.spawn(connect);
        let (mut one, _) = listener.accept().unwrap();
        one.write_all(&framed(&challenge(5))).unwrap();
        let _answer = read_message(&mut one).unwrap();
        let asked = read_message(&mut one).unwrap();
        // A second client is to answer for the listener.
        let second = scope.spawn(connect);
        let (mut two, _) = listener.accept().unwrap();
        two.write_all(&framed(&asked)).unwrap();
        let error = second.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("gave back a challenge"), "{error}");
        drop(one);
        assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Authentication);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn md5_gets_in_only_where_it_is_allowed() {
    let _watchdog = watchdog("md5_gets_in_only_where_it_is_allowed");
    for (options, gets_in) in [(options(), false), (options().legacy(), true)] {
        let listener = Listener::bind(None, &options).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = UnixStream::connect(listener.address().path().unwrap()).unwrap();
                let asked = read_message(&mut stream).unwrap();
                let mut mac = Hmac::<Md5>::new_from_slice(KEY).unwrap();
                mac.update(asked.strip_prefix(CHALLENGE).unwrap());
                stream.write_all(&framed(&mac.finalize().into_bytes())).unwrap();
                if read_message(&mut stream).as_deref() == Some(b"#WELCOME#") {
                    stream.write_all(&framed(&challenge(6))).unwrap();
                    assert_eq!(read_message(&mut stream).unwrap(), answer(&challenge(6)));
                    stream.write_all(&framed(b"#WELCOME#")).unwrap();
                }
            });
            let mut accepted = false;
            while !accepted && listener.refused() == 0 {
                let client = listener.accept_timeout::<(), ()>(Duration::from_millis(20));
                accepted = client.unwrap().is_some();
            }
            assert_eq!(accepted, gets_in);
        });
        if !gets_in {
            let refusal = listener.take_refusal().unwrap().to_string();
            assert!(refusal.contains("the option `legacy`"), "{refusal}");
        }
    }
}

#[test]
fn a_client_that_is_too_slow_is_refused_and_others_are_not() {
    let _watchdog = watchdog("a_client_that_is_too_slow_is_refused_and_others_are_not");
    let options = options().deadline(Duration::from_millis(50));
    let listener = Listener::bind(None, &options).unwrap();
    let path = listener.address().path().unwrap();
    let _silent = UnixStream::connect(path).unwrap();
    while listener.refused() == 0 {
        assert!(listener.accept_timeout::<(), ()>(Duration::from_millis(20)).unwrap().is_none());
    }
    let refusal = listener.take_refusal().unwrap().to_string();
    assert!(refusal.contains("in time"), "{refusal}");

    // Time in which nobody accepts is not the client's.
    let mut stream = UnixStream::connect(path).unwrap();
    assert!(listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap().is_none());
    let asked = read_message(&mut stream).unwrap();
    thread::sleep(Duration::from_millis(100));
    let said = [framed(&answer(&asked)), framed(&challenge(7)), framed(b"#WELCOME#")];
    stream.write_all(&said.concat()).unwrap();
    listener.accept::<(), ()>().unwrap();
}

/// Raises this process's limit of file descriptors as far as it goes; returns it.
fn raise_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit, which lives.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit, which lives.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    limit.rlim_cur
}

in_its_own_process! {
    fn a_silent_crowd_keeps_nobody_out() {
        let limit = raise_limit();
        // Two descriptors each, and some for the rest.
        let crowd = usize::try_from(limit.saturating_sub(200) / 2).unwrap_or(1_000).min(1_000);
        for pending in [128, 2 * crowd] {
            for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
                let options = options().max_pending(pending).backlog(4096);
                let listener = Listener::bind(address, &options).unwrap();
                let _unix: Vec<UnixStream>;
                let _tcp: Vec<TcpStream>;
                match listener.address() {
                    Address::Unix(path) => {
                        _unix = (0..crowd).map(|_| UnixStream::connect(path).unwrap()).collect();
                    }
                    Address::Tcp { host, port } => {
                        let connect = |_| TcpStream::connect((host.as_str(), *port)).unwrap();
                        _tcp = (0..crowd).map(connect).collect();
                    }
                }
                thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| Client::connect::<u8, ()>(listener.address(), &options).unwrap());
                        listener.accept::<(), u8>().unwrap();
                    }
                });
                let dropped = u64::try_from(crowd.saturating_sub(pending)).unwrap();
                assert!(listener.refused() >= dropped, "{}", listener.refused());
            }
        }
    }

    fn without_descriptors_the_oldest_client_makes_room() {
        let listener = Listener::bind(None, &options()).unwrap();
        let path = listener.address().path().unwrap();
        let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(path).unwrap()).collect();
        assert!(listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap().is_none());
        let mut client = UnixStream::connect(path).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let speaking = thread::spawn(move || {
            let asked = read_message(&mut client).unwrap();
            let said = [framed(&answer(&asked)), framed(&challenge(8)), framed(b"#WELCOME#")];
            client.write_all(&said.concat()).unwrap();
            let _ = io::copy(&mut client, &mut io::sink());
        });
        let server = listener.accept::<(), ()>().unwrap();
        assert!(listener.refused() > 0);
        drop((taken, silent, server));
        speaking.join().unwrap();
    }
}

/// Hands bytes on, but changes the one at `place`.
fn hand_on(mut from: TcpStream, mut to: TcpStream, place: Option<usize>) {
    let mut handed = 0;
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        if let Some(byte) =
            place.and_then(|place| buffer[..size].get_mut(place.wrapping_sub(handed)))
        {
            *byte ^= 0x10;
        }
        handed += size;
        if to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// How many bytes the client of the next test sends: two messages of its handshake, and one.
const FROM_CLIENT: usize = 4 + 48 + 4 + 25 + 2 + 22 + 16;
/// How many bytes its listener does.
const FROM_LISTENER: usize = 4 + 39 + 4 + 48 + 2 + 22 + 16;

#[test]
fn whoever_changes_a_byte_of_what_is_sealed_ends_the_connection() {
    let _watchdog = watchdog("whoever_changes_a_byte_of_what_is_sealed_ends_the_connection");
    // A longer length is waited for in vain: not for long.
    let sides = [500, 60_000].map(Duration::from_millis).map(|time| {
        let options = options().deadline(time);
        (Listener::bind(Address::tcp("127.0.0.1", 0), &options).unwrap(), options, time)
    });
    let middle = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(middle.local_addr().unwrap());
    // Each byte of the client, then each of the listener, then none.
    for place in 0..=FROM_CLIENT + FROM_LISTENER {
        let inward = (place < FROM_CLIENT).then_some(place);
        let outward = place.checked_sub(FROM_CLIENT).filter(|place| *place < FROM_LISTENER);
        let changed = inward.or(outward).is_some();
        let (listener, options, patience) = &sides[usize::from(!changed)];
        let (to_server, to_client) = thread::scope(|scope| {
            let client = scope.spawn(|| {
                let client = Client::connect::<String, String>(&address, options).ok()?;
                client.send(&"to the server, sealed".to_owned()).ok()?;
                client.recv_timeout(*patience).ok().flatten()
            });
            let (here, _) = middle.accept().unwrap();
            let there = TcpStream::connect(listener.address().to_string()).unwrap();
            let (back, forth) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            scope.spawn(move || hand_on(here, forth, inward));
            scope.spawn(move || hand_on(there, back, outward));
            let (before, mut to_server) = (listener.refused(), None);
            while to_server.is_none() && listener.refused() == before {
                let timeout = Duration::from_millis(20);
                if let Some(server) = listener.accept_timeout::<String, String>(timeout).unwrap() {
                    let received = server.recv();
                    if received.is_ok() {
                        let _ = server.send(&"to the client, sealed".to_owned());
                    }
                    to_server = Some(received.ok());
                }
            }
            (to_server.flatten(), client.join().unwrap())
        });
        let both = [to_server.as_deref(), to_client.as_deref()];
        let right = [Some("to the server, sealed"), Some("to the client, sealed")];
        for (text, right) in both.iter().zip(right) {
            assert!(text.is_none() || *text == right, "{place}: {text:?}");
        }
        assert_eq!(both == right, !changed, "byte {place} was changed: {both:?}");
    }
}
