//! The library's events, for `tracing`.
#![cfg(feature = "tracing")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use kinfolk::{ErrorKind, Manager, Process, StartMethod, active_children};
use kinfolk_testkit::in_its_own_process;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

kinfolk::test_init!();

/// Is told the library's events.
struct Told<F>(F);

impl<F: Fn(Level, String) + Send + Sync + 'static> Subscriber for Told<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "kinfolk"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        /// Reads the message of an event.
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        (self.0)(*event.metadata().level(), message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

// Whether anybody hears an event is one thing for all of a process's threads.
in_its_own_process! {
    fn a_start_and_an_end_are_events() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let keeper = Told(move |level, text| keep.lock().unwrap().push((level, text)));
        tracing::subscriber::with_default(keeper, || {
            let process = Process::builder().name("told").spawn(|()| (), ()).unwrap();
            process.terminate().unwrap();
            let _ = process.join();
        });
        let events = kept.lock().unwrap();
        let told = |level: Level, words: &str| {
            events.iter().any(|(l, text)| *l == level && text.contains(words))
        };
        assert!(told(Level::INFO, "started process `told`"), "{events:?}");
        assert!(told(Level::DEBUG, "sending signal 15 to process `told`"), "{events:?}");
        assert!(events.iter().filter(|(_, text)| text.contains("`told`")).count() >= 3, "{events:?}");
    }

    fn a_manager_that_cannot_be_reached_is_ended() {
        // From the moment at which its process is started, no descriptor more is to be had here.
        let impoverish = |_, text: String| {
            if text.starts_with("started process") {
                let limit = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
                // SAFETY: reads one rlimit, which lives.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
            }
        };
        let error = tracing::subscriber::with_default(Told(impoverish), || {
            Manager::builder().start_method(StartMethod::Spawn).start().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(active_children().is_empty());
    }
}
