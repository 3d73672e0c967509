//! What a manager's clients lose when one of them is killed, or the manager, or its parent.

use std::path::Path;
use std::time::Duration;

use kinfolk::manager::{
    AcquireError, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, DictProxy, EventProxy,
    LockProxy, PoolProxy, QueueProxy, RLockProxy, SemaphoreProxy,
};
use kinfolk::{
    Address, Connection, ConnectionOptions, ErrorKind, Manager, Process, RawArray, pipe,
};
use kinfolk_testkit::{Numbers, in_its_own_process, is_gone, wait_until, watchdog};

kinfolk::test_init!();

/// Waits for the end of this process, as a client that is to be killed.
fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A process that does something with a proxy, says so, and waits for its end.
fn client<P>(work: fn((P, Connection<(), ()>)), proxy: &P) -> (Process<()>, Connection<(), ()>)
where
    P: Clone + serde::Serialize + serde::de::DeserializeOwned,
{
    let (here, there) = pipe().unwrap();
    let builder = Process::builder().name("the client");
    (builder.spawn(work, (proxy.clone(), there)).unwrap(), here)
}

/// Kills a client once it has said that it is ready.
fn kill_when_ready((process, here): (Process<()>, Connection<(), ()>)) -> u32 {
    here.recv().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    process.pid()
}

/// Checks that a lock was left by a dead process.
fn left_by<G: std::fmt::Debug>(pid: u32, locked: Result<G, AcquireError<G>>) -> G {
    let Err(AcquireError::Abandoned(abandoned)) = locked else { panic!("{locked:?}") };
    assert_eq!((abandoned.pid(), abandoned.name()), (pid, Some("the client")));
    abandoned.into_inner()
}

#[test]
fn locks_of_a_killed_client_are_the_next_ones() {
    let _watchdog = watchdog("locks_of_a_killed_client_are_the_next_ones");
    let manager = Manager::start().unwrap();

    let lock = manager.lock().unwrap();
    let pid = kill_when_ready(client(
        |(lock, ready): (LockProxy, _)| {
            let _guard = lock.lock().unwrap();
            ready.send(&()).unwrap();
            for_ever();
        },
        &lock,
    ));
    drop(left_by(pid, lock.lock()));
    drop(lock.lock().unwrap());

    let rlock = manager.rlock().unwrap();
    let pid = kill_when_ready(client(
        |(lock, ready): (RLockProxy, _)| {
            let _guards = (lock.lock().unwrap(), lock.lock().unwrap());
            ready.send(&()).unwrap();
            for_ever();
        },
        &rlock,
    ));
    drop(left_by(pid, rlock.lock()));
    drop(rlock.lock().unwrap());

    let condition = manager.condition().unwrap();
    let pid = kill_when_ready(client(
        |(condition, ready): (ConditionProxy, _)| {
            let _guard = condition.lock().unwrap();
            ready.send(&()).unwrap();
            for_ever();
        },
        &condition,
    ));
    drop(left_by(pid, condition.lock()));
}

#[test]
fn a_lock_is_released_whatever_the_other_connections_do() {
    let _watchdog = watchdog("a_lock_is_released_whatever_the_other_connections_do");
    // The manager's own two, the one for releases, another process's, and one more.
    let manager = Manager::builder().max_connections(5).start().unwrap();
    let (lock, queue) = (manager.lock().unwrap(), manager.queue::<u8>(0).unwrap());
    let guard = lock.lock().unwrap();
    let (process, here) = client(
        |(_queue, ready): (QueueProxy<u8>, _)| {
            ready.send(&()).unwrap();
            for_ever();
        },
        &queue,
    );
    here.recv().unwrap();
    std::thread::scope(|scope| {
        // Who asks how it is has the last connection for a moment.
        let get = || loop {
            match queue.get() {
                Err(error) if error.kind() == ErrorKind::Exhausted => std::thread::yield_now(),
                got => break got.unwrap(),
            }
        };
        let waiting = [(); 2].map(|()| scope.spawn(get));
        wait_until("all are busy", || {
            manager.statistics().is_err_and(|error| error.kind() == ErrorKind::Exhausted)
        });
        drop(guard);
        process.kill().unwrap();
        wait_until("there is room", || queue.put(&1).is_ok());
        queue.put(&2).unwrap();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
    assert!(lock.try_lock().unwrap().is_some());
}

/// What is never dropped to the end.
struct Endless;

#[kinfolk::managed]
impl Endless {
    pub fn new() -> Self {
        Self
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        for_ever();
    }
}

#[test]
fn an_object_that_is_dropped_for_ever_holds_up_no_heir() {
    let _watchdog = watchdog("an_object_that_is_dropped_for_ever_holds_up_no_heir");
    fn keep((address, ready): (String, Connection<(), ()>)) {
        let address: Address = address.parse().unwrap();
        let manager = Manager::connect(&address, &ConnectionOptions::new()).unwrap();
        let _endless = manager.create::<Endless>(()).unwrap();
        ready.send(&()).unwrap();
        for_ever();
    }
    let manager = Manager::builder().register::<Endless>().unwrap().start().unwrap();
    let (here, there) = pipe().unwrap();
    let process = Process::spawn(keep, (manager.address().to_string(), there)).unwrap();
    kill_when_ready((process, here));
    wait_until("it is let go of", || manager.statistics().unwrap().objects == 0);
    let lock = manager.lock().unwrap();
    let pid = kill_when_ready(client(
        |(lock, ready): (LockProxy, _)| {
            let _guard = lock.lock().unwrap();
            ready.send(&()).unwrap();
            for_ever();
        },
        &lock,
    ));
    drop(left_by(pid, lock.lock()));
}

#[test]
fn what_a_killed_client_has_workers_do_is_cancelled() {
    let _watchdog = watchdog("what_a_killed_client_has_workers_do_is_cancelled");
    let manager = Manager::builder().pools().start().unwrap();
    let pool = manager.pool(Some(1)).unwrap();
    let (process, _here) = client(
        |(pool, _ready): (PoolProxy, _)| {
            let _ = pool.apply::<(), ()>(|()| for_ever(), ());
        },
        &pool,
    );
    wait_until("a worker is busy", || manager.statistics().unwrap().calls == 1);
    process.kill().unwrap();
    assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap(), 2);
}

#[test]
fn permits_of_a_killed_client_return() {
    let _watchdog = watchdog("permits_of_a_killed_client_return");
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    kill_when_ready(client(
        |(semaphore, ready): (SemaphoreProxy, _)| {
            let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
            ready.send(&()).unwrap();
            for_ever();
        },
        &semaphore,
    ));
    let _both = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    assert!(semaphore.try_acquire().unwrap().is_none());

    let bounded = manager.bounded_semaphore(1).unwrap();
    kill_when_ready(client(
        |(semaphore, ready): (BoundedSemaphoreProxy, _)| {
            semaphore.acquire().unwrap().forget();
            ready.send(&()).unwrap();
            for_ever();
        },
        &bounded,
    ));
    drop(bounded.acquire().unwrap());
    assert_eq!(bounded.release().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_barrier_breaks_when_one_that_waits_is_killed() {
    let _watchdog = watchdog("a_barrier_breaks_when_one_that_waits_is_killed");
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait().unwrap());
        let (process, _here) = client(
            |(barrier, _ready): (BarrierProxy, _)| {
                barrier.wait().unwrap().unwrap();
            },
            &barrier,
        );
        wait_until("both wait", || barrier.waiting().unwrap() == 2);
        process.kill().unwrap();
        assert_eq!(other.join().unwrap(), Err(kinfolk::BrokenBarrier));
    });
    assert!(barrier.is_broken().unwrap());
    barrier.reset().unwrap();
    assert!(!barrier.is_broken().unwrap());
}

#[test]
fn a_killed_waiter_swallows_no_notification() {
    let _watchdog = watchdog("a_killed_waiter_swallows_no_notification");
    let manager = Manager::start().unwrap();
    let condition = manager.condition().unwrap();
    let (process, _here) = client(
        |(condition, _ready): (ConditionProxy, _)| {
            let guard = condition.lock().unwrap();
            drop(guard.wait());
        },
        &condition,
    );
    let calls = |count| {
        wait_until("they wait", || manager.statistics().unwrap().calls == count);
    };
    calls(1);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let guard = condition.lock().unwrap();
            drop(guard.wait().unwrap());
        });
        calls(2);
        let guard = condition.lock().unwrap();
        // Notified or not, the first does not go on: it waits for the lock, or is gone.
        guard.notify_one().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        drop(guard);
        other.join().unwrap();
    });
}

#[test]
fn no_item_is_lost_that_a_killed_client_was_not_sent() {
    let _watchdog = watchdog("no_item_is_lost_that_a_killed_client_was_not_sent");
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>(0).unwrap();
    for round in 0..50 {
        let (process, _here) = client(
            |(queue, _ready): (QueueProxy<u32>, _)| {
                queue.get().unwrap();
            },
            &queue,
        );
        wait_until("it waits", || manager.statistics().unwrap().calls == 1);
        process.kill().unwrap();
        process.wait().unwrap();
        // Its sockets are closed. Whether the manager has noticed is a race.
        queue.put(&round).unwrap();
        assert_eq!(queue.get().unwrap(), round);
    }
    wait_until("nobody waits", || manager.statistics().unwrap().calls == 0);
}

/// Gets items, and notes each in shared memory.
fn note_items((queue, counts): (QueueProxy<usize>, RawArray<u32>)) {
    while let Ok(item) = queue.get() {
        counts.set(item, counts.get(item).unwrap() + 1).unwrap();
    }
}

#[test]
fn clients_killed_at_any_moment_lose_at_most_what_they_had_received() {
    let _watchdog = watchdog("clients_killed_at_any_moment_lose_at_most_what_they_had_received");
    const ITEMS: usize = 2_000;
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<usize>(10).unwrap();
    let counts = RawArray::<u32>::new(ITEMS).unwrap();
    let start = || {
        let arguments = (queue.clone(), counts.try_clone().unwrap());
        Process::spawn(note_items, arguments).unwrap()
    };
    let mut victims = [start(), start()];
    let (mut kills, mut numbers) = (0, Numbers::new(88_172_645_463_325_252));
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| (0..ITEMS).for_each(|item| queue.put(&item).unwrap()));
        while !putting.is_finished() {
            std::thread::sleep(Duration::from_micros(numbers.below(20_000)));
            let victim = &mut victims[kills % 2];
            victim.kill().unwrap();
            victim.wait().unwrap();
            kills += 1;
            *victim = start();
        }
    });
    wait_until("all are got", || queue.is_empty().unwrap());
    for victim in &victims {
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    kills += 2;
    let counts = counts.to_vec();
    assert!(counts.iter().all(|count| *count <= 1), "one was got twice");
    let lost = counts.iter().filter(|count| **count == 0).count();
    assert!(lost <= kills, "{lost} are lost by {kills} kills");
    wait_until("they are gone", || {
        let now = manager.statistics().unwrap();
        (now.clients, now.objects, now.calls) == (1, 1, 0)
    });
}

/// Makes calls of all kinds, until it is killed.
fn call_everything((dict, lock, queue): (DictProxy<u32, Vec<u8>>, LockProxy, QueueProxy<u32>)) {
    let address = dict_address(&dict);
    let manager = Manager::connect(&address, &ConnectionOptions::new()).unwrap();
    for n in 0.. {
        dict.insert(&(n % 100), &vec![1; n as usize % 3_000]).unwrap();
        let guard = lock.lock().or_else(AcquireError::into_guard).unwrap();
        queue.put(&n).unwrap();
        drop(guard);
        let _mine = manager.list(&[n]).unwrap();
        dict.get(&(n % 100)).unwrap();
        queue.get().unwrap();
    }
}

fn dict_address<K, V>(dict: &DictProxy<K, V>) -> kinfolk::Address {
    kinfolk::manager::Proxy::reference(dict).address().clone()
}

#[test]
fn a_client_may_be_killed_at_any_point_of_a_call() {
    let _watchdog = watchdog("a_client_may_be_killed_at_any_point_of_a_call");
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u32, Vec<u8>>().unwrap();
    let (lock, queue) = (manager.lock().unwrap(), manager.queue(0).unwrap());
    let mut numbers = Numbers::new(88_172_645_463_325_252);
    for _ in 0..40 {
        let arguments = (dict.clone(), lock.clone(), queue.clone());
        let victim = Process::spawn(call_everything, arguments).unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(30_000)));
        victim.kill().unwrap();
        victim.wait().unwrap();
        // The lock and the manager are there for others.
        drop(lock.lock().or_else(AcquireError::into_guard).unwrap());
        dict.insert(&0, &vec![0]).unwrap();
    }
    wait_until("nothing of theirs is left", || {
        let now = manager.statistics().unwrap();
        // What was under way to them is kept for a while, but it is the three.
        (now.clients, now.objects, now.calls) == (1, 3, 0)
    });
    manager.shutdown().unwrap();
}

#[test]
fn when_the_manager_is_killed_all_clients_are_told() {
    let _watchdog = watchdog("when_the_manager_is_killed_all_clients_are_told");
    let manager = Manager::start().unwrap();
    let (queue, full) = (manager.queue::<u8>(0).unwrap(), manager.queue::<u8>(1).unwrap());
    full.put(&1).unwrap();
    let (lock, condition) = (manager.lock().unwrap(), manager.condition().unwrap());
    let (event, barrier) = (manager.event().unwrap(), manager.barrier(2).unwrap());
    let semaphore = manager.semaphore(0).unwrap();
    let guard = lock.lock().unwrap();
    let (process, _here) = client(
        |(event, _ready): (EventProxy, _)| {
            assert_eq!(event.wait().unwrap_err().kind(), ErrorKind::Disconnected);
        },
        &event,
    );
    std::thread::scope(|scope| {
        let waits: [Box<dyn Fn() -> kinfolk::Result<()> + Send>; 7] = [
            Box::new(|| queue.get().map(drop)),
            Box::new(|| full.put(&2)),
            Box::new(|| full.join()),
            Box::new(|| lock.lock().map(drop).or_else(|error| error.into_guard().map(drop))),
            Box::new(|| {
                let guard = condition.lock().or_else(AcquireError::into_guard)?;
                guard.wait().map(drop).or_else(|error| error.into_guard().map(drop))
            }),
            Box::new(|| barrier.wait().map(drop)),
            Box::new(|| semaphore.acquire().map(drop)),
        ];
        let waiting: Vec<_> = waits.into_iter().map(|wait| scope.spawn(wait)).collect();
        wait_until("all wait", || manager.statistics().unwrap().calls == 8);
        manager.process().unwrap().kill().unwrap();
        for wait in waiting {
            assert_eq!(wait.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
        }
    });
    process.join().unwrap();
    drop(guard);
    assert_eq!(manager.dict::<u8, u8>().unwrap_err().kind(), ErrorKind::Disconnected);
    manager.shutdown().unwrap();
}

/// Starts a manager with something of everything, tells where it is, and waits.
fn parent(tell: Connection<(u32, String, String), ()>) {
    let manager = Manager::start().unwrap();
    let memory = manager.segments().unwrap().shared_memory(10).unwrap();
    let process = manager.process().unwrap().pid();
    let name = memory.name().unwrap().to_owned();
    tell.send(&(process, manager.address().to_string(), name)).unwrap();
    for_ever();
}

in_its_own_process! {
    fn a_manager_ends_with_its_parent_and_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("manager-kills-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (here, there) = pipe().unwrap();
        let process = Process::builder().env("TMPDIR", &folder).spawn(parent, there).unwrap();
        let (manager, address, memory): (u32, String, String) = here.recv().unwrap();
        assert!(Path::new(&address).exists());
        process.kill().unwrap();
        process.wait().unwrap();
        wait_until("the manager is gone", || is_gone(manager));
        wait_until("its address is gone", || !Path::new(&address).exists());
        // It is removed only if there is nothing in it.
        std::fs::remove_dir(&folder).unwrap();

        // The next that makes shared memory takes the names back that are left.
        let next = Manager::start().unwrap();
        let _segments = next.segments().unwrap();
        assert!(!Path::new("/dev/shm").join(memory).exists());
    }
}

#[test]
fn a_killed_managers_memory_is_taken_back_by_its_parent() {
    let _watchdog = watchdog("a_killed_managers_memory_is_taken_back_by_its_parent");
    let manager = Manager::start().unwrap();
    let segments = manager.segments().unwrap();
    let memory = segments.shared_memory(10).unwrap();
    let path = Path::new("/dev/shm").join(memory.name().unwrap());
    manager.process().unwrap().kill().unwrap();
    manager.process().unwrap().wait().unwrap();
    drop(manager);
    assert!(!path.exists());
}

#[test]
fn a_proxy_on_its_way_keeps_its_object_whoever_ends() {
    let _watchdog = watchdog("a_proxy_on_its_way_keeps_its_object_whoever_ends");
    let manager = Manager::start().unwrap();
    manager.register("start", &manager.event().unwrap()).unwrap();
    // It has made an object, sent its only proxy, and is killed.
    let (here, there) = pipe::<(), DictProxy<String, u32>>().unwrap();
    fn send((address, there): (String, Connection<DictProxy<String, u32>, ()>)) {
        let address: kinfolk::Address = address.parse().unwrap();
        let manager = Manager::connect(address, &ConnectionOptions::new()).unwrap();
        let dict = manager.dict().unwrap();
        dict.insert("one", &1).unwrap();
        there.send(&dict).unwrap();
        drop((dict, manager));
        // SAFETY: touches no memory; this process ends here.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    let process = Process::spawn(send, (manager.address().to_string(), there)).unwrap();
    process.wait().unwrap();
    wait_until("the manager knows", || manager.statistics().unwrap().clients == 1);
    let dict = here.recv().unwrap();
    assert_eq!(dict.get("one").unwrap(), Some(1));

    // One that is dropped after it was sent.
    let (a, b) = pipe::<_, DictProxy<String, u32>>().unwrap();
    a.send(&dict).unwrap();
    drop(dict);
    assert_eq!(manager.statistics().unwrap().objects, 2);
    assert_eq!(b.recv().unwrap().get("one").unwrap(), Some(1));
}

in_its_own_process! {
    fn a_thousand_clients_wait_at_once() {
        let (soft, _) = limit();
        let clients = usize::try_from(soft.saturating_sub(100)).unwrap().min(1_000);
        let manager = Manager::start().unwrap();
        let queue = manager.queue::<usize>(0).unwrap();
        manager.register("queue", &queue).unwrap();
        let wait = || {
            let own = Manager::connect(manager.address(), &ConnectionOptions::new()).unwrap();
            let queue: QueueProxy<usize> = own.get("queue").unwrap();
            queue.get().unwrap()
        };
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..clients)
                .map(|_| {
                    let builder = std::thread::Builder::new().stack_size(256 << 10);
                    builder.spawn_scoped(scope, wait).unwrap()
                })
                .collect();
            wait_until("all wait", || manager.statistics().unwrap().calls == clients);
            for item in 0..clients {
                queue.put(&item).unwrap();
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(sum, clients * (clients - 1) / 2);
        wait_until("they are gone", || manager.statistics().unwrap().clients == 1);
    }
}

/// The limits on this process's descriptors.
fn limit() -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct that it is given.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}
