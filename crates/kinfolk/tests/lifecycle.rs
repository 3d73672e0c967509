//! Ends of processes: signals, sentinels, handles, orphans.
#![allow(clippy::print_stdout)] // What a process says before its end is looked at.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use kinfolk::{
    AuthKey, Child, Connection, Context, ErrorKind, ExitStatus, Process, StartMethod,
    active_children, current_process, parent_process, wait,
};
use kinfolk_testkit::{for_each_start_method, is_gone, wait_until};

kinfolk::test_init!();

/// A child that says that it runs, then waits for a word.
fn waiter(method: StartMethod) -> (Process<u32>, Connection<(), u32>) {
    let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
    let process = Context::new(method).spawn(wait_for_word, there).unwrap();
    assert_eq!(here.recv().unwrap(), process.pid());
    (process, here)
}

fn wait_for_word(there: Connection<u32, ()>) -> u32 {
    there.send(&std::process::id()).unwrap();
    let _ = there.recv();
    17
}

fn forever(_: ()) {
    loop {
        std::thread::park();
    }
}

fn is_ready(child: &Child) -> bool {
    !wait(&[child], Some(Duration::ZERO)).unwrap().is_empty()
}

for_each_start_method! {
    fn the_sentinel_becomes_ready_when_the_process_ends_and_not_before(method) {
        let (process, word) = waiter(method);
        assert!(process.is_alive());
        assert_eq!(process.exitcode().unwrap(), None);
        assert!(!is_ready(&process));
        word.send(&()).unwrap();
        assert_eq!(wait(&[&process.sentinel()], Some(Duration::from_secs(60))).unwrap(), [0]);
        assert!(!process.is_alive());
        assert_eq!(process.exitcode().unwrap(), Some(ExitStatus::Exited(0)));
        assert_eq!(process.join().unwrap(), 17);
    }

    fn terminate_is_sigterm_kill_is_sigkill_interrupt_is_sigint(method) {
        // A shell that runs the tests in the background has SIGINT ignored.
        // SAFETY: no handler is involved.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        for (end, signal) in [
            (Child::terminate as fn(&Child) -> kinfolk::Result<()>, 15),
            (Child::kill, 9),
            (Child::interrupt, 2),
        ] {
            let (process, _word) = waiter(method);
            end(&process).unwrap();
            assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(signal));
            // Once it has ended, nothing happens.
            end(&process).unwrap();
            let error = process.join().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Died);
            assert!(error.to_string().contains(&format!("signal {signal}")), "{error}");
        }
    }

    fn no_exit_handler_and_no_destructor_runs_in_a_process_ended_by_a_signal(method) {
        type End = fn(&Child);
        struct Says;
        impl Drop for Says {
            fn drop(&mut self) {
                println!("dropped");
            }
        }
        extern "C" fn handler() {
            println!("handled");
        }
        fn child(there: Connection<(), ()>) {
            let _says = Says;
            // SAFETY: the handler is a function of this program, and does not unwind.
            assert_eq!(unsafe { libc::atexit(handler) }, 0);
            there.send(&()).unwrap();
            let _ = there.recv();
        }
        let ends: [(End, bool); 3] = [
            (|child| child.terminate().unwrap(), false),
            (|child| child.kill().unwrap(), false),
            // The end of the connection ends it.
            (|_| (), true),
        ];
        for (end, by_itself) in ends {
            let (here, there) = kinfolk::pipe::<(), ()>().unwrap();
            let (mut said, say) = std::io::pipe().unwrap();
            let process = Context::new(method).builder().stdout(say).spawn(child, there).unwrap();
            here.recv().unwrap();
            end(&process);
            let expected = match (by_itself, method) {
                (false, _) => "",
                // The exit handlers of a fork are those of the process it is a fork of.
                (true, StartMethod::Fork) => "dropped\n",
                (true, _) => "dropped\nhandled\n",
            };
            if by_itself {
                here.send(&()).unwrap();
            }
            assert_eq!(process.wait().unwrap().success(), by_itself);
            let mut text = String::new();
            said.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
    }

    fn who_outlives_its_parent_is_told_of_its_end(method) {
        fn parent((method, here): (StartMethod, Connection<bool, ()>)) {
            let builder = Context::new(method).builder().outlive_parent(true);
            let _child = builder.spawn(watch_parent, here).unwrap();
            forever(());
        }
        fn watch_parent(tell: Connection<bool, ()>) {
            let parent = parent_process().unwrap();
            tell.send(&parent.is_alive()).unwrap();
            wait(&[&parent.sentinel()], None).unwrap();
            tell.send(&parent.is_alive()).unwrap();
        }
        let (there, here) = kinfolk::pipe::<(), bool>().unwrap();
        let process = Context::new(method).spawn(parent, (method, here)).unwrap();
        assert!(there.recv().unwrap());
        assert_eq!(there.recv_timeout(Duration::from_millis(10)).unwrap(), None);
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(!there.recv().unwrap());
    }

    fn close_of_a_running_process_gives_the_handle_back(method) {
        let (process, word) = waiter(method);
        let error = process.close().unwrap_err();
        assert!(error.to_string().contains("still runs"), "{error}");
        let process = error.into_inner();
        word.send(&()).unwrap();
        process.wait().unwrap();
        process.close().unwrap();
    }

    fn a_dropped_handle_detaches_and_is_reaped_later(method) {
        let (process, word) = waiter(method);
        let pid = process.pid();
        drop(process);
        assert!(active_children().iter().any(|child| child.pid() == pid));
        word.send(&()).unwrap();
        wait_until("it is reaped", || {
            !active_children().iter().any(|child| child.pid() == pid) && is_gone(pid)
        });
    }

    fn a_detached_child_that_began_in_time_is_not_killed_at_its_start_deadline(method) {
        const DEADLINE: Duration = Duration::from_secs(2);
        let (word, there) = kinfolk::pipe::<(), u32>().unwrap();
        let builder = Context::new(method).builder().start_timeout(DEADLINE);
        let process = builder.spawn(wait_for_word, there).unwrap();
        let pid = word.recv().unwrap();
        drop(process);
        let child = active_children().into_iter().find(|child| child.pid() == pid).unwrap();
        assert_eq!(child.wait_timeout(DEADLINE).unwrap(), None);
        word.send(&()).unwrap();
        assert_eq!(child.wait().unwrap(), ExitStatus::Exited(0));
    }

    fn a_child_inherits_the_key_or_is_given_another(method) {
        fn key(_: ()) -> Vec<u8> {
            current_process().authkey().as_bytes().to_vec()
        }
        let own = current_process().authkey();
        assert_eq!(own.as_bytes().len(), 32);
        let context = Context::new(method);
        let process = context.spawn(key, ()).unwrap();
        assert_eq!(process.authkey(), own);
        assert_eq!(process.join().unwrap(), own.as_bytes());
        let other = AuthKey::from_bytes(b"another");
        let process = context.builder().authkey(other.clone()).spawn(key, ()).unwrap();
        assert_eq!(process.authkey(), other);
        assert_eq!(process.join().unwrap(), b"another");
    }

    fn the_key_is_in_no_command_line_or_environment(method) {
        let (process, word) = waiter(method);
        let key = current_process().authkey();
        let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{}/{file}", process.pid())).unwrap();
            assert!(!text.windows(32).any(|window| window == key.as_bytes()));
            assert!(!String::from_utf8_lossy(&text).to_lowercase().contains(&hex));
        }
        word.send(&()).unwrap();
        process.join().unwrap();
    }

    fn a_process_knows_itself_and_its_parent(method) {
        type Known = (String, u32, bool, Option<(String, u32, bool)>);
        fn know(_: ()) -> Known {
            let me = current_process();
            let parent = parent_process().map(|p| (p.name().to_owned(), p.pid(), p.is_alive()));
            (me.name(), me.pid(), me.daemon(), parent)
        }
        let process = Context::new(method).builder().daemon(true).name("child").spawn(know, ()).unwrap();
        let pid = process.pid();
        let (name, own, daemon, parent) = process.join().unwrap();
        assert_eq!((name.as_str(), own, daemon), ("child", pid, true));
        assert_eq!(parent.unwrap(), (current_process().name(), std::process::id(), true));
        let name = Context::new(method).spawn(know, ()).unwrap().join().unwrap().0;
        assert!(name.starts_with("Process-"), "{name}");
    }

    fn terminate_ends_the_grandchildren_by_their_lifeline_but_those_that_outlive(method) {
        fn family((method, here): (StartMethod, Connection<u32, ()>)) {
            let start = |outlive: bool| {
                let (word, held) = kinfolk::pipe::<(), u32>().unwrap();
                let process = Context::new(method)
                    .builder()
                    .outlive_parent(outlive)
                    .spawn(stay, held)
                    .unwrap();
                assert_eq!(word.recv().unwrap(), process.pid());
                here.send(&process.pid()).unwrap();
                std::mem::forget((word, process));
            };
            start(false);
            start(true);
            let _ = here.recv();
        }
        fn stay(held: Connection<u32, ()>) {
            held.send(&std::process::id()).unwrap();
            loop {
                std::thread::park();
            }
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process = Context::new(method).spawn(family, (method, there)).unwrap();
        let (mortal, orphan) = (here.recv().unwrap(), here.recv().unwrap());
        process.terminate().unwrap();
        assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(15));
        wait_until("the lifeline ends the grandchild", || is_gone(mortal));
        assert!(!is_gone(orphan));
        std::process::Command::new("kill").args(["-9", &orphan.to_string()]).status().unwrap();
        wait_until("the orphan is killed", || is_gone(orphan));
    }

    fn kill_tree_ends_also_those_that_outlive(method) {
        fn family((method, here): (StartMethod, Connection<u32, ()>)) {
            let process = Context::new(method)
                .builder()
                .outlive_parent(true)
                .spawn(forever, ())
                .unwrap();
            #[allow(clippy::zombie_processes)] // It is to be ended from outside.
            let foreign = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            here.send(&process.pid()).unwrap();
            here.send(&foreign.id()).unwrap();
            let _ = here.recv();
            process.join().unwrap()
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process =
            Context::new(method).builder().subreaper(true).spawn(family, (method, there)).unwrap();
        let (own, foreign) = (here.recv().unwrap(), here.recv().unwrap());
        let end = process.kill_tree().unwrap();
        assert!(end.complete, "{end:?}");
        assert!(end.signaled >= 3, "{end:?}");
        assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(9));
        wait_until("the tree is gone", || is_gone(own) && is_gone(foreign));
    }

    fn a_killed_parent_takes_its_children_along_whichever_thread_started_them(method) {
        fn family((method, here): (StartMethod, Connection<u32, ()>)) {
            let start = move || {
                Context::new(method).spawn(forever, ()).unwrap()
            };
            let mut children = vec![start()];
            if method != StartMethod::Fork {
                children.push(std::thread::spawn(start).join().unwrap());
            }
            for child in &children {
                here.send(&child.pid()).unwrap();
            }
            here.send(&0).unwrap();
            let _ = here.recv();
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process = Context::new(method).spawn(family, (method, there)).unwrap();
        let mut children = Vec::new();
        while let Some(pid) = Some(here.recv().unwrap()).filter(|pid| *pid != 0) {
            assert!(!is_gone(pid));
            children.push(pid);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        wait_until("the children follow", || children.iter().all(|pid| is_gone(*pid)));
    }
}

for_each_start_method! {
    /// As `a_killed_parent...`: here the parent is gone before its child has begun.
    fn who_outlives_lives_also_if_its_parent_dies_right_after_the_start(method) {
        fn parent((method, here): (StartMethod, Connection<u32, ()>)) {
            // The second of a forkserver has waited for its function.
            Context::new(method).spawn(|()| (), ()).unwrap().join().unwrap();
            let child = Context::new(method).builder().outlive_parent(true).spawn(stay, here);
            child.unwrap();
            // SAFETY: touches no memory; this process ends here.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        fn stay(held: Connection<u32, ()>) {
            held.send(&std::process::id()).unwrap();
            let _ = held.recv();
        }
        for _ in 0..5 {
            let (there, here) = kinfolk::pipe::<(), u32>().unwrap();
            let process = Context::new(method).spawn(parent, (method, here)).unwrap();
            assert_eq!(process.wait().unwrap(), ExitStatus::Signaled(9));
            let child = there.recv().unwrap();
            assert!(!is_gone(child));
            drop(there);
            wait_until("it has ended", || is_gone(child));
        }
    }
}

kinfolk_testkit::in_its_own_process! {
    fn a_process_that_replaces_its_key_hands_down_the_new_one() {
        let before = current_process().authkey();
        current_process().set_authkey(AuthKey::from_bytes(b"new"));
        assert_ne!(current_process().authkey(), before);
        let key = |()| current_process().authkey().as_bytes().to_vec();
        for method in kinfolk::start_methods() {
            let process = Context::new(*method).spawn(key, ()).unwrap();
            assert_eq!(process.join().unwrap(), b"new");
        }
    }
}

#[test]
fn a_main_process_gets_a_random_key() {
    const TELL: &str = "KINFOLK_TEST_TELL_THE_KEY";
    if std::env::var_os(TELL).is_some() {
        println!("<{:?}>", current_process().authkey().as_bytes());
        return;
    }
    let key = || {
        let mut main = std::process::Command::new(std::env::current_exe().unwrap());
        main.args(["--exact", "a_main_process_gets_a_random_key", "--nocapture"]).env(TELL, "1");
        let said = String::from_utf8(main.output().unwrap().stdout).unwrap();
        said.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned()
    };
    let keys = [key(), key()];
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys.map(|key| key.split(',').count()), [32, 32]);
}

#[test]
fn a_daemon_cannot_outlive() {
    let builder = Process::builder().daemon(true).outlive_parent(true);
    assert_eq!(builder.spawn(|()| (), ()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_fork_of_the_parent_cannot_use_its_handles() {
    fn body(_: ()) -> String {
        let (process, word) = waiter(StartMethod::Spawn);
        let said = Process::builder()
            .fork(|| {
                assert!(!process.is_alive());
                process.kill().unwrap_err().to_string()
            })
            .unwrap()
            .join()
            .unwrap();
        assert!(process.is_alive());
        word.send(&()).unwrap();
        process.join().unwrap();
        said
    }
    let said = Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
    assert!(said.contains("not of its fork"), "{said}");
}

#[test]
fn a_killed_forkserver_is_replaced_and_its_children_go_on() {
    fn server_pid() -> Option<u32> {
        kinfolk_testkit::children_of(std::process::id())
            .into_iter()
            .find(|pid| kinfolk_testkit::cmdline(*pid).iter().any(|word| word == "forkserver"))
    }
    fn body(_: ()) -> u32 {
        let mut rounds = 0;
        for _ in 0..20 {
            let (process, word) = waiter(StartMethod::Forkserver);
            let server = server_pid().expect("a forkserver runs");
            std::process::Command::new("kill").args(["-9", &server.to_string()]).status().unwrap();
            let (next, next_word) = waiter(StartMethod::Forkserver);
            word.send(&()).unwrap();
            next_word.send(&()).unwrap();
            assert_eq!(process.join().unwrap() + next.join().unwrap(), 34);
            rounds += 1;
        }
        rounds
    }
    let process = Context::new(StartMethod::Spawn).spawn(body, ()).unwrap();
    assert_eq!(process.join().unwrap(), 20);
}

#[test]
fn a_thousand_children_killed_at_random_leave_nothing() {
    fn body(_: ()) {
        // What the library keeps for good is made by the first start.
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        let leaks = kinfolk_testkit::Leaks::snapshot();
        for round in 0..10_u64 {
            let children: Vec<_> = (0..100).map(|_| Process::spawn(forever, ()).unwrap()).collect();
            for (place, child) in children.iter().enumerate() {
                // A different pause before each kill finds the child at another place.
                for _ in 0..(place as u64 * 7919 + round * 104_729) % 20_000 {
                    std::hint::spin_loop();
                }
                child.kill().unwrap();
            }
        }
        wait_until("all are reaped", || active_children().is_empty());
        if let Some(server) = kinfolk_testkit::children_of(std::process::id()).first() {
            let words = kinfolk_testkit::cmdline(*server);
            assert!(words.iter().any(|word| word == "forkserver"), "{words:?}");
        }
        kinfolk::set_forkserver_preload(|| ()).unwrap();
        leaks.check();
    }
    Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
}

#[test]
fn the_sentinel_is_a_file_descriptor() {
    let (process, _word) = waiter(StartMethod::Forkserver);
    let _: std::os::fd::BorrowedFd<'_> = process.as_fd();
    process.kill().unwrap();
    process.wait().unwrap();
}
