//! The ready-made objects of a manager.

use std::time::Duration;

use kinfolk::manager::{DictProxy, ListProxy};
use kinfolk::{ErrorKind, ListItem, Manager, Plain, Process};
use kinfolk_testkit::{wait_until, watchdog};

kinfolk::test_init!();

/// A time that is over soon.
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn a_dict_is_pythons() {
    let _watchdog = watchdog("a_dict_is_pythons");
    let manager = Manager::start().unwrap();
    let dict: DictProxy<String, (u32, Option<f64>)> = manager.dict().unwrap();
    assert!(dict.is_empty().unwrap());
    assert_eq!(dict.insert("a", &(1, None)).unwrap(), None);
    assert_eq!(dict.insert("a", &(2, Some(0.5))).unwrap(), Some((1, None)));
    assert_eq!(dict.get_or_insert("a", &(3, None)).unwrap(), (2, Some(0.5)));
    assert_eq!(dict.get_or_insert("b", &(3, None)).unwrap(), (3, None));
    dict.extend([(&"c".to_owned(), &(4, None))]).unwrap();
    assert_eq!(dict.keys().unwrap(), ["a", "b", "c"]);
    assert_eq!(dict.values().unwrap().len(), 3);
    assert_eq!(dict.items().unwrap()[2], ("c".to_owned(), (4, None)));
    assert!(dict.contains_key("b").unwrap());
    assert_eq!(dict.remove("b").unwrap(), Some((3, None)));
    assert_eq!(dict.remove("b").unwrap(), None);
    assert_eq!(dict.pop_last().unwrap(), Some(("c".to_owned(), (4, None))));
    assert_eq!(dict.len().unwrap(), 1);
    dict.clear().unwrap();
    assert_eq!(dict.pop_last().unwrap(), None);

    let wrong: DictProxy<Vec<u8>, u8> = manager.dict().unwrap();
    let error = wrong.insert(&[1, 2][..], &1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn all_clients_see_the_same_values_whatever_their_types() {
    let _watchdog = watchdog("all_clients_see_the_same_values_whatever_their_types");
    let manager = Manager::start().unwrap();
    let numbers: DictProxy<u32, u64> = manager.dict().unwrap();
    manager.register("numbers", &numbers).unwrap();
    let anything: DictProxy<Plain, Plain> = manager.get("numbers").unwrap();
    numbers.insert(&1, &2).unwrap();
    assert_eq!(anything.get(&Plain::from(1)).unwrap(), Some(2.into()));
    anything.insert(&"text".into(), &"text".into()).unwrap();
    assert_eq!(numbers.get(&1).unwrap(), Some(2));
    assert_eq!(numbers.keys().unwrap_err().kind(), ErrorKind::Deserialize);
}

#[test]
fn a_list_is_pythons() {
    let _watchdog = watchdog("a_list_is_pythons");
    let manager = Manager::start().unwrap();
    let list: ListProxy<String> = manager.list(&["a".to_owned()]).unwrap();
    list.push(&"c".to_owned()).unwrap();
    list.insert(1, &"b".to_owned()).unwrap();
    assert_eq!(list.insert(9, &"b".to_owned()).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(list.to_vec().unwrap(), ["a", "b", "c"]);
    assert_eq!(list.position(&"c".to_owned()).unwrap(), Some(2));
    assert_eq!(list.get(1).unwrap().as_deref(), Some("b"));
    assert_eq!(list.get(3).unwrap(), None);
    assert_eq!(list.set(0, &"z".to_owned()).unwrap(), "a");
    assert_eq!(list.set(3, &"z".to_owned()).unwrap_err().kind(), ErrorKind::InvalidInput);
    list.reverse().unwrap();
    assert_eq!(list.remove(0).unwrap(), "c");
    assert_eq!(list.remove(2).unwrap_err().kind(), ErrorKind::InvalidInput);
    list.extend(&["x".to_owned(), "y".to_owned()]).unwrap();
    assert_eq!(list.pop().unwrap().as_deref(), Some("y"));
    assert_eq!(list.len().unwrap(), 3);
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
    assert_eq!(list.pop().unwrap(), None);
}

#[test]
fn sets_namespaces_values_and_arrays() {
    let _watchdog = watchdog("sets_namespaces_values_and_arrays");
    let manager = Manager::start().unwrap();
    let set = manager.set::<u32>().unwrap();
    assert!(set.insert(&1).unwrap());
    assert!(!set.insert(&1).unwrap());
    set.extend(&[2, 3]).unwrap();
    assert!(set.contains(&2).unwrap());
    assert_eq!(set.to_vec().unwrap(), [1, 2, 3]);
    assert!(set.remove(&2).unwrap());
    assert!(!set.remove(&2).unwrap());
    assert_eq!((set.pop_last().unwrap(), set.len().unwrap()), (Some(3), 1));
    set.clear().unwrap();
    assert!(set.is_empty().unwrap());

    let namespace = manager.namespace().unwrap();
    namespace.set("x", &10).unwrap();
    namespace.set("y", "hello").unwrap();
    assert_eq!(namespace.get::<u8>("x").unwrap(), 10);
    assert_eq!(namespace.get::<u8>("y").unwrap_err().kind(), ErrorKind::Deserialize);
    assert_eq!(namespace.get::<u8>("z").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(namespace.names().unwrap(), ["x", "y"]);
    assert!(namespace.remove("x").unwrap());
    assert!(!namespace.remove("x").unwrap());

    let value = manager.value(&1.5).unwrap();
    assert_eq!(value.set(&2.5).unwrap(), 1.5);
    assert!(!value.compare_and_set(&1.5, &9.0).unwrap());
    assert!(value.compare_and_set(&2.5, &3.5).unwrap());
    assert_eq!(value.get().unwrap(), 3.5);

    let array = manager.array(&[1_u8, 2, 3]).unwrap();
    assert_eq!(array.set(1, &9).unwrap(), 2);
    assert_eq!((array.get(1).unwrap(), array.len().unwrap()), (9, 3));
    assert_eq!(array.to_vec().unwrap(), [1, 9, 3]);
    assert!(!array.is_empty().unwrap());
    assert_eq!(array.get(3).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(array.set(3, &1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_lock_is_held_by_one() {
    let _watchdog = watchdog("a_lock_is_held_by_one");
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked().unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(SHORT).unwrap().is_none());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| drop(lock.lock().unwrap()));
        wait_until("it waits", || manager.statistics().unwrap().calls == 1);
        drop(guard);
        other.join().unwrap();
    });
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    std::mem::forget(lock.lock().unwrap());
    lock.release().unwrap();
    assert!(!lock.is_locked().unwrap());
}

#[test]
fn a_recursive_lock_is_its_threads() {
    let _watchdog = watchdog("a_recursive_lock_is_its_threads");
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    let once = lock.lock().unwrap();
    let twice = lock.try_lock().unwrap().unwrap();
    let is_free_elsewhere = || {
        std::thread::scope(|scope| {
            scope.spawn(|| lock.lock_timeout(SHORT).unwrap().is_some()).join().unwrap()
        })
    };
    assert!(!is_free_elsewhere());
    drop(twice);
    assert!(!is_free_elsewhere());
    drop(once);
    assert!(is_free_elsewhere());
    assert!(!lock.is_locked().unwrap());
}

#[test]
fn semaphores_count() {
    let _watchdog = watchdog("semaphores_count");
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    assert!(semaphore.acquire_timeout(SHORT).unwrap().is_none());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| drop(semaphore.acquire().unwrap()));
        wait_until("it waits", || manager.statistics().unwrap().calls == 1);
        drop(permit);
        other.join().unwrap();
    });
    semaphore.release().unwrap();
    assert_eq!(semaphore.value().unwrap(), 2);

    let bounded = manager.bounded_semaphore(1).unwrap();
    drop(bounded.acquire().unwrap());
    assert_eq!(bounded.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(bounded.value().unwrap(), 1);
}

#[test]
fn conditions_wake_those_that_they_notify() {
    let _watchdog = watchdog("conditions_wake_those_that_they_notify");
    let manager = Manager::start().unwrap();
    let (condition, turns) = (manager.condition().unwrap(), manager.value(&0_u32).unwrap());
    let guard = condition.lock().unwrap();
    let (guard, notified) = guard.wait_timeout(SHORT).unwrap();
    assert!(!notified);
    drop(guard);
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let outer = condition.lock().unwrap();
                    let guard = condition.lock().unwrap().wait().unwrap();
                    turns.set(&(turns.get().unwrap() + 1)).unwrap();
                    drop((guard, outer));
                })
            })
            .collect();
        wait_until("all wait", || manager.statistics().unwrap().calls == 3);
        condition.lock().unwrap().notify_one().unwrap();
        wait_until("one goes on", || turns.get().unwrap() == 1);
        condition.lock().unwrap().notify_all().unwrap();
        waits.into_iter().for_each(|wait| wait.join().unwrap());
    });
    assert_eq!(turns.get().unwrap(), 3);
    assert!(condition.lock_timeout(SHORT).unwrap().is_some());
}

#[test]
fn events_and_barriers_let_all_go_on() {
    let _watchdog = watchdog("events_and_barriers_let_all_go_on");
    let manager = Manager::start().unwrap();
    let event = manager.event().unwrap();
    assert!(!event.wait_timeout(SHORT).unwrap());
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..3).map(|_| scope.spawn(|| event.wait())).collect();
        wait_until("all wait", || manager.statistics().unwrap().calls == 3);
        event.set().unwrap();
        waits.into_iter().for_each(|wait| wait.join().unwrap().unwrap());
    });
    assert!(event.is_set().unwrap());
    event.wait().unwrap();
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());

    let barrier = manager.barrier(3).unwrap();
    assert_eq!(barrier.parties().unwrap(), 3);
    for _ in 0..20 {
        let mut places = std::thread::scope(|scope| {
            let waits: [_; 3] = std::array::from_fn(|_| scope.spawn(|| barrier.wait()));
            waits.map(|wait| wait.join().unwrap().unwrap().unwrap())
        });
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
    }
    assert!(barrier.wait_timeout(SHORT).unwrap().is_err());
    assert!(barrier.is_broken().unwrap());
    barrier.reset().unwrap();
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| barrier.wait().unwrap());
        wait_until("it waits", || barrier.waiting().unwrap() == 1);
        barrier.abort().unwrap();
        assert!(wait.join().unwrap().is_err());
    });
    assert_eq!(manager.barrier(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn queues_keep_order_and_wait() {
    let _watchdog = watchdog("queues_keep_order_and_wait");
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>(2).unwrap();
    assert_eq!(queue.try_get().unwrap(), None);
    assert_eq!(queue.get_timeout(SHORT).unwrap(), None);
    queue.put(&1).unwrap();
    assert!(queue.try_put(&2).unwrap());
    assert!(queue.is_full().unwrap());
    assert!(!queue.try_put(&3).unwrap());
    assert!(!queue.put_timeout(&3, SHORT).unwrap());
    std::thread::scope(|scope| {
        let put = scope.spawn(|| queue.put(&3));
        wait_until("it waits", || manager.statistics().unwrap().calls == 1);
        assert_eq!(queue.get().unwrap(), 1);
        put.join().unwrap().unwrap();
    });
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (2, 3));
    assert!(queue.is_empty().unwrap());
    assert!(!queue.join_timeout(SHORT).unwrap());
    for _ in 0..3 {
        queue.task_done().unwrap();
    }
    queue.join().unwrap();
    assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn many_get_from_a_queue_what_many_put() {
    let _watchdog = watchdog("many_get_from_a_queue_what_many_put");
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u64>(3).unwrap();
    let sum: u64 = std::thread::scope(|scope| {
        let gets: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..500).map(|_| queue.get().unwrap()).sum::<u64>()))
            .collect();
        for _ in 0..2 {
            scope.spawn(|| (0..1000).for_each(|item| queue.put(&item).unwrap()));
        }
        gets.into_iter().map(|get| get.join().unwrap()).sum()
    });
    assert_eq!(sum, 999 * 1000);
}

#[test]
fn a_pool_is_shared() {
    let _watchdog = watchdog("a_pool_is_shared");
    let manager = Manager::builder().pools().start().unwrap();
    let pool = manager.pool(Some(2)).unwrap();
    let squares = |pool: kinfolk::manager::PoolProxy| pool.map(|n: u64| n * n, 1..=4).unwrap();
    let process = Process::spawn(squares, pool.clone()).unwrap();
    assert_eq!(squares(pool.clone()), [1, 4, 9, 16]);
    assert_eq!(process.join().unwrap(), [1, 4, 9, 16]);
    let error = pool.apply(|n: u32| assert_eq!(n, 1, "not one"), 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("not one"), "{error}");
    let error = pool.apply(|()| -> () { std::process::abort() }, ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Died, "{error}");
    assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap(), 2);
    pool.terminate().unwrap();
    assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn there_are_no_pools_unless_they_are_allowed() {
    let _watchdog = watchdog("there_are_no_pools_unless_they_are_allowed");
    let manager = Manager::start().unwrap();
    let error = manager.pool(Some(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("ManagerBuilder::pools"), "{error}");
    assert_eq!(manager.statistics().unwrap().objects, 0);
}

#[test]
fn named_memory_is_taken_back() {
    let _watchdog = watchdog("named_memory_is_taken_back");
    let manager = Manager::start().unwrap();
    let segments = manager.segments().unwrap();
    let memory = segments.shared_memory(100).unwrap();
    memory.write(0, b"here").unwrap();
    let list = segments.shareable_list(&[ListItem::from(1)]).unwrap();
    assert_eq!(list.get(0).unwrap(), ListItem::from(1));
    let names = segments.names().unwrap();
    assert_eq!(names.len(), 2);
    let is_there = |name: &str| std::path::Path::new("/dev/shm").join(name).exists();
    assert!(names.iter().all(|name| is_there(name)));
    segments.release(memory.name().unwrap()).unwrap();
    assert!(!is_there(memory.name().unwrap()));
    assert_eq!(segments.release("none").unwrap_err().kind(), ErrorKind::NotFound);
    drop(segments);
    wait_until("they are taken back", || !names.iter().any(|name| is_there(name)));

    let segments = manager.segments().unwrap();
    let name = segments.shared_memory(100).unwrap().name().unwrap().to_owned();
    manager.shutdown().unwrap();
    assert!(!is_there(&name));
}

#[test]
fn what_is_too_deep_is_refused_and_hurts_nobody() {
    let _watchdog = watchdog("what_is_too_deep_is_refused_and_hurts_nobody");
    let manager = Manager::start().unwrap();
    let mut deep = Plain::None;
    // The deepest that travels, and so overflows no stack of the manager.
    for _ in 0..120 {
        deep = Plain::List(vec![deep]);
    }
    let value = manager.value(&Plain::None).unwrap();
    value.set(&deep).unwrap();
    assert_eq!(value.get().unwrap(), deep);
    for _ in 0..100 {
        deep = Plain::List(vec![deep]);
    }
    assert_eq!(value.set(&deep).unwrap_err().kind(), ErrorKind::Serialize);
    assert_eq!(value.get().unwrap().type_name(), "list");
}
