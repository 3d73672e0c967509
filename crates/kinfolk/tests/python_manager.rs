//! A manager here, whose clients are Python's `multiprocessing.managers`.

use std::io::{BufRead as _, BufReader};

use kinfolk::{Address, AuthKey, Manager};
use kinfolk_testkit::{Python, pythons, run_python, start_python, wait_until, watchdog};

kinfolk::test_init!();

/// What both sides know.
const KEY: &[u8] = b"known to both";

/// What each program of Python begins with.
const BEGIN: &str = "
import gc, queue, sys
from multiprocessing.managers import BaseManager, DictProxy, RemoteError, SyncManager

class Here(SyncManager):
    pass

Here.register('settings', proxytype=DictProxy)
Here.register('jobs')
Here.register('counter')

def raises(kind, call, *args, **named):
    try:
        call(*args, **named)
    except kind as error:
        return error
    raise AssertionError('%r is not raised' % kind)

manager = Here(address=ADDRESS, authkey=KEY)
manager.connect()
";

/// A manager that Pythons of any version reach, on TCP or not.
fn manager(address: Option<Address>) -> Manager {
    let key = AuthKey::from_bytes(KEY);
    // The least that a thread gets, which must do.
    let mut builder = Manager::builder().authkey(key).legacy().plain().stack_size(0);
    if let Some(address) = address {
        builder = builder.address(address);
    }
    builder.start().unwrap()
}

/// A program that uses the manager.
fn program(manager: &Manager, text: &str) -> String {
    let address = match manager.address() {
        Address::Unix(path) => format!("{:?}", path.to_str().unwrap()),
        Address::Tcp { host, port } => format!("({host:?}, {port})"),
    };
    let key = std::str::from_utf8(KEY).unwrap();
    format!("KEY, ADDRESS = {key:?}.encode(), {address}\n{BEGIN}{text}")
}

/// Runs a program with each Python.
fn each_python(text: &str) {
    for python in pythons() {
        let manager = manager(None);
        assert_eq!(run_python(&python, &program(&manager, text)), "");
        manager.shutdown().unwrap();
    }
}

/// The next line that a program prints.
fn line(python: &mut Python) -> String {
    let mut line = String::new();
    BufReader::new(python.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn a_dict_is_used() {
    let _watchdog = watchdog("a_dict_is_used");
    each_python(
        "
d = manager.dict({'a': 1}, b=[2])
d['c'] = {'x': (None, 1.5), 7: b'bytes'}
assert d['c'] == {'x': (None, 1.5), 7: b'bytes'}
assert raises(KeyError, lambda: d['none']).args == ('none',)
raises(TypeError, d.__setitem__, [], 1)
raises(TypeError, d.get)
assert 'a' in d and 'none' not in d and len(d) == 3
assert list(d) == ['a', 'b', 'c']
assert d.get('none') is None and d.get('none', 3) == 3 and d.get('b') == [2]
assert d.setdefault('a', 5) == 1 and d.setdefault('d', 5) == 5
assert d.pop('d') == 5 and d.pop('d', 6) == 6
raises(KeyError, d.pop, 'd')
d.update({'e': 1}, f=2)
d.update([('g', 3)])
assert list(d.keys()) == ['a', 'b', 'c', 'e', 'f', 'g']
assert list(d.items())[3:] == [('e', 1), ('f', 2), ('g', 3)] and list(d.values())[-1] == 3
assert d.popitem() == ('g', 3)
del d['c']
raises(KeyError, d.__delitem__, 'c')
assert d.copy() == {'a': 1, 'b': [2], 'e': 1, 'f': 2} == d._getvalue()
assert str(d) == str(d.copy()), str(d)
assert manager._debug_info().count('refcount=') >= 1
d.clear()
assert not d.copy()
raises(KeyError, d.popitem)
assert d.get(float('nan'), (float('inf'), 2**100)) == (float('inf'), 2**100)
raises(RemoteError, d.get, object)
assert d.setdefault('still', 'there') == 'there'
",
    );
}

#[test]
fn a_list_is_used() {
    let _watchdog = watchdog("a_list_is_used");
    each_python(
        "
l = manager.list([3, 1, 2])
l.append('x')
assert l[0] == 3 and l[-1] == 'x' and len(l) == 4 and l[:] == [3, 1, 2, 'x']
raises(IndexError, lambda: l[4])
raises(IndexError, l.__setitem__, -5, 1)
raises(TypeError, l.__getitem__, 'a')
assert [x for x in l] == [3, 1, 2, 'x'] and 2 in l and 5 not in l
assert l[1:3] == [1, 2] and l[::-1] == ['x', 2, 1, 3] and l[::2] == [3, 2] and l[9:] == []
assert raises(TypeError, l.sort).args[0].startswith(\"'<' not supported\")
assert l.pop() == 'x' and l.pop(0) == 3
l.extend((5, 4)); l += [9]
l.sort()
assert l[:] == [1, 2, 4, 5, 9]
l.sort(reverse=True)
l.reverse()
l[0] = 0; l[1:3] = ['a', 'b', 'c']; l[-2:] = []
assert l[:] == [0, 'a', 'b', 'c'], l[:]
l[::2] = [1, 2]
raises(ValueError, l.__setitem__, slice(None, None, 2), [1])
raises(ValueError, l.__getitem__, slice(None, None, 0))
assert l[:] == [1, 'a', 2, 'c']
del l[::2]; del l[0]
assert l[:] == ['c'] and l * 3 == ['c'] * 3 and l + [1] == ['c', 1]
l *= 2
l.insert(0, None); l.insert(-1, True); l.insert(99, 'end')
assert l[:] == [None, 'c', True, 'c', 'end'] and l.count('c') == 2 and l.index('c', 2) == 3
raises(ValueError, l.index, 'none'); raises(ValueError, l.remove, 'none')
l.remove('c')
assert str(l) == \"[None, True, 'c', 'end']\", str(l)
raises(MemoryError, l.__mul__, 10**9)
raises(MemoryError, manager.list(['x' * 10**6]).__mul__, 100)
assert manager.list() * 10**9 == []
numbers = [(7 * i % 100) + (i % 3) / 2 if i % 2 else 2**53 + 7 * i % 100 for i in range(100)]
l = manager.list(numbers)
l.sort()
assert l[:] == sorted(numbers)
l.sort(reverse=True)
assert l[:] == sorted(numbers, reverse=True)
l = manager.list([float('nan') if i % 3 else i for i in range(100)])
l.sort()
assert len(l) == 100
l = manager.list(list(range(99))); l.append('x')
raises(TypeError, l.sort)
assert l[:] == [*range(99), 'x']
raises(IndexError, manager.list().pop)
",
    );
}

#[test]
fn a_queue_is_used() {
    let _watchdog = watchdog("a_queue_is_used");
    each_python(
        "
import threading
q = manager.Queue(2)
q.put('one'); q.put(('two', [2]), timeout=5)
assert q.full() and not q.empty() and q.qsize() == 2
raises(queue.Full, q.put, 3, False)
raises(queue.Full, q.put_nowait, 3)
raises(queue.Full, q.put, 3, True, 0.01)
assert q.get() == 'one' and q.get(timeout=5) == ('two', [2])
raises(queue.Empty, q.get_nowait)
raises(queue.Empty, q.get, False)
raises(queue.Empty, q.get, timeout=0.01)
raises(ValueError, q.get, True, -1)
q.task_done(); q.task_done()
raises(ValueError, q.task_done)
q.join()
other = manager.JoinableQueue()
thread = threading.Thread(target=lambda: other.put(q.get() + 1))
thread.start()
q.put(41)
assert other.get() == 42
thread.join()
",
    );
}

#[test]
fn what_synchronises_is_used() {
    let _watchdog = watchdog("what_synchronises_is_used");
    each_python(
        "
import threading
def elsewhere(call, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(call(*args)))
    thread.start(); thread.join()
    return results[0]

lock = manager.Lock()
with lock:
    assert not lock.acquire(False) and not elsewhere(lock.acquire, True, 0.01)
assert lock.acquire() and elsewhere(lambda: lock.release()) is None
raises(RuntimeError, lock.release)
rlock = manager.RLock()
with rlock:
    assert rlock.acquire() and not elsewhere(rlock.acquire, False)
    rlock.release()
assert elsewhere(lambda: rlock.acquire(False) and rlock.release()) is None
raises(RuntimeError, rlock.release)
two = manager.Semaphore(2)
assert two.acquire() and two.acquire() and not two.acquire(False)
two.release()
assert two.acquire(False)
bounded = manager.BoundedSemaphore(1)
raises(ValueError, bounded.release)
assert not two.acquire(False) and not two.acquire(True, -1)
raises(ValueError, lock.acquire, True, -2)
assert lock.acquire(True, -1) and lock.release() is None
event = manager.Event()
assert not event.is_set() and event.wait(0.01) is False and event.wait(-1) is False
threading.Thread(target=event.set).start()
assert event.wait() and event.is_set()
event.clear()
assert not event.is_set()
",
    );
}

#[test]
fn permits_are_released_all_or_none() {
    let _watchdog = watchdog("permits_are_released_all_or_none");
    for python in pythons() {
        let manager = manager(None);
        let semaphore = manager.bounded_semaphore(2).unwrap();
        manager.register("jobs", &semaphore).unwrap();
        // Its proxy in Python has no number, its server has had one since 3.9.
        let text = "
from multiprocessing.managers import BaseProxy
class Many(BaseProxy):
    def release(self, n):
        return self._callmethod('release', (n,))
Here.register('many', Many, exposed=('release',))
one = manager.jobs()
assert one.acquire()
two = Many(one._token, 'pickle', manager, KEY, ['release'])
raises(ValueError, two.release, 2)
two.release(1)
raises(ValueError, two.release, 1)
";
        assert_eq!(run_python(&python, &program(&manager, text)), "");
        assert_eq!(semaphore.value().unwrap(), 2);
        manager.shutdown().unwrap();
    }
}

#[test]
fn small_containers_are_used() {
    let _watchdog = watchdog("small_containers_are_used");
    each_python(
        "
n = manager.Namespace(a=1)
n.b = [2]
assert n.a == 1 and n.b == [2] and str(n) == 'Namespace(a=1, b=[2])', str(n)
del n.a
raises(AttributeError, lambda: n.a)
v = manager.Value('i', 3)
v.value += 1
assert v.value == 4 == v.get()
a = manager.Array('d', [1.5, 2.5])
a[0] = 3.5
assert a[0] == 3.5 and len(a) == 2 and a[-1] == 2.5
raises(IndexError, lambda: a[2])
",
    );
}

#[test]
fn objects_of_a_name_are_shared_with_programs_of_rust() {
    let _watchdog = watchdog("objects_of_a_name_are_shared_with_programs_of_rust");
    for python in pythons() {
        for address in [None, Some(Address::tcp("127.0.0.1", 0))] {
            let manager = manager(address);
            let settings = manager.dict::<String, u32>().unwrap();
            settings.insert("from Rust", &1).unwrap();
            manager.register("settings", &settings).unwrap();
            let jobs = manager.queue::<(String, Vec<u8>)>(0).unwrap();
            manager.register("jobs", &jobs).unwrap();
            let text = "
s, j = manager.settings(), manager.jobs()
assert s['from Rust'] == 1
s['from Python'] = 2
j.put(('job', [1, 2]))
assert j.get() == ('job', [1, 2])
j.put(('another', []))
raises(RemoteError, manager.counter)
raises(RemoteError, manager.Pool)
raises(RemoteError, manager.settings, 1)
";
            assert_eq!(run_python(&python, &program(&manager, text)), "");
            // What was refused is no reference.
            assert_eq!(manager.statistics().unwrap().objects, 2);
            assert_eq!(settings.get("from Python").unwrap(), Some(2));
            assert_eq!(jobs.get().unwrap(), ("another".to_owned(), Vec::new()));
            manager.shutdown().unwrap();
        }
    }
}

#[test]
fn references_are_counted_and_the_manager_answers_for_itself() {
    let _watchdog = watchdog("references_are_counted_and_the_manager_answers_for_itself");
    each_python(
        "
from multiprocessing.connection import Client
from multiprocessing.managers import dispatch

def control(method, *args):
    connection = Client(ADDRESS, authkey=KEY)
    try:
        return dispatch(connection, None, method, args)
    finally:
        connection.close()

before = manager._number_of_objects()
d = manager.dict(a=1)
assert manager._number_of_objects() == before + 1
l = manager.list()
assert 'append' in control('get_methods', l._token)
del l
assert manager._number_of_objects() == before + 1, 'the list is gone'
for _ in d:
    pass
gc.collect()
assert manager._number_of_objects() == before + 1, 'the iterator is gone'
ident = d._id
control('incref', ident)
del d
assert manager._number_of_objects() == before + 1
assert ident in control('debug_info') and 'refcount=1' in control('debug_info')
control('decref', ident)
assert manager._number_of_objects() == before
raises(RemoteError, control, 'decref', ident)
raises(RemoteError, control, 'incref', 'zzz')
raises(RemoteError, control, 'format_the_disk')
raises(RemoteError, control, 'create', 'none')
raises(RemoteError, control, 'create')
deep = 1
for _ in range(120):
    deep = (deep,)
kept = manager.list([deep])
assert kept[0] == deep
assert control('dummy') is None
assert control('shutdown') is None
",
    );
}

#[test]
fn the_lock_of_a_killed_client_and_its_waiting_call_are_given_up() {
    let _watchdog = watchdog("the_lock_of_a_killed_client_and_its_waiting_call_are_given_up");
    for python in pythons() {
        let manager = manager(None);
        let lock = manager.lock().unwrap();
        manager.register("counter", &lock).unwrap();
        let jobs = manager.queue::<u8>(0).unwrap();
        manager.register("jobs", &jobs).unwrap();
        let holds = "
lock = manager.counter()
lock.acquire()
print('held')
manager.jobs().get()
";
        let mut holder = start_python(&python, &program(&manager, holds));
        assert_eq!(line(&mut holder), "held");
        wait_until("it waits for a job", || manager.statistics().unwrap().calls == 1);
        assert!(lock.try_lock().unwrap().is_none());
        holder.kill().unwrap();
        holder.wait().unwrap();
        // The heir is told whose it was.
        drop(lock.lock().unwrap_err().into_guard().unwrap());
        // No item goes to the dead.
        jobs.put(&7).unwrap();
        assert_eq!(jobs.get().unwrap(), 7);
        // Its references stay: Python does not say whose they are.
        assert!(manager.statistics().unwrap().objects >= 2);
        manager.shutdown().unwrap();
    }
}

#[test]
fn a_killed_manager_is_an_error_at_once() {
    let _watchdog = watchdog("a_killed_manager_is_an_error_at_once");
    for python in pythons() {
        let manager = manager(None);
        let waits = "
q = manager.Queue()
q.put(1)
q.get()
print('waits')
raises((EOFError, ConnectionError), q.get)
";
        let mut waiter = start_python(&python, &program(&manager, waits));
        assert_eq!(line(&mut waiter), "waits");
        manager.process().unwrap().kill().unwrap();
        assert!(waiter.wait().unwrap().success());
        drop(manager);
    }
}
