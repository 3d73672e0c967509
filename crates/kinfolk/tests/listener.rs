//! Listeners and clients: addresses, keys, values and ends.

use std::thread;
use std::time::Duration;

use kinfolk::{Address, AuthKey, Client, Connection, ConnectionOptions, ErrorKind, Listener};
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
