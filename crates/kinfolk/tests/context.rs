//! The choice of a start method, and programs that children run.

use std::fs;
use std::path::{Path, PathBuf};

use kinfolk::{
    Context, ErrorKind, StartMethod, force_start_method, set_start_method, start_method,
    start_methods,
};
use kinfolk_testkit::in_its_own_process;

kinfolk::test_init!();

/// The start methods that execute a program.
const EXECUTING: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Forkserver];

/// The program of this process, as the system knows it.
fn program(_: ()) -> PathBuf {
    fs::read_link("/proc/self/exe").unwrap()
}

/// A copy of this program. Nobody else may start a process meanwhile: it would hold the
/// file open for writing, and what is so cannot be executed.
fn copy(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    fs::copy("/proc/self/exe", &path).unwrap();
    path
}

in_its_own_process! {
    fn the_start_method_is_chosen_once_or_by_force_and_children_take_it_over() {
        let default = start_methods()[0];
        assert_eq!(start_method(), default);
        set_start_method(StartMethod::Spawn).unwrap();
        let error = set_start_method(StartMethod::Fork).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("Spawn already"), "{error}");
        assert_eq!(start_method(), StartMethod::Spawn);
        for method in start_methods() {
            let process = Context::new(*method).spawn(|()| start_method(), ()).unwrap();
            assert_eq!(process.join().unwrap(), StartMethod::Spawn);
        }
        force_start_method(Some(StartMethod::Fork));
        assert_eq!(start_method(), StartMethod::Fork);
        force_start_method(None);
        assert_eq!(start_method(), default);
        set_start_method(StartMethod::Fork).unwrap();
    }

    fn a_context_runs_a_copy_of_the_program() {
        let path = copy("a-copy");
        for method in EXECUTING {
            let context = Context::new(method).executable(&path);
            assert_eq!(context.start_method(), method);
            assert_eq!(context.spawn(program, ()).unwrap().join().unwrap(), path);
            assert_ne!(Context::new(method).spawn(program, ()).unwrap().join().unwrap(), path);
        }
    }

    fn another_build_of_the_program_is_refused() {
        let path = copy("another-build");
        let mut bytes = fs::read(&path).unwrap();
        // The note that carries the build id: sizes of name and id, kind, name.
        let note = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
        let place = bytes.windows(note.len()).position(|window| window == note);
        let Some(place) = place else {
            eprintln!("skipped: this program has no build id of the usual size");
            return;
        };
        bytes[place + note.len()] ^= 1;
        fs::write(&path, bytes).unwrap();
        for method in EXECUTING {
            let process = Context::new(method).executable(&path).spawn(program, ()).unwrap();
            let error = process.join().unwrap_err();
            assert!(error.to_string().contains("not the same build"), "{error}");
        }
    }

    fn a_program_replaced_on_disk_goes_on() {
        fn replaced(path: PathBuf) {
            let other = path.with_extension("new");
            fs::write(&other, "no program").unwrap();
            fs::rename(&other, &path).unwrap();
            for method in start_methods() {
                let sum = Context::new(*method).spawn(|n: u32| n + 1, 1).unwrap().join();
                assert_eq!(sum.unwrap(), 2);
            }
            fs::remove_file(&path).unwrap();
            for method in start_methods() {
                let sum = Context::new(*method).spawn(|n: u32| n + 1, 1).unwrap().join();
                assert_eq!(sum.unwrap(), 2);
            }
        }
        let path = copy("replaced");
        let context = Context::new(StartMethod::Spawn).executable(&path);
        context.spawn(replaced, path).unwrap().join().unwrap();
    }
}
