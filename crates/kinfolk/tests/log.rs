//! The library's events.

use std::io::Read as _;

use kinfolk::{Context, LogLevel, StartMethod};
use kinfolk_testkit::for_each_start_method;

kinfolk::test_init!();

for_each_start_method! {
    fn events_are_written_here_and_in_all_children_if_asked_for(method) {
        fn grandchild(_: ()) {}
        fn child(method: StartMethod) {
            Context::new(method).builder().name("inner").spawn(grandchild, ()).unwrap().join().unwrap();
        }
        fn body((method, level): (StartMethod, Option<u32>)) {
            if level.is_some() {
                kinfolk::log_to_stderr(LogLevel::Info);
            }
            Context::new(method).builder().name("outer").spawn(child, method).unwrap().join().unwrap();
        }
        for level in [None, Some(2)] {
            let (mut said, say) = std::io::pipe().unwrap();
            let builder = Context::new(StartMethod::Spawn).builder().name("body").stderr(say);
            builder.spawn(body, (method, level)).unwrap().join().unwrap();
            let mut text = String::new();
            said.read_to_string(&mut text).unwrap();
            if level.is_none() {
                assert_eq!(text, "");
                continue;
            }
            for begin in ["[INFO/body] started process `outer` (pid ", "[INFO/outer] started process `inner` (pid "] {
                assert!(text.lines().any(|line| line.starts_with(begin)), "{text}");
            }
            assert!(text.contains("`inner`") && text.contains("exited with status 0"), "{text}");
            assert!(!text.contains("DEBUG"), "{text}");
        }
    }
}
