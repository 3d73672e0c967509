//! Listeners and clients whose other side is Python's `multiprocessing.connection`.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use kinfolk::plain::Dict;
use kinfolk::{Address, AuthKey, Client, ConnectionOptions, ErrorKind, Listener, Plain};
use kinfolk_testkit::{Python, pythons, start_python, watchdog};
use serde::{Deserialize, Serialize};

/// What both sides know.
const KEY: &[u8] = b"known to both";

/// The options for a Python of any version.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(KEY)).legacy().plain().pickle()
}

/// Where to meet.
fn places() -> [Option<Address>; 2] {
    [None, Some(Address::tcp("127.0.0.1", 0))]
}

/// An address, as Python writes it.
fn literal(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("{:?}", path.to_str().unwrap()),
        Address::Tcp { host, port } => format!("({host:?}, {port})"),
    }
}

/// A program, with the names of this test's side in it.
fn program(address: &str, text: &str) -> String {
    format!(
        "from multiprocessing.connection import Client, Listener\n\
         KEY, ADDRESS = {:?}.encode(), {address}\n{text}",
        std::str::from_utf8(KEY).unwrap()
    )
}

/// Waits until a program has ended well.
fn join(mut python: Python) {
    assert!(python.wait().unwrap().success());
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Job {
    name: String,
    sizes: Vec<(u8, Option<f64>)>,
}

#[test]
fn a_python_client_is_served() {
    let _watchdog = watchdog("a_python_client_is_served");
    for python in pythons() {
        for place in places() {
            let listener = Listener::bind(place, &options()).unwrap();
            let text = "
connection = Client(ADDRESS, authkey=KEY)
connection.send({'name': 'first', 'sizes': [(1, None), (2, 0.5)]})
assert connection.recv() == {'name': 'again', 'sizes': []}
connection.send_bytes(b'raw')
connection.send(('text', b'bytes', {1, 2}, 2**100))
assert connection.recv() == ('text', b'bytes', {1, 2}, 2**100)
connection.close()
";
            let client = start_python(&python, &program(&literal(listener.address()), text));
            let connection = listener.accept::<Job, Job>().unwrap();
            let sizes = vec![(1, None), (2, Some(0.5))];
            assert_eq!(connection.recv().unwrap(), Job { name: "first".to_owned(), sizes });
            connection.send(&Job { name: "again".to_owned(), sizes: Vec::new() }).unwrap();
            assert_eq!(connection.recv_bytes().unwrap(), b"raw");
            let bytes = connection.recv_bytes().unwrap();
            let plain: Plain = kinfolk::pickle::from_slice(&bytes).unwrap();
            assert_eq!(plain.type_name(), "tuple");
            connection.send_bytes(&kinfolk::pickle::to_vec(&plain).unwrap()).unwrap();
            assert!(connection.recv().unwrap_err().is_disconnected());
            join(client);
        }
    }
}

#[test]
fn a_python_listener_serves() {
    let _watchdog = watchdog("a_python_listener_serves");
    for python in pythons() {
        for family in ["AF_UNIX", "AF_INET"] {
            let text = "
with Listener(family=ADDRESS, authkey=KEY) as listener:
    print(listener.address if isinstance(listener.address, str) else '%s:%d' % listener.address)
    with listener.accept() as connection:
        while True:
            try:
                connection.send(connection.recv())
            except EOFError:
                break
";
            let mut server = start_python(&python, &program(&format!("'{family}'"), text));
            let mut line = String::new();
            BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let address: Address = line.trim().parse().unwrap();
            let connection = Client::connect::<Plain, Plain>(&address, &options()).unwrap();
            let pairs = [("key".into(), ().into()), (1.into(), b"bytes".as_slice().into())];
            let sent: [Plain; 4] = [
                Plain::Tuple(vec![1.5.into(), "x".repeat(100_000).into()]),
                Dict::from_pairs(pairs).unwrap().into(),
                i128::MIN.into(),
                ().into(),
            ];
            for value in sent {
                connection.send(&value).unwrap();
                assert_eq!(connection.recv().unwrap(), value);
            }
            assert_eq!(connection.recv_timeout(Duration::ZERO).unwrap(), None);
            drop(connection);
            join(server);
        }
    }
}

#[test]
fn what_is_not_plain_data_is_refused_and_the_connection_goes_on() {
    let _watchdog = watchdog("what_is_not_plain_data_is_refused_and_the_connection_goes_on");
    for python in pythons() {
        let listener = Listener::bind(None, &options()).unwrap();
        let text = "
import os

class Evil:
    def __reduce__(self):
        return os.abort, ()

with Client(ADDRESS, authkey=KEY) as connection:
    for value in Evil(), len, 1j, KeyError('x'), 2**127, [[]] * 3, 'end':
        connection.send(value)
    connection.recv()
";
        let client = start_python(&python, &program(&literal(listener.address()), text));
        let connection = listener.accept::<(), Plain>().unwrap();
        for says in ["posix.abort", "builtins.len", "complex", "KeyError", "bits"] {
            let error = connection.recv().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Deserialize);
            assert!(error.to_string().contains(says), "{error}");
        }
        let empty = Plain::List(Vec::new());
        assert_eq!(connection.recv().unwrap(), Plain::List(vec![empty; 3]));
        assert_eq!(connection.recv().unwrap(), "end".into());
        connection.send(&()).unwrap();
        join(client);
    }
}

#[test]
fn another_key_is_refused_either_way() {
    let _watchdog = watchdog("another_key_is_refused_either_way");
    for python in pythons() {
        let listener = Listener::bind(None, &options()).unwrap();
        let text = "
from multiprocessing import AuthenticationError
try:
    Client(ADDRESS, authkey=b'another')
except (AuthenticationError, EOFError, ConnectionResetError):
    Client(ADDRESS, authkey=KEY).send('at last')
";
        let client = start_python(&python, &program(&literal(listener.address()), text));
        assert_eq!(listener.accept::<(), String>().unwrap().recv().unwrap(), "at last");
        assert_eq!(listener.refused(), 1);
        join(client);
    }
}
