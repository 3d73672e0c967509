//! Listeners and clients that are killed, forked or closed; paths that outlive them.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use kinfolk::{
    Address, Client, Connection, ConnectionOptions, Context, ErrorKind, Listener, Process,
    StartMethod, pipe,
};
use kinfolk_testkit::{Leaks, in_its_own_process, wait_until, watchdog};

kinfolk::test_init!();

/// A folder of one test, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ends-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The default options.
fn options() -> ConnectionOptions {
    ConnectionOptions::new()
}

/// Listens at a path for ever, and says so.
fn listen((path, ready): (String, Connection<String, ()>)) {
    let address = (!path.is_empty()).then(|| Address::unix(path));
    let listener = Listener::bind(address, &options()).unwrap();
    ready.send(&listener.address().to_string()).unwrap();
    loop {
        let client = listener.accept::<u8, u8>().unwrap();
        let _ = client.send(&7);
    }
}

/// Starts a process that listens at a path; returns where.
fn listening(path: &Path) -> (Process<()>, Address) {
    let (here, there) = pipe::<(), String>().unwrap();
    let path = path.to_str().unwrap().to_owned();
    let process = Process::spawn(listen, (path, there)).unwrap();
    let address = here.recv().unwrap().parse().unwrap();
    (process, address)
}

/// Connects to a listener that accepts.
fn greet(address: &Address) {
    let client = Client::connect::<u8, u8>(address, &options()).unwrap();
    assert_eq!(client.recv().unwrap(), 7);
}

#[test]
fn the_path_of_a_killed_listener_is_taken_over() {
    let _watchdog = watchdog("the_path_of_a_killed_listener_is_taken_over");
    let scratch = Scratch::new("killed");
    let path = scratch.path();
    for _ in 0..3 {
        let (process, address) = listening(&path);
        greet(&address);
        let error = Listener::bind(address.clone(), &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
        greet(&address);
        process.kill().unwrap();
        let _ = process.join();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        let error = Client::connect::<u8, u8>(&address, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let listener = Listener::bind(Address::from(path.as_path()), &options()).unwrap();
    listener.close();
    assert!(!path.exists());
}

#[test]
fn what_is_no_dead_socket_is_left_alone() {
    let scratch = Scratch::new("other");
    let path = scratch.path();
    let address = Address::from(path.as_path());
    let refused = |kind| {
        let error = Listener::bind(address.clone(), &options()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    };
    fs::write(&path, "precious").unwrap();
    refused(ErrorKind::InUse);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();

    let target = scratch.0.join("target");
    drop(UnixListener::bind(&target).unwrap());
    std::os::unix::fs::symlink(&target, &path).unwrap();
    refused(ErrorKind::InUse);
    fs::remove_file(&path).unwrap();

    // Somebody else's that listens, also when its backlog is full.
    let other = UnixListener::bind(&path).unwrap();
    refused(ErrorKind::InUse);
    drop(other);
    let long = scratch.0.join("x".repeat(120));
    let error = Listener::bind(Address::from(long), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = Listener::bind(Address::unix(scratch.0.join("none/socket")), &options());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn of_those_that_bind_at_once_one_wins() {
    let _watchdog = watchdog("of_those_that_bind_at_once_one_wins");
    let scratch = Scratch::new("race");
    let path = scratch.path();
    let meet = Barrier::new(4);
    for _ in 0..100 {
        drop(UnixListener::bind(&path).unwrap());
        let bind = || {
            meet.wait();
            Listener::bind(Address::from(path.as_path()), &options())
        };
        let bound: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut winners = Vec::new();
        for result in bound {
            match result {
                Ok(listener) => winners.push(listener),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InUse, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        // Its path leads to it.
        thread::scope(|scope| {
            scope.spawn(|| winners[0].accept::<u8, u8>().unwrap().send(&7).unwrap());
            greet(winners[0].address());
        });
        drop(winners);
        assert!(!path.exists());
    }
}

#[test]
fn a_path_that_was_taken_by_others_is_not_removed() {
    let scratch = Scratch::new("taken");
    let path = scratch.path();
    let listener = Listener::bind(Address::from(path.as_path()), &options()).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
}

#[test]
fn a_path_goes_with_its_listener_also_while_others_bind_beside_it() {
    let scratch = Scratch::new("beside");
    let listener = Listener::bind(Address::from(scratch.path()), &options()).unwrap();
    let others = File::open(&scratch.0).unwrap();
    others.lock().unwrap();
    drop(listener);
    assert!(!scratch.path().exists());
}

#[test]
fn a_private_path_is_only_for_this_user_and_goes_with_its_listener() {
    let listener = Listener::bind(None, &options()).unwrap();
    let path = listener.address().path().unwrap().to_owned();
    let folder = path.parent().unwrap().to_owned();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    drop(listener);
    assert!(!folder.exists());
}

in_its_own_process! {
    fn the_private_folder_of_a_killed_listener_goes_with_the_next_that_is_made() {
        let (process, address) = listening(Path::new(""));
        let folder = address.path().unwrap().parent().unwrap().to_owned();
        let _other = Listener::bind(None, &options()).unwrap();
        assert!(folder.exists(), "its owner lives");
        greet(&address);
        process.kill().unwrap();
        let _ = process.join();
        assert!(folder.exists());
        let _next = Listener::bind(None, &options()).unwrap();
        assert!(!folder.exists());
    }

    fn nothing_is_left_of_a_connection() {
        let leaks = Leaks::snapshot();
        for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
            let listener = Listener::bind(address, &options()).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| listener.accept::<u8, u8>().unwrap().send(&7).unwrap());
                greet(listener.address());
            });
        }
        leaks.check();
    }
}

/// Sends a message that is larger than all buffers to where nobody reads.
fn send_for_ever(address: String) {
    let address: Address = address.parse().unwrap();
    let client = Client::connect::<String, ()>(address, &options()).unwrap();
    client.send(&"first".to_owned()).unwrap();
    client.send(&"1".repeat(64 << 20)).unwrap();
}

#[test]
fn death_in_the_middle_of_a_message_is_an_error_of_its_own() {
    let _watchdog = watchdog("death_in_the_middle_of_a_message_is_an_error_of_its_own");
    for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
        let listener = Listener::bind(address, &options()).unwrap();
        let child = Process::spawn(send_for_ever, listener.address().to_string()).unwrap();
        let server = listener.accept::<(), String>().unwrap();
        assert_eq!(server.recv().unwrap(), "first");
        // Some of the second message is here, and not all of it can be.
        assert!(server.poll(Duration::from_secs(60)).unwrap());
        child.kill().unwrap();
        let _ = child.join();
        assert_eq!(server.recv().unwrap_err().kind(), ErrorKind::Truncated);
        assert!(server.recv().unwrap_err().is_disconnected());
        assert!(server.send(&()).unwrap_err().is_disconnected());
    }
}

/// Connects and waits to be killed.
fn connect_and_wait(address: String) {
    let address: Address = address.parse().unwrap();
    let client = Client::connect::<u8, u8>(address, &options()).unwrap();
    client.send(&1).unwrap();
    let _ = client.recv();
}

#[test]
fn a_killed_peer_wakes_who_waits_for_it() {
    let _watchdog = watchdog("a_killed_peer_wakes_who_waits_for_it");
    for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
        let listener = Listener::bind(address, &options()).unwrap();
        let child = Process::spawn(connect_and_wait, listener.address().to_string()).unwrap();
        let server = listener.accept::<u8, u8>().unwrap();
        assert_eq!(server.recv().unwrap(), 1);
        thread::scope(|scope| {
            let waits = scope.spawn(|| server.recv().unwrap_err());
            child.kill().unwrap();
            assert!(waits.join().unwrap().is_disconnected());
        });
        let _ = child.join();
    }
}

#[test]
fn a_client_of_a_listener_that_is_killed_before_it_accepts_is_told() {
    let _watchdog = watchdog("a_client_of_a_listener_that_is_killed_before_it_accepts_is_told");
    let (here, there) = pipe::<(), String>().unwrap();
    // It listens and does not accept.
    let process = Process::spawn(
        |there: Connection<String, ()>| {
            let listener = Listener::bind(Address::tcp("127.0.0.1", 0), &options()).unwrap();
            there.send(&listener.address().to_string()).unwrap();
            let _ = there.recv();
        },
        there,
    )
    .unwrap();
    let address: Address = here.recv().unwrap().parse().unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect::<(), ()>(&address, &options()).unwrap_err());
        wait_until("the client is in the backlog", || {
            let port = address.to_string().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
            let open = format!(":{port:04X} 01 ");
            let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
            sockets.lines().any(|line| line.contains(&open))
        });
        process.kill().unwrap();
        let error = client.join().unwrap();
        let kinds = [ErrorKind::Authentication, ErrorKind::Disconnected];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
    let _ = process.join();
}

#[test]
fn a_crowd_that_comes_in_does_not_keep_an_accept_beyond_its_deadline() {
    let _watchdog = watchdog("a_crowd_that_comes_in_does_not_keep_an_accept");
    let options = options().max_pending(1);
    let listener = Listener::bind(None, &options).unwrap();
    let path = listener.address().path().unwrap();
    let crowd: Vec<_> = (0..100).map(|_| UnixStream::connect(path).unwrap()).collect();
    // It looks after some of them, and not for as long as there are any.
    assert!(listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap().is_none());
    assert!((1..50).contains(&listener.refused()), "{}", listener.refused());
    thread::scope(|scope| {
        scope.spawn(|| Client::connect::<(), ()>(listener.address(), &options).unwrap());
        listener.accept::<(), ()>().unwrap();
    });
    drop(crowd);
}

in_its_own_process! {
    fn a_client_waits_for_descriptors_and_is_accepted_when_there_are_some() {
        let listener = Listener::bind(None, &options()).unwrap();
        let child = Process::spawn(connect_and_wait, listener.address().to_string()).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        for _ in 0..2 {
            let error = listener.accept::<u8, u8>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        }
        drop(taken);
        let server = listener.accept::<u8, u8>().unwrap();
        assert_eq!((server.recv().unwrap(), listener.refused()), (1, 0));
        server.send(&1).unwrap();
        child.join().unwrap();
    }

    fn a_fork_has_neither_listener_nor_connections() {
        let listener = Listener::bind(None, &options()).unwrap();
        let address = listener.address().clone();
        let child = {
            let address = address.to_string();
            Process::spawn(connect_and_wait, address).unwrap()
        };
        let server = listener.accept::<u8, u8>().unwrap();
        assert_eq!(server.recv().unwrap(), 1);
        let mut listener = Some(listener);
        let fork = Process::builder().fork(|| {
            let listener = listener.take().unwrap();
            let kinds = [
                listener.accept_timeout::<(), ()>(Duration::ZERO).unwrap_err().kind(),
                server.send(&1).unwrap_err().kind(),
                server.try_recv().unwrap_err().kind(),
            ];
            // Dropping it here removes nothing.
            drop(listener);
            kinds.iter().all(|kind| *kind == ErrorKind::NotOwner)
        });
        assert!(fork.unwrap().join().unwrap());
        assert!(address.path().unwrap().exists());
        server.send(&1).unwrap();
        child.join().unwrap();
    }
}

/// The permissions of others are theirs: the folder is only looked into.
#[test]
fn a_folder_that_cannot_be_locked_is_an_error() {
    let scratch = Scratch::new("locked");
    let lock = File::open(&scratch.0).unwrap();
    lock.lock().unwrap();
    let error = Listener::bind(Address::from(scratch.path()), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    drop(lock);
    let listener = Listener::bind(Address::from(scratch.path()), &options()).unwrap();
    assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
}

/// Connects as another user; returns what became of it.
fn connect_as_another(path: String) -> Option<String> {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::setuid(65_534) }, 0);
    let client = Client::connect::<u8, u8>(Address::unix(path), &options().any_user());
    client.and_then(|client| client.recv()).err().map(|error| error.to_string())
}

/// Listens as another user for one client.
fn listen_as_another((path, ready): (String, Connection<(), ()>)) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::setuid(65_534) }, 0);
    let listener = Listener::bind(Address::unix(path), &options().any_user()).unwrap();
    ready.send(&()).unwrap();
    let _ = ready.recv();
    drop(listener);
}

#[test]
fn another_user_gets_in_only_where_any_may() {
    let _watchdog = watchdog("another_user_gets_in_only_where_any_may");
    // SAFETY: touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: to be another user needs root");
        return;
    }
    let scratch = Scratch::new("users");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
    let spawn = Context::new(StartMethod::Spawn);
    for (options, gets_in) in [(options(), false), (options().any_user(), true)] {
        let listener = Listener::bind(Address::unix(scratch.path()), &options).unwrap();
        // Who may not open the path does not even come so far.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o666)).unwrap();
        let path = scratch.path().to_str().unwrap().to_owned();
        let client = spawn.spawn(connect_as_another, path).unwrap();
        if gets_in {
            listener.accept::<u8, u8>().unwrap().send(&7).unwrap();
        }
        while !gets_in && listener.refused() == 0 {
            let timeout = Duration::from_millis(20);
            assert!(listener.accept_timeout::<(), ()>(timeout).unwrap().is_none());
        }
        assert_eq!(client.join().unwrap().is_none(), gets_in);
        if let Some(refusal) = listener.take_refusal() {
            assert!(refusal.to_string().contains("uid 65534"), "{refusal}");
        }
    }
    let (here, there) = pipe::<(), ()>().unwrap();
    let path = scratch.path().to_str().unwrap().to_owned();
    let other = spawn.spawn(listen_as_another, (path, there)).unwrap();
    here.recv().unwrap();
    let address = Address::unix(scratch.path());
    let error = Client::connect::<(), ()>(address, &options()).unwrap_err();
    assert!(error.to_string().contains("uid 65534"), "{error}");
    drop(here);
    other.join().unwrap();
}
