//! The library's events, for `tracing`.
#![cfg(feature = "tracing")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use kinfolk::Process;
use kinfolk_testkit::watchdog;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

kinfolk::test_init!();

/// Keeps the library's events.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(Level, String)>>>);

impl Subscriber for Kept {
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
        self.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_start_and_an_end_are_events() {
    let _watchdog = watchdog("a_start_and_an_end_are_events");
    let kept = Kept::default();
    tracing::subscriber::with_default(kept.clone(), || {
        let process = Process::builder().name("told").spawn(|()| (), ()).unwrap();
        process.terminate().unwrap();
        let _ = process.join();
    });
    let events = kept.0.lock().unwrap();
    let told = |level: Level, words: &str| {
        events.iter().any(|(l, text)| *l == level && text.contains(words))
    };
    assert!(told(Level::INFO, "started process `told`"), "{events:?}");
    assert!(told(Level::DEBUG, "sending signal 15 to process `told`"), "{events:?}");
    assert!(events.iter().filter(|(_, text)| text.contains("`told`")).count() >= 3, "{events:?}");
}
