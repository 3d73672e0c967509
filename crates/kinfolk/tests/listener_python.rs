//! Listeners and clients with CPython's `multiprocessing.connection` at the other end, of
//! each version that this machine has.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use kinfolk::{Address, AuthKey, Client, Connection, ConnectionOptions, ErrorKind, Listener, wait};
use kinfolk_testkit::{pythons, watchdog};

kinfolk::test_init!();

/// The key of both sides.
const KEY: &[u8] = b"of one family";
/// The sizes of messages, in bytes: at the borders of how the reference sends them.
const SIZES: [usize; 6] = [0, 1, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 64 << 20];
/// As large as needs the long header.
const HUGE: usize = (2 << 30) + 7;

/// A Python that is the other side.
struct Peer {
    /// The process.
    child: Child,
    /// What it says.
    says: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it.
    fn start(python: &Path, what: &str, address: &Address, key: &[u8], sizes: &[usize]) -> Self {
        let mut child = Command::new(python)
            .args(["-c", include_str!("listener_peer.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
        let line = format!("{what} {address} {key} {}\n", sizes.join(" "));
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// The next that it says.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a Python knows more than MD5.
fn is_strict(python: &Path) -> bool {
    let tell = "import sys; sys.exit(sys.version_info < (3, 12))";
    Command::new(python).args(["-c", tell]).status().unwrap().success()
}

/// The options of a test, of those that a Python can speak to.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(KEY)).plain()
}

/// The options for a Python.
fn options_for(python: &Path) -> ConnectionOptions {
    if is_strict(python) { options() } else { options().legacy() }
}

/// The sizes of messages to an address: the largest is only for paths, to save time.
fn sizes_for(address: &Address) -> &'static [usize] {
    if address.path().is_some() { &SIZES } else { &SIZES[..SIZES.len() - 1] }
}

/// A path for the listener of a Python.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("python-{name}-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

/// Sends messages back until the other side ends; returns how many.
fn echo(connection: &Connection<(), ()>) -> usize {
    let mut count = 0;
    loop {
        assert_eq!(wait(&[connection], None).unwrap(), [0]);
        match connection.recv_bytes() {
            Ok(bytes) => connection.send_bytes(&bytes).unwrap(),
            Err(error) => {
                assert!(error.is_disconnected(), "{error}");
                return count;
            }
        }
        count += 1;
    }
}

/// The bytes of messages.
fn patterns(sizes: &[usize]) -> Vec<Vec<u8>> {
    let run: Vec<u8> = (0..127).collect();
    let pattern = |size: &usize| {
        let mut bytes = run.repeat(size / run.len() + 1);
        bytes.truncate(*size);
        bytes
    };
    sizes.iter().map(pattern).collect()
}

#[test]
fn a_python_client_speaks_to_a_listener() {
    let _watchdog = watchdog("a_python_client_speaks_to_a_listener");
    for python in pythons() {
        for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
            let listener = Listener::bind(address, &options_for(&python)).unwrap();
            let sizes = sizes_for(listener.address());
            let peer = |what, key| Peer::start(&python, what, listener.address(), key, sizes);
            thread::scope(|scope| {
                let wrong = scope.spawn(|| peer("refused", b"of another").line());
                let mut right = peer("connect", KEY);
                let connection = listener.accept().unwrap();
                assert_eq!(echo(&connection), sizes.len());
                assert_eq!(right.line(), "done");
                // The wrong one may not have come yet.
                while listener.refused() == 0 {
                    let timeout = std::time::Duration::from_millis(20);
                    assert!(listener.accept_timeout::<(), ()>(timeout).unwrap().is_none());
                }
                assert_eq!(wrong.join().unwrap(), "refused AuthenticationError");
            });
        }
    }
}

#[test]
fn a_client_speaks_to_a_python_listener() {
    let _watchdog = watchdog("a_client_speaks_to_a_python_listener");
    let folder = scratch("listener");
    let messages = patterns(&SIZES);
    for (number, python) in pythons().into_iter().enumerate() {
        let path = Address::unix(folder.join(number.to_string()));
        for address in [path, Address::tcp("127.0.0.1", 0)] {
            let options = options_for(&python);
            let sizes = sizes_for(&address);
            let mut peer = Peer::start(&python, "listen", &address, KEY, sizes);
            let address: Address = peer.line().parse().unwrap();
            let wrong = options.clone().authkey(AuthKey::from_bytes(b"of another"));
            let error = Client::connect::<(), ()>(&address, &wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
            assert_eq!(peer.line(), "refused AuthenticationError");
            let client = Client::connect::<(), ()>(&address, &options).unwrap();
            for bytes in &messages[..sizes.len()] {
                client.send_bytes(bytes).unwrap();
                assert_eq!(wait(&[&client], None).unwrap(), [0]);
                assert!(client.recv_bytes().unwrap() == *bytes, "{}", bytes.len());
            }
            drop(client);
            assert_eq!(peer.line(), "done");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_python_that_knows_only_md5_is_refused_unless_allowed() {
    let _watchdog = watchdog("a_python_that_knows_only_md5_is_refused_unless_allowed");
    let folder = scratch("md5");
    for (number, python) in pythons().into_iter().enumerate() {
        if is_strict(&python) {
            continue;
        }
        let listener = Listener::bind(None, &options()).unwrap();
        let mut peer = Peer::start(&python, "refused", listener.address(), KEY, &[]);
        while listener.refused() == 0 {
            let timeout = std::time::Duration::from_millis(20);
            assert!(listener.accept_timeout::<(), ()>(timeout).unwrap().is_none());
        }
        assert!(listener.take_refusal().unwrap().to_string().contains("legacy"));
        assert_eq!(peer.line(), "refused AuthenticationError");

        let path = Address::unix(folder.join(number.to_string()));
        let mut peer = Peer::start(&python, "listen", &path, KEY, &[]);
        let address: Address = peer.line().parse().unwrap();
        let error = Client::connect::<(), ()>(&address, &options()).unwrap_err();
        assert!(error.to_string().contains("legacy"), "{error}");
        assert!(peer.line().starts_with("refused"));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_python_client_of_a_listener_that_encrypts_is_told_at_once() {
    let _watchdog = watchdog("a_python_client_of_a_listener_that_encrypts_is_told_at_once");
    for python in pythons() {
        let options = ConnectionOptions::new().authkey(AuthKey::from_bytes(KEY));
        let listener = Listener::bind(Address::tcp("127.0.0.1", 0), &options).unwrap();
        let mut peer = Peer::start(&python, "refused", listener.address(), KEY, &[]);
        while listener.refused() == 0 {
            let timeout = std::time::Duration::from_millis(20);
            assert!(listener.accept_timeout::<(), ()>(timeout).unwrap().is_none());
        }
        assert!(peer.line().starts_with("refused"));
    }
}

/// Needs 9 GiB of memory.
#[test]
#[ignore = "takes a lot of memory: `ci/test --long` runs it"]
fn a_message_of_more_than_2_gib_goes_there_and_back() {
    let _watchdog = watchdog("a_message_of_more_than_2_gib_goes_there_and_back");
    let python = pythons().pop().expect("a Python");
    let options = options_for(&python).max_message(HUGE);
    let listener = Listener::bind(None, &options).unwrap();
    let mut peer = Peer::start(&python, "connect", listener.address(), KEY, &[HUGE, 1]);
    let connection = listener.accept().unwrap();
    assert_eq!(echo(&connection), 2);
    assert_eq!(peer.line(), "done");
}
