//! What happens to the children when their parent exits.

use kinfolk::{AtExit, Connection, Context, ExitStatus, Process, StartMethod};
use kinfolk_testkit::{for_each_start_method, is_gone, wait_until};

kinfolk::test_init!();

/// How the parent ends.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
enum End {
    Return,
    Panic,
    Exit,
}

type Link = Connection<(String, u32), ()>;

/// Starts a daemon that waits for ever and a child that says goodbye, and ends.
fn parent((method, end, link): (StartMethod, End, Link)) {
    fn daemon(_: ()) {
        loop {
            std::thread::park();
        }
    }
    fn worker((link, held): (Link, Connection<(), ()>)) {
        // Until the parent closes its side at exit.
        assert!(held.recv().unwrap_err().is_disconnected());
        link.send(&("goodbye".to_owned(), std::process::id())).unwrap();
    }
    let context = Context::new(method);
    let process = context.builder().daemon(true).spawn(daemon, ()).unwrap();
    link.send(&("daemon".to_owned(), process.pid())).unwrap();
    std::mem::forget(process);
    let (mine, held) = kinfolk::pipe::<(), ()>().unwrap();
    let copy = {
        let (a, b) = kinfolk::pipe::<Link, ()>().unwrap();
        a.send(&link).unwrap();
        b.recv().unwrap()
    };
    let process = context.spawn(worker, (copy, held)).unwrap();
    std::mem::forget((process, mine));
    match end {
        End::Return => {}
        End::Panic => panic!("the parent panics"),
        End::Exit => std::process::exit(5),
    }
}

for_each_start_method! {
    fn daemons_are_terminated_and_others_joined_however_the_parent_exits(method) {
        for (end, status) in [(End::Return, 0), (End::Panic, 101), (End::Exit, 5)] {
            let (here, there) = kinfolk::pipe::<(), (String, u32)>().unwrap();
            let process = Context::new(method)
                .builder()
                .spawn(parent, (method, end, there))
                .unwrap();
            let (name, daemon) = here.recv().unwrap();
            assert_eq!(name, "daemon");
            let (word, worker) = here.recv().unwrap();
            assert_eq!(word, "goodbye", "the worker was joined, not ended");
            assert_eq!(process.wait().unwrap(), ExitStatus::Exited(status), "{end:?}");
            assert!(is_gone(daemon) && is_gone(worker), "gone before the parent is");
        }
    }

    fn children_can_be_terminated_at_exit(method) {
        fn parent((method, link): (StartMethod, Connection<u32, ()>)) {
            let family = kinfolk::init();
            family.at_exit(AtExit::Terminate);
            let process = Context::new(method).spawn(forever, ()).unwrap();
            link.send(&process.pid()).unwrap();
            std::mem::forget((process, family));
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process = Context::new(method).spawn(parent, (method, there)).unwrap();
        let child = here.recv().unwrap();
        process.join().unwrap();
        assert!(is_gone(child));
    }

    fn children_left_alone_at_exit_end_by_their_lifeline(method) {
        fn parent((method, link): (StartMethod, Connection<u32, ()>)) {
            kinfolk::init().at_exit(AtExit::Leave);
            let process = Context::new(method).spawn(forever, ()).unwrap();
            link.send(&process.pid()).unwrap();
            std::mem::forget(process);
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process = Context::new(method).spawn(parent, (method, there)).unwrap();
        let child = here.recv().unwrap();
        process.join().unwrap();
        wait_until("the child follows", || is_gone(child));
    }

    fn a_parent_that_dropped_its_privileges_still_ends_its_children_at_exit(method) {
        fn parent((method, link): (StartMethod, Connection<u32, ()>)) {
            let process = Context::new(method).builder().daemon(true).spawn(forever, ()).unwrap();
            link.send(&process.pid()).unwrap();
            std::mem::forget(process);
            // SAFETY: touches no memory.
            assert_eq!(unsafe { libc::setuid(65_534) }, 0);
        }
        // SAFETY: touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("skipped: only root has privileges to drop");
            return;
        }
        let (here, there) = kinfolk::pipe::<(), u32>().unwrap();
        let process = Context::new(method).spawn(parent, (method, there)).unwrap();
        let child = here.recv().unwrap();
        process.join().unwrap();
        assert!(is_gone(child));
    }
}

fn forever(_: ()) {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_status_taken_by_a_foreign_wait_is_found_elsewhere_or_unknown() {
    fn body(_: ()) -> String {
        unsafe extern "C" {
            fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        }
        let process = Process::builder()
            .start_method(StartMethod::Spawn)
            .spawn(|()| std::process::exit(9), ())
            .map(|process: Process<()>| process)
            .unwrap();
        // SAFETY: a null status is allowed.
        let taken = unsafe { waitpid(process.pid() as i32, std::ptr::null_mut(), 0) };
        assert_eq!(taken, process.pid() as i32);
        process.wait().unwrap().to_string()
    }
    let said = Context::new(StartMethod::Spawn).spawn(body, ()).unwrap().join().unwrap();
    // The first from Linux 6.15 on.
    let known = ["exited with status 9", "ended, its exit status taken by a foreign wait"];
    assert!(known.contains(&said.as_str()), "{said}");
}
