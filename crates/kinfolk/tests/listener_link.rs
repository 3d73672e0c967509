//! Two machines whose cable is pulled: two network namespaces, where the test runs as root.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kinfolk::{
    Address, Client, Connection, ConnectionOptions, Context, ErrorKind, Listener, StartMethod, pipe,
};
use kinfolk_testkit::in_its_own_process;

kinfolk::test_init!();

/// How long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(4);
/// The address of the other machine.
const THERE: &str = "10.231.0.2";

/// The options of both.
fn options() -> ConnectionOptions {
    ConnectionOptions::new().keep_alive(SILENCE)
}

/// Takes this process to a machine of its own; whether that is possible here.
fn leave() -> bool {
    // SAFETY: touches no memory.
    unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
}

/// Runs `ip`; whether that went well.
fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    output.is_ok_and(|output| output.status.success())
}

/// The other machine: tells its address, answers what clients send, and moves its cable as
/// it is told. Returns of four clients whether they were lost.
fn machine(control: Connection<Option<u16>, bool>) -> Vec<bool> {
    assert!(leave());
    control.send(&None).unwrap();
    assert!(control.recv().unwrap(), "the cable is there");
    assert!(ip(&format!("addr add {THERE}/24 dev there")) && ip("link set there up"));
    let listener = Listener::bind(Address::tcp("0.0.0.0", 0), &options()).unwrap();
    let Address::Tcp { port, .. } = *listener.address() else { panic!() };
    control.send(&Some(port)).unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let serve = |client: Connection<u32, u32>| {
                move || loop {
                    match client.recv().and_then(|n| client.send(&n)) {
                        Ok(()) => {}
                        Err(error) => break error.is_disconnected(),
                    }
                }
            };
            let clients: Vec<_> =
                (0..4).map(|_| scope.spawn(serve(listener.accept().unwrap()))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        while let Ok(up) = control.recv() {
            assert!(ip(&format!("link set there {}", if up { "up" } else { "down" })));
            control.send(&None).unwrap();
        }
        serving.join().unwrap()
    })
}

in_its_own_process! {
    fn a_cut_link_is_an_error_within_the_time_stated_and_a_short_cut_is_none() {
        if !leave() || !ip("link show") {
            eprintln!("skipped: two machines need root and the program `ip`");
            return;
        }
        let (control, theirs) = pipe::<bool, Option<u16>>().unwrap();
        let other = Context::new(StartMethod::Spawn).spawn(machine, theirs).unwrap();
        assert_eq!(control.recv().unwrap(), None);
        let cable = format!("link add here type veth peer name there netns {}", other.pid());
        assert!(ip(&cable) && ip("addr add 10.231.0.1/24 dev here") && ip("link set here up"));
        control.send(&true).unwrap();
        let address = Address::tcp(THERE, control.recv().unwrap().unwrap());
        let connect = || Client::connect::<u32, u32>(&address, &options()).unwrap();
        let cable = |up| {
            control.send(&up).unwrap();
            control.recv().unwrap();
        };

        let (idle, sending, telling) = (connect(), connect(), connect());
        for client in [&idle, &sending] {
            client.send(&1).unwrap();
            assert_eq!(client.recv().unwrap(), 1);
        }
        // Shorter than the time stated: what was sent meanwhile arrives.
        cable(false);
        sending.send(&2).unwrap();
        assert_eq!(sending.recv_timeout(Duration::from_millis(300)).unwrap(), None);
        cable(true);
        assert_eq!(sending.recv().unwrap(), 2);

        // Longer: all see it, the one that waits, the one that has sent and the one that sends.
        cable(false);
        let begin = Instant::now();
        sending.send(&3).unwrap();
        let told = loop {
            // One that never waits, for its messages are few and small.
            match telling.send(&3) {
                Ok(()) => thread::sleep(Duration::from_millis(100)),
                Err(error) => break error,
            }
        };
        let ends = [&idle, &sending].map(|client| client.recv().unwrap_err());
        for error in ends.iter().chain([&told]) {
            assert!(error.is_disconnected(), "{error}");
        }
        eprintln!("the cut was seen after {:?}, of {SILENCE:?} stated", begin.elapsed());
        // A new client waits no longer than it says.
        let hurried = options().deadline(Duration::from_millis(300));
        let error = Client::connect::<u32, u32>(&address, &hurried).unwrap_err();
        let kinds = [ErrorKind::Timeout, ErrorKind::Disconnected];
        assert!(kinds.contains(&error.kind()), "{error}");

        cable(true);
        let again = connect();
        again.send(&4).unwrap();
        assert_eq!(again.recv().unwrap(), 4);
        drop((again, control));
        assert_eq!(other.join().unwrap(), [true; 4]);
    }
}
