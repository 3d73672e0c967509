//! A manager of Python's, whose client is here.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use kinfolk::manager::python::{PythonDict, PythonManager, PythonQueue};
use kinfolk::{Address, AuthKey, ConnectionOptions, ErrorKind, Plain, Process, StartMethod};
use kinfolk_testkit::{Python, pythons, signal, start_python, wait_until, watchdog};

kinfolk::test_init!();

/// What both sides know.
const KEY: &[u8] = b"known to both";

/// A manager of Python's.
const SERVER: &str = "
from multiprocessing.managers import BaseProxy, DictProxy, SyncManager
import queue
settings, jobs = {'from Python': 1}, queue.Queue()
def fail():
    raise ValueError('no such thing')
SyncManager.register('settings', lambda: settings, DictProxy)
SyncManager.register('jobs', lambda: jobs)
SyncManager.register('fail', fail)
class Tree:
    def branch(self):
        return []
class TreeProxy(BaseProxy):
    _exposed_ = ('branch',)
    _method_to_typeid_ = {'branch': 'list'}
SyncManager.register('tree', Tree, TreeProxy)
server = SyncManager(ADDRESS, KEY).get_server()
print(server.address if isinstance(server.address, str) else '%s:%d' % server.address)
server.serve_forever()
";

/// Starts a manager of each Python, and hands its client over; then it is shut down.
fn each_python(test: impl Fn(&PythonManager, &mut Python)) {
    for python in pythons() {
        for address in ["None", "('127.0.0.1', 0)"] {
            let (mut server, address) = serve(&python, address);
            let manager = PythonManager::connect(address, &options()).unwrap();
            test(&manager, &mut server);
            if server.try_wait().unwrap().is_none() {
                manager.shutdown().unwrap();
                server.wait().unwrap();
            }
        }
    }
}

/// Starts a manager of a Python, and says where it is.
fn serve(python: &Path, address: &str) -> (Python, Address) {
    let key = std::str::from_utf8(KEY).unwrap();
    let program = format!("KEY, ADDRESS = {key:?}.encode(), {address}\n{SERVER}");
    let mut server = start_python(python, &program);
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (server, line.trim().parse().unwrap())
}

/// The key, and what each Python needs.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().authkey(AuthKey::from_bytes(KEY)).legacy().plain()
}

#[test]
fn objects_of_python_are_used() {
    let _watchdog = watchdog("objects_of_python_are_used");
    each_python(|manager, _| {
        let dict = manager.dict::<String, (u8, Option<f64>)>().unwrap();
        let key = |text: &str| text.to_owned();
        dict.insert(&key("a"), &(1, None)).unwrap();
        dict.insert(&key("b"), &(2, Some(0.5))).unwrap();
        assert_eq!(dict.get(&key("b")).unwrap(), Some((2, Some(0.5))));
        assert_eq!(dict.get(&key("none")).unwrap(), None);
        assert_eq!(dict.items().unwrap().len(), dict.len().unwrap());
        assert!(dict.contains_key(&key("a")).unwrap());
        assert_eq!(dict.remove(&key("a")).unwrap(), Some((1, None)));
        assert_eq!(dict.remove(&key("a")).unwrap(), None);

        let list = manager.list(&[1_i64, 2]).unwrap();
        list.push(&3).unwrap();
        list.set(0, &i64::MIN).unwrap();
        assert_eq!(list.items().unwrap(), [i64::MIN, 2, 3]);
        assert_eq!(list.get(2).unwrap(), Some(3));
        assert_eq!(list.get(3).unwrap(), None);
        assert_eq!(list.set(3, &4).unwrap_err().kind(), ErrorKind::Raised);
        assert_eq!([(); 4].map(|()| list.pop().unwrap()), [Some(3), Some(2), Some(i64::MIN), None]);

        let queue = manager.queue::<String>(1).unwrap();
        queue.put(&key("first")).unwrap();
        assert!(!queue.try_put(&key("second")).unwrap());
        assert!(!queue.put_timeout(&key("second"), Duration::from_millis(1)).unwrap());
        assert_eq!(queue.get().unwrap(), "first");
        assert_eq!(queue.try_get().unwrap(), None);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.get().unwrap());
            queue.put(&key("third")).unwrap();
            assert_eq!(waits.join().unwrap(), "third");
        });

        let lock = manager.lock().unwrap();
        lock.acquire().unwrap();
        assert!(!lock.try_acquire().unwrap());
        assert!(!lock.acquire_timeout(Duration::from_millis(1)).unwrap());
        lock.release().unwrap();
        let error = lock.release().unwrap_err();
        assert!(error.to_string().contains("release unlocked lock"), "{error}");

        let names = manager.namespace().unwrap();
        names.set("depth", &3).unwrap();
        assert_eq!(names.get::<u8>("depth").unwrap(), Some(3));
        assert!(names.remove("depth").unwrap());
        assert_eq!(names.get::<u8>("depth").unwrap(), None);
        assert!(!names.remove("depth").unwrap());

        assert_eq!(manager.number_of_objects().unwrap(), 5);
        drop((dict, list, queue, lock, names));
        assert_eq!(manager.number_of_objects().unwrap(), 0);
    });
}

#[test]
fn what_python_has_registered_is_found() {
    let _watchdog = watchdog("what_python_has_registered_is_found");
    each_python(|manager, _| {
        let settings = manager.create("settings", &[]).map(PythonDict::<String, u8>::from).unwrap();
        assert_eq!(settings.get(&"from Python".to_owned()).unwrap(), Some(1));
        let [one, other] =
            [(); 2].map(|()| PythonQueue::<u8>::from(manager.create("jobs", &[]).unwrap()));
        one.put(&7).unwrap();
        assert_eq!(other.get().unwrap(), 7);
        let error = manager.create("fail", &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Raised);
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert_eq!(manager.create("none", &[]).unwrap_err().kind(), ErrorKind::Raised);
    });
}

#[test]
fn a_result_that_stays_with_the_manager_is_given_up() {
    let _watchdog = watchdog("a_result_that_stays_with_the_manager_is_given_up");
    each_python(|manager, _| {
        let tree = manager.create("tree", &[]).unwrap();
        let error = tree.call::<Plain>("branch", &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(manager.number_of_objects().unwrap(), 1);
    });
}

#[test]
fn a_time_without_end_is_for_ever() {
    let _watchdog = watchdog("a_time_without_end_is_for_ever");
    each_python(|manager, _| {
        let queue = manager.queue::<u8>(0).unwrap();
        assert!(queue.put_timeout(&1, Duration::MAX).unwrap());
        assert_eq!(queue.get_timeout(Duration::MAX).unwrap(), Some(1));
        assert!(manager.lock().unwrap().acquire_timeout(Duration::MAX).unwrap());
    });
}

#[test]
fn a_killed_manager_of_python_is_an_error_at_once() {
    let _watchdog = watchdog("a_killed_manager_of_python_is_an_error_at_once");
    each_python(|manager, server| {
        let queue = manager.queue::<u8>(0).unwrap();
        queue.put(&1).unwrap();
        assert_eq!(queue.get().unwrap(), 1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.get().unwrap_err());
            server.kill().unwrap();
            server.wait().unwrap();
            let kind = waits.join().unwrap().kind();
            assert!(matches!(kind, ErrorKind::Disconnected | ErrorKind::NotFound), "{kind:?}");
        });
    });
}

#[test]
fn a_stopped_manager_of_python_is_not_waited_for_for_ever() {
    let _watchdog = watchdog("a_stopped_manager_of_python_is_not_waited_for_for_ever");
    let Some(python) = pythons().pop() else { return };
    let (mut server, address) = serve(&python, "None");
    let options = options().deadline(Duration::from_secs(5));
    let manager = PythonManager::connect(address, &options).unwrap();
    let queue = manager.queue::<u8>(0).unwrap();
    assert_eq!(queue.try_get().unwrap(), None);
    signal(server.id(), libc::SIGSTOP);
    wait_until("all its threads have stopped", || {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        threads.all(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat"));
            stat.is_ok_and(|stat| stat.contains(") T "))
        })
    });
    let error = queue.get_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(manager.number_of_objects().unwrap_err().kind(), ErrorKind::Timeout);
    drop(queue);
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_fork_is_told_that_the_object_is_its_parents() {
    let _watchdog = watchdog("a_fork_is_told_that_the_object_is_its_parents");
    fn body((): ()) {
        each_python(|manager, _| {
            let list = manager.list(&[1]).unwrap();
            let refused = || list.items().unwrap_err().kind() == ErrorKind::NotOwner;
            let process = Process::builder().fork(|| {
                let copy = manager.clone();
                // Its references are not this process's to give back.
                refused() && copy.number_of_objects().unwrap_err().kind() == ErrorKind::NotOwner
            });
            assert!(process.unwrap().join().unwrap());
            assert_eq!(list.items().unwrap(), [1]);
        });
    }
    kinfolk::Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
}
