//! Managers: objects that processes share by proxies.

use std::time::Duration;

use kinfolk::manager::{DictProxy, QueueProxy};
use kinfolk::{ConnectionOptions, ErrorKind, Listener, Manager, Process, StartMethod};
use kinfolk_testkit::{
    Leaks, Numbers, for_each_start_method, in_its_own_process, wait_until, watchdog,
};

kinfolk::test_init!();

/// A class with a bit of everything.
struct Counter {
    value: u64,
}

#[kinfolk::managed]
impl Counter {
    /// Starts counting.
    pub fn new(start: u64) -> Result<Self, String> {
        if start == 13 {
            return Err("it brings bad luck".to_owned());
        }
        Ok(Self { value: start })
    }

    /// Adds, and returns the sum.
    pub fn add(&mut self, n: u64) -> u64 {
        self.value += n;
        self.value
    }

    pub fn value(&self) -> u64 {
        self.value
    }

    pub fn describe(&self, name: &str, units: &[String], more: &Option<u32>) -> String {
        format!("{name}: {} {units:?} {more:?}", self.value)
    }

    pub fn add_from(&mut self, other: CounterProxy) -> u64 {
        self.value += other.value().unwrap();
        self.value
    }

    pub fn panic_half_way(&mut self) {
        self.value += 1;
        panic!("at {}", self.value);
    }

    pub fn sleep(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    pub fn large(&self, bytes: usize) -> Vec<u8> {
        vec![7; bytes]
    }

    pub fn take(&self, bytes: Vec<u8>) -> usize {
        bytes.len()
    }
}

/// A class whose methods and arguments have names that the macro has use for, and a `new` for
/// each of two conditions.
struct Odd(String);

#[kinfolk::managed]
impl Odd {
    #[cfg(not(target_os = "linux"))]
    pub fn new(object: u64) -> Self {
        Self(object.to_string())
    }

    #[cfg(target_os = "linux")]
    pub fn new(object: String, call: String) -> Self {
        Self(object + &call)
    }

    pub fn look(&self, object: &str, call: &str, result: &str) -> String {
        format!("{} {object} {call} {result}", self.0)
    }

    pub fn change(&mut self, result: String, call: String, object: String) -> usize {
        self.0 = object + &call + &result;
        self.0.len()
    }
}

/// A class of which objects are made under a condition that does not hold.
struct Never;

#[kinfolk::managed]
impl Never {
    #[cfg(not(target_os = "linux"))]
    pub fn new() -> Self {
        Self
    }

    pub fn one(&self) -> u8 {
        1
    }
}

fn manager() -> Manager {
    Manager::builder().register::<Counter>().unwrap().start().unwrap()
}

fn add(proxy: CounterProxy) -> u64 {
    proxy.add(1).unwrap()
}

for_each_start_method! {
    fn proxies_travel_to_processes_and_back(method) {
        let manager = Manager::builder()
            .start_method(method)
            .register::<Counter>()
            .unwrap()
            .start()
            .unwrap();
        let counter = manager.create::<Counter>(0).unwrap();
        for expected in 1..=3 {
            let process =
                Process::builder().start_method(method).spawn(add, counter.clone()).unwrap();
            assert_eq!(process.join().unwrap(), expected);
        }
        fn give_back(proxy: CounterProxy) -> CounterProxy {
            proxy.add(10).unwrap();
            proxy
        }
        let process = Process::builder().start_method(method).spawn(give_back, counter).unwrap();
        let counter = process.join().unwrap();
        assert_eq!(counter.value().unwrap(), 13);
        manager.shutdown().unwrap();
        assert_eq!(counter.value().unwrap_err().kind(), ErrorKind::Disconnected);
    }
}

#[test]
fn methods_take_what_is_lent_and_proxies() {
    let _watchdog = watchdog("methods_take_what_is_lent_and_proxies");
    let manager = manager();
    let (one, two) = (manager.create::<Counter>(1).unwrap(), manager.create::<Counter>(2).unwrap());
    assert_eq!(
        one.describe("one", &["m".to_owned()], &Some(3)).unwrap(),
        r#"one: 1 ["m"] Some(3)"#
    );
    assert_eq!(one.add_from(two).unwrap(), 3);
    let error = manager.create::<Counter>(13).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("bad luck"), "{error}");
}

#[test]
fn names_and_conditions_are_the_users() {
    let _watchdog = watchdog("names_and_conditions_are_the_users");
    let server = Manager::builder().register::<Odd>().unwrap().bind().unwrap();
    server.register("never made", Never).unwrap();
    let address = server.address().clone();
    let serving = std::thread::spawn(|| server.serve_forever());
    let manager = Manager::connect(&address, &ConnectionOptions::new()).unwrap();
    let odd = manager.create::<Odd>(("a".to_owned(), "b".to_owned())).unwrap();
    assert_eq!(odd.look("1", "2", "3").unwrap(), "ab 1 2 3");
    assert_eq!(odd.change("3".to_owned(), "2".to_owned(), "1".to_owned()).unwrap(), 3);
    assert_eq!(odd.look("", "", "").unwrap(), "123   ");
    assert_eq!(manager.get::<NeverProxy>("never made").unwrap().one().unwrap(), 1);
    manager.shutdown().unwrap();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_process_may_have_a_name_of_any_length() {
    let _watchdog = watchdog("a_process_may_have_a_name_of_any_length");
    let manager = manager();
    let counter = manager.create::<Counter>(0).unwrap();
    // A character of two bytes stands where the name is cut, or not.
    for (expected, name) in (1..).zip(["é".repeat(5000), format!("e{}", "é".repeat(5000))]) {
        let process = Process::builder().name(name).spawn(add, counter.clone()).unwrap();
        assert_eq!(process.join().unwrap(), expected);
    }
}

#[test]
fn a_panic_is_an_error_and_the_object_goes_on() {
    let _watchdog = watchdog("a_panic_is_an_error_and_the_object_goes_on");
    let manager = manager();
    let counter = manager.create::<Counter>(1).unwrap();
    let error = counter.panic_half_way().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("at 2"), "{error}");
    assert!(error.to_string().contains("manager.rs"), "{error}");
    assert_eq!(counter.value().unwrap(), 2);
    assert_eq!(counter.add(1).unwrap(), 3);
}

#[test]
fn a_class_that_the_manager_does_not_know_is_an_error_that_says_what_to_do() {
    let _watchdog = watchdog("a_class_that_the_manager_does_not_know");
    let manager = Manager::start().unwrap();
    let error = manager.create::<Counter>(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("ManagerBuilder::register"), "{error}");
}

#[test]
fn objects_have_names_for_programs_that_are_no_relatives() {
    let _watchdog = watchdog("objects_have_names_for_programs_that_are_no_relatives");
    let manager = manager();
    let counter = manager.create::<Counter>(5).unwrap();
    manager.register("five", &counter).unwrap();
    drop(counter);
    let other = Manager::connect(manager.address(), &ConnectionOptions::new()).unwrap();
    let counter: CounterProxy = other.get("five").unwrap();
    assert_eq!(counter.value().unwrap(), 5);
    let error = other.get::<DictProxy<String, u64>>("five").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = other.register("five", &counter).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    other.unregister("five").unwrap();
    let error = other.get::<CounterProxy>("five").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(counter.value().unwrap(), 5);
}

#[test]
fn an_object_goes_with_its_last_proxy() {
    let _watchdog = watchdog("an_object_goes_with_its_last_proxy");
    let manager = manager();
    let counter = manager.create::<Counter>(5).unwrap();
    let clone = counter.clone();
    assert_eq!(manager.statistics().unwrap().objects, 1);
    drop(counter);
    assert_eq!(manager.statistics().unwrap().objects, 1);
    drop(clone);
    assert_eq!(manager.statistics().unwrap().objects, 0);
}

#[test]
fn slow_methods_hold_up_nobody_else() {
    let _watchdog = watchdog("slow_methods_hold_up_nobody_else");
    let manager = manager();
    let (slow, quick) =
        (manager.create::<Counter>(0).unwrap(), manager.create::<Counter>(0).unwrap());
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| slow.sleep(1_000_000));
        kinfolk_testkit::wait_until("the method is called", || {
            manager.statistics().unwrap().calls == 1
        });
        for _ in 0..100 {
            quick.add(1).unwrap();
            // Those that change nothing run at the same time.
            slow.value().unwrap();
        }
        assert!(!sleeping.is_finished());
        manager.process().unwrap().kill().unwrap();
        assert_eq!(sleeping.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    });
}

#[test]
fn limits_are_clear_errors() {
    let _watchdog = watchdog("limits_are_clear_errors");
    let manager = Manager::builder()
        .register::<Counter>()
        .unwrap()
        .largest_message(10_000)
        .max_objects(2)
        .max_connections(3)
        .start()
        .unwrap();
    let counter = manager.create::<Counter>(0).unwrap();
    // Its own two are there, always.
    let small = Manager::builder().max_connections(0).start().unwrap();
    assert_eq!(small.statistics().unwrap().connections, 2);
    assert_eq!(counter.take(vec![0; 9_000]).unwrap(), 9_000);
    for error in [counter.take(vec![0; 20_000]).unwrap_err(), counter.large(20_000).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::TooLong, "{error}");
        assert!(error.to_string().contains("largest_message"), "{error}");
    }
    let _second = manager.create::<Counter>(0).unwrap();
    let error = manager.create::<Counter>(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("max_objects"), "{error}");

    // The manager's own two are there.
    let other = Manager::connect(manager.address(), &ConnectionOptions::new()).unwrap();
    let error = Manager::connect(manager.address(), &ConnectionOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    drop(other);
    assert_eq!(counter.value().unwrap(), 0);
}

#[test]
fn what_is_released_goes_in_messages_that_the_manager_takes() {
    let _watchdog = watchdog("what_is_released_goes_in_messages_that_the_manager_takes");
    let manager = Manager::builder().largest_message(1024).start().unwrap();
    let queue = manager.queue::<u8>(0).unwrap();
    let many: Vec<_> = (0..1000).map(|n| manager.value(&n).unwrap()).collect();
    std::thread::scope(|scope| {
        let waiting = [(); 2].map(|()| scope.spawn(|| queue.get().unwrap()));
        // Asked by a third connection, which then is the only free one.
        wait_until("they wait", || manager.statistics().unwrap().calls == 2);
        let third = scope.spawn(|| queue.get().unwrap());
        let (_, ask) = (&third, Manager::connect(manager.address(), &ConnectionOptions::new()));
        let ask = ask.unwrap();
        wait_until("all wait", || ask.statistics().unwrap().calls == 3);
        drop(many);
        for n in 0..3 {
            queue.put(&n).unwrap();
        }
        drop(waiting);
    });
    wait_until("they are gone", || manager.statistics().unwrap().objects == 1);
}

#[test]
fn a_client_that_takes_less_than_the_manager_may_send_is_told_so() {
    let _watchdog = watchdog("a_client_that_takes_less_than_the_manager_may_send_is_told_so");
    let manager = Manager::start().unwrap();
    let options = ConnectionOptions::new().max_message(1 << 16);
    let error = Manager::connect(manager.address(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("max_message"), "{error}");
}

#[test]
fn a_manager_that_says_nothing_is_not_waited_for_for_ever() {
    let _watchdog = watchdog("a_manager_that_says_nothing_is_not_waited_for_for_ever");
    let options = ConnectionOptions::new().deadline(Duration::from_secs(2));
    let listener = Listener::bind(None, &options).unwrap();
    std::thread::scope(|scope| {
        let silent = scope.spawn(|| listener.accept::<(), ()>().unwrap());
        let error = Manager::connect(listener.address(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        silent.join().unwrap();
    });
}

#[test]
fn shutdown_does_not_wait_for_what_never_ends() {
    let _watchdog = watchdog("shutdown_does_not_wait_for_what_never_ends");
    let manager = Manager::builder()
        .register::<Counter>()
        .unwrap()
        .shutdown_timeout(Duration::from_millis(50))
        .start()
        .unwrap();
    let counter = manager.create::<Counter>(0).unwrap();
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| counter.sleep(u64::MAX));
        kinfolk_testkit::wait_until("the method is called", || {
            manager.statistics().unwrap().connections == 3
        });
        // One that is stopped does not even answer.
        // SAFETY: touches no memory.
        unsafe { libc::kill(manager.process().unwrap().pid().cast_signed(), libc::SIGSTOP) };
        manager.shutdown().unwrap();
        assert_eq!(stuck.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    });
}

#[test]
fn a_manager_with_another_key_is_for_those_who_know_it() {
    let _watchdog = watchdog("a_manager_with_another_key_is_for_those_who_know_it");
    let key = kinfolk::AuthKey::from_bytes(b"a key that is not the family's");
    let manager = Manager::builder().authkey(key.clone()).start().unwrap();
    let dict = manager.dict::<String, u32>().unwrap();
    dict.insert("one", &1).unwrap();
    fn without(dict: DictProxy<String, u32>) {
        drop(dict);
    }
    let error = Process::spawn(without, dict.clone()).unwrap().join().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deserialize, "{error}");
    assert!(!format!("{error:?}").contains("a key that"), "{error:?}");

    let error = Manager::connect(manager.address(), &ConnectionOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let options = ConnectionOptions::new().authkey(key);
    let _known = Manager::connect(manager.address(), &options).unwrap();
}

#[test]
fn a_server_in_this_process_serves_until_it_is_shut_down() {
    let _watchdog = watchdog("a_server_in_this_process_serves_until_it_is_shut_down");
    let server = Manager::builder().address(("127.0.0.1", 0)).bind().unwrap();
    server.register("counter", Counter { value: 7 }).unwrap();
    let address = server.address().clone();
    let serving = std::thread::spawn(|| server.serve_forever());
    let manager = Manager::connect(&address, &ConnectionOptions::new()).unwrap();
    let counter: CounterProxy = manager.get("counter").unwrap();
    assert_eq!(counter.add(1).unwrap(), 8);
    let queue: QueueProxy<u8> = manager.queue(0).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.get());
        kinfolk_testkit::wait_until("the call waits", || {
            manager.statistics().unwrap().connections == 2
        });
        manager.shutdown().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    });
    serving.join().unwrap().unwrap();
    assert_eq!(counter.value().unwrap_err().kind(), ErrorKind::Disconnected);
}

in_its_own_process! {
    fn nothing_is_left_of_a_manager() {
        // The forkserver comes with the first process and stays.
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        let before = Leaks::snapshot();
        let manager = manager();
        let counter = manager.create::<Counter>(0).unwrap();
        counter.add(1).unwrap();
        let path = manager.address().path().unwrap().to_owned();
        assert!(path.starts_with("/proc"), "{}", path.display());
        drop((counter, manager));
        // Without the child that a forkserver is ahead.
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        before.check();
    }
}

#[test]
fn what_makes_no_sense_ends_its_own_connection_alone() {
    /// What a client begins with, and the rest of its first message.
    const HELLO: [&[u8]; 2] = [b"kinfolk manager 1\n", &[0, 1, 0]];
    /// The request to end, which makes sense.
    const SHUTDOWN: u8 = 9;
    let _watchdog = watchdog("what_makes_no_sense_ends_its_own_connection_alone");
    let manager = manager();
    let counter = manager.create::<Counter>(1).unwrap();
    let mut numbers = Numbers::new(88_172_645_463_325_252);
    for round in 0..300 {
        let client = kinfolk::Client::connect::<(), ()>(
            manager.address().clone(),
            &ConnectionOptions::new(),
        )
        .unwrap();
        let mut bytes = match round % 3 {
            0 => HELLO[0].to_vec(),
            1 => Vec::new(),
            _ => {
                client.send_bytes(&HELLO.concat()).unwrap();
                client.recv_bytes().unwrap();
                Vec::new()
            }
        };
        let more = numbers.place(40);
        bytes.extend((0..more).map(|_| numbers.byte()));
        if bytes.first() != Some(&SHUTDOWN) {
            client.send_bytes(&bytes).unwrap();
        }
    }
    assert!(counter.value().is_ok());
    kinfolk_testkit::wait_until("they are gone", || manager.statistics().unwrap().clients == 1);
}

#[test]
fn a_fork_is_told_that_the_proxy_is_its_parents() {
    let _watchdog = watchdog("a_fork_is_told_that_the_proxy_is_its_parents");
    fn body((): ()) {
        let manager = manager();
        let counter = manager.create::<Counter>(0).unwrap();
        let process =
            Process::builder().fork(|| counter.value().unwrap_err().kind() == ErrorKind::NotOwner);
        assert!(process.unwrap().join().unwrap());
        assert_eq!(counter.add(1).unwrap(), 1);
    }
    kinfolk::Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
}
