//! What workers of pools tell `tracing` reaches the subscriber of their parent.
#![cfg(feature = "tracing")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use kinfolk::pool::PoolBuilder;
use kinfolk::{Barrier, Connection, ErrorKind, Pool, StartMethod, pipe};
use kinfolk_testkit::{die, for_each_start_method, forever, in_its_own_process, wait_until};
use tracing::field::{Empty, Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Span, Subscriber};

kinfolk::test_init!();

/// The fields of a span or an event, as the subscriber got them.
type Fields = BTreeMap<&'static str, String>;

/// A span.
#[derive(Debug)]
struct Known {
    name: &'static str,
    fields: Fields,
    parent: Option<u64>,
    follows: Vec<u64>,
    handles: u64,
}

/// An event.
#[derive(Debug, Clone)]
struct Told {
    level: Level,
    target: &'static str,
    place: (Option<&'static str>, Option<u32>),
    fields: Fields,
    /// The names of the spans around it, the innermost first.
    spans: Vec<&'static str>,
    /// The fields of them.
    around: Vec<Fields>,
}

impl Told {
    fn message(&self) -> &str {
        self.fields.get("message").map_or("", |text| text)
    }
}

/// What a subscriber was told.
#[derive(Debug, Default)]
struct Book {
    spans: BTreeMap<u64, Known>,
    events: Vec<Told>,
}

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A subscriber that keeps all.
#[derive(Clone, Default)]
struct Kept {
    book: Arc<Mutex<Book>>,
    /// What is done at each event.
    then: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Kept {
    fn and_then(then: impl Fn() + Send + Sync + 'static) -> Self {
        Self { then: Some(Arc::new(then)), ..Self::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// The events of workers, without the library's own.
    fn of_workers(&self) -> Vec<Told> {
        let book = self.book();
        let events = book.events.iter().filter(|event| event.spans.last() == Some(&"worker"));
        events.filter(|event| event.target != "kinfolk").cloned().collect()
    }

    /// How many records the library says are lost.
    fn lost(&self) -> u64 {
        let book = self.book();
        let messages = book.events.iter().map(Told::message);
        let lost = messages.filter(|message| message.contains("records of worker"));
        lost.map(|message| message.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// Reads fields, with their types.
struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), format!("i64 {value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), format!("u64 {value}"));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.0.insert(field.name(), format!("i128 {value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.0.insert(field.name(), format!("u128 {value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), format!("f64 {value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), format!("bool {value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), format!("str {value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        attributes.record(&mut Reader(&mut fields));
        let parent = attributes.parent().map(Id::into_u64);
        let mut book = self.book();
        let number = book.spans.len() as u64 + 1;
        let (name, follows) = (attributes.metadata().name(), Vec::new());
        book.spans.insert(number, Known { name, fields, parent, follows, handles: 1 });
        Id::from_u64(number)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut book = self.book();
        let known = book.spans.get_mut(&span.into_u64()).unwrap();
        values.record(&mut Reader(&mut known.fields));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.book().spans.get_mut(&span.into_u64()).unwrap().follows.push(follows.into_u64());
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let metadata = event.metadata();
        let mut book = self.book();
        let (mut spans, mut around) = (Vec::new(), Vec::new());
        let entered = ENTERED.with_borrow(|entered| entered.last().copied());
        let mut next = entered.filter(|_| event.is_contextual());
        while let Some(known) = next.map(|number| &book.spans[&number]) {
            assert!(known.handles > 0, "{} is closed", known.name);
            spans.push(known.name);
            around.push(known.fields.clone());
            next = known.parent;
        }
        let told = Told {
            level: *metadata.level(),
            target: metadata.target(),
            place: (metadata.file(), metadata.line()),
            fields,
            spans,
            around,
        };
        book.events.push(told);
        drop(book);
        if let Some(then) = &self.then {
            then();
        }
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        assert_eq!(ENTERED.with_borrow_mut(Vec::pop), Some(span.into_u64()));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.book().spans.get_mut(&span.into_u64()).unwrap().handles += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut book = self.book();
        let known = book.spans.get_mut(&span.into_u64()).unwrap();
        known.handles -= 1;
        known.handles == 0
    }
}

/// A builder for a pool of two workers.
fn two(method: StartMethod) -> PoolBuilder {
    Pool::builder().workers(2).start_method(method)
}

/// Tells something of each kind.
fn tell(n: u64) -> u32 {
    let outer = tracing::info_span!("outer", n, later = Empty);
    outer.record("later", "since");
    let other = tracing::info_span!("other");
    outer.follows_from(&other);
    outer.in_scope(|| {
        tracing::debug_span!("inner").in_scope(|| {
            tracing::warn!(
                target: "here",
                small = -1_i64,
                large = u64::MAX,
                least = i128::MIN,
                most = u128::MAX,
                half = 0.5,
                yes = true,
                word = "abc",
                shown = ?Some(1),
                nothing = Empty,
                "item {n}"
            );
        });
        tracing::error!(parent: None, "apart");
        tracing::trace!(name: "named", "inside");
    });
    tracing::info!(parent: &outer, "again");
    std::process::id()
}

/// Tells so many things.
fn flood(count: u64) {
    for n in 0..count {
        tracing::info!(n, "flood");
    }
}

/// Has a thread of the worker tell something for ever.
fn babble((): ()) {
    std::thread::spawn(|| {
        loop {
            tracing::info!("babble");
        }
    });
}

for_each_start_method! {
    fn spans_and_events_of_workers_reach_the_subscriber(method) {
        let kept = Kept::default();
        let pid = with_default(kept.clone(), || {
            let pool = two(method).name("telling").build().unwrap();
            let pid = pool.apply(tell, 7).unwrap();
            // All was there before the result was.
            assert_eq!(kept.of_workers().len(), 4);
            pid
        });
        let events = kept.of_workers();
        let [item, apart, inside, again] = &events[..] else { panic!("{events:?}") };
        assert_eq!((item.level, item.target, item.message()), (Level::WARN, "here", "item 7"));
        assert_eq!(item.place.0, Some(file!()));
        assert!(item.place.1 < inside.place.1);
        let fields = [
            ("half", "f64 0.5".to_owned()),
            ("large", format!("u64 {}", u64::MAX)),
            ("least", format!("i128 {}", i128::MIN)),
            ("message", "item 7".to_owned()),
            ("most", format!("u128 {}", u128::MAX)),
            ("shown", "Some(1)".to_owned()),
            ("small", "i64 -1".to_owned()),
            ("word", "str abc".to_owned()),
            ("yes", "bool true".to_owned()),
        ];
        assert_eq!(item.fields, Fields::from(fields));
        assert_eq!(item.spans, ["inner", "outer", "worker"]);
        let outer = Fields::from([("n", "u64 7".to_owned()), ("later", "str since".to_owned())]);
        assert_eq!(item.around[1], outer);
        assert!(item.around[2]["name"].starts_with("str telling-"), "{item:?}");
        assert_eq!(item.around[2]["pid"], format!("u64 {pid}"));
        assert_eq!((apart.level, &apart.spans[..]), (Level::ERROR, &["worker"][..]));
        assert_eq!((inside.level, &inside.spans[..]), (Level::TRACE, &["outer", "worker"][..]));
        assert_eq!(inside.target, "pool_tracing");
        assert_eq!((again.message(), &again.spans[..]), ("again", &["outer", "worker"][..]));
        let book = kept.book();
        let outer = book.spans.values().find(|span| span.name == "outer").unwrap();
        let [other] = outer.follows[..] else { panic!("{outer:?}") };
        assert_eq!(book.spans[&other].name, "other");
        assert!(book.spans.values().all(|span| span.handles == 0), "{book:?}");
    }

    fn what_is_told_before_a_kill_is_there_before_its_error(method) {
        fn told_and_killed(count: u64) {
            let _span = tracing::info_span!("last").entered();
            flood(count);
            die()
        }
        let kept = Kept::default();
        with_default(kept.clone(), || {
            let pool = two(method).build().unwrap();
            for count in [1, 2, 1000] {
                let before = kept.of_workers().len() as u64;
                let error = pool.apply(told_and_killed, count).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Died);
                let events = kept.of_workers();
                assert_eq!(events.len() as u64 - before, count);
                assert_eq!(events.last().unwrap().fields["n"], format!("u64 {}", count - 1));
                assert_eq!(events.last().unwrap().spans, ["last", "worker"]);
                // Its spans are closed; the other worker has told nothing.
                let book = kept.book();
                assert!(book.spans.values().all(|span| span.handles == 0), "{book:?}");
            }
        });
    }

    fn a_flood_loses_nothing_that_is_not_counted(method) {
        fn meet(both: &mut Barrier, (): ()) {
            both.wait().unwrap();
            flood(1);
        }
        let kept = Kept::and_then(|| std::thread::sleep(Duration::from_micros(20)));
        with_default(kept.clone(), || {
            let pool = two(method).initializer(|both: Barrier| both, Barrier::new(2).unwrap());
            let pool = pool.build().unwrap();
            pool.chunked(1).map(flood, [1500; 4]).unwrap();
            // Each worker's next record tells how many are lost.
            pool.stateful().chunked(1).map(meet, [(); 2]).unwrap();
        });
        let events = kept.of_workers();
        assert_eq!(events.len() as u64 + kept.lost(), 6_002);
        // Each worker's are in order.
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &events {
            let n = event.fields["n"].strip_prefix("u64 ").unwrap().parse().unwrap();
            let before = last.insert(&event.around[0]["name"], n).unwrap_or(0);
            assert!(n > before || n == 0, "{n} after {before}");
        }
    }

    fn other_threads_of_a_worker_tell_as_well(method) {
        fn in_a_thread(n: u64) {
            let _span = tracing::info_span!("of_item", n).entered();
            let span = Span::current();
            let told = std::thread::spawn(move || {
                tracing::info!("outside");
                span.in_scope(|| tracing::info!("in the item's span"));
            });
            told.join().unwrap();
        }
        let kept = Kept::default();
        with_default(kept.clone(), || two(method).build().unwrap().apply(in_a_thread, 1)).unwrap();
        let events = kept.of_workers();
        let spans: Vec<_> = events.iter().map(|event| &event.spans[..]).collect();
        assert_eq!(spans, [&["worker"][..], &["of_item", "worker"][..]]);
    }

    fn a_subscriber_may_use_the_pool_it_hears_of(method) {
        let pool: Arc<OnceLock<Weak<Pool>>> = Arc::default();
        let results = Arc::new(AtomicU64::new(0));
        let (its, sum) = (Arc::clone(&pool), Arc::clone(&results));
        let kept = Kept::and_then(move || {
            let Some(pool) = its.get().and_then(Weak::upgrade) else { return };
            sum.fetch_add(pool.apply(|n: u64| n, 1).unwrap(), Ordering::Relaxed);
        });
        with_default(kept.clone(), || {
            let used = Arc::new(two(method).build().unwrap());
            pool.set(Arc::downgrade(&used)).unwrap();
            used.chunked(1).map(flood, [10; 10]).unwrap();
            // Also of what the library itself tells as it replaces a worker.
            for _ in 0..3 {
                assert_eq!(used.apply(|(): ()| die::<()>(), ()).unwrap_err().kind(), ErrorKind::Died);
            }
        });
        assert_eq!(kept.of_workers().len(), 100);
        assert!(results.load(Ordering::Relaxed) > 100);
        assert!(kept.book().events.iter().any(|event| event.message().contains("replacing it")));
    }

    fn a_subscriber_that_panics_costs_what_it_was_told(method) {
        let kept = Kept::and_then(|| std::panic::resume_unwind(Box::new("told")));
        with_default(kept.clone(), || {
            let pool = two(method).build().unwrap();
            pool.chunked(1).map(flood, [3; 10]).unwrap();
            assert_eq!(pool.apply(|(): ()| die::<()>(), ()).unwrap_err().kind(), ErrorKind::Died);
            assert_eq!(pool.apply(|n: u64| n, 1).unwrap(), 1);
        });
        assert_eq!(kept.of_workers().len(), 30);
    }

    fn pools_of_workers_that_tell_without_end_end(method) {
        let kept = Kept::default();
        with_default(kept.clone(), || {
            for end in [Pool::terminate, Pool::close] {
                let pool = two(method).initializer(babble, ()).build().unwrap();
                pool.map(|n: u64| n, 0..4).unwrap();
                end(&pool);
                pool.join().unwrap();
            }
            let pool = two(method).initializer(babble, ()).build().unwrap();
            pool.map(|n: u64| n, 0..4).unwrap();
            drop(pool);
            // One is in the middle of an item, and nobody waits.
            let pool = two(method).build().unwrap();
            let task = pool.apply_async(flood, u64::MAX).unwrap();
            assert_eq!(pool.apply(|n: u64| n, 1).unwrap(), 1);
            assert!(task.cancel());
            assert_eq!(task.get().unwrap_err().kind(), ErrorKind::Cancelled);
        });
        assert!(!kept.of_workers().is_empty());
        let book = kept.book();
        assert!(book.spans.values().all(|span| span.handles == 0), "{book:?}");
    }

    fn an_item_whose_records_nobody_takes_is_done_all_the_same(method) {
        fn flood_and_say(end: &mut Connection<(), ()>, count: u64) {
            flood(count);
            end.send(&()).unwrap();
        }
        let kept = Kept::default();
        with_default(kept.clone(), || {
            let (end, theirs) = pipe().unwrap();
            let pool = Pool::builder().workers(1).start_method(method);
            let pool = pool.initializer(|end: Connection<(), ()>| end, theirs);
            let pool = pool.build().unwrap();
            let mut results = pool.stateful().chunked(1).imap(flood_and_say, [1, 5000]).unwrap();
            results.next().unwrap().unwrap();
            // Nobody waits for the pool.
            for _ in 0..2 {
                Connection::<(), ()>::recv(&end).unwrap();
            }
            results.next().unwrap().unwrap();
            pool.apply(flood, 1).unwrap();
        });
        assert!(kept.lost() > 0);
        assert_eq!(kept.of_workers().len() as u64 + kept.lost(), 5_002);
    }

    fn a_large_record_is_cut(method) {
        fn large(length: usize) {
            tracing::info!(text = "x".repeat(length), number = 5, "after");
        }
        let kept = Kept::default();
        with_default(kept.clone(), || two(method).build().unwrap().apply(large, 1 << 20)).unwrap();
        let events = kept.of_workers();
        let text = &events[0].fields["text"];
        assert!(text.ends_with('…') && text.len() < 10_000, "{} bytes", text.len());
        assert_eq!(events[0].fields["number"], "i64 5");
        // Numbers and what was before are whole.
        assert_eq!(events[0].message(), "after");
    }

    fn a_worker_may_have_a_subscriber_of_its_own(method) {
        fn own(n: u64) -> usize {
            let kept = Kept::default();
            with_default(kept.clone(), || flood(n));
            tracing::info!("to the parent");
            kept.book().events.len()
        }
        let kept = Kept::default();
        let pool = with_default(kept.clone(), || two(method).build().unwrap());
        assert_eq!(pool.apply(own, 5).unwrap(), 5);
        let events = kept.of_workers();
        assert_eq!(events.iter().map(Told::message).collect::<Vec<_>>(), ["to the parent"]);
    }

    fn a_pool_without_a_subscriber_tells_nobody(method) {
        let pool = two(method).build().unwrap();
        let kept = Kept::default();
        with_default(kept.clone(), || pool.chunked(1).map(flood, [3; 10])).unwrap();
        assert!(kept.of_workers().is_empty());
    }

    fn a_pool_in_a_worker_tells_through_it(method) {
        fn inner(method: StartMethod) {
            // It is not around what another process tells.
            let _span = tracing::info_span!("outer").entered();
            let pool = two(method).name("inner").build().unwrap();
            pool.chunked(1).map(flood, [3; 4]).unwrap();
        }
        let kept = Kept::default();
        with_default(kept.clone(), || two(method).build().unwrap().apply(inner, method)).unwrap();
        let events = kept.of_workers();
        assert_eq!(events.len(), 12);
        for event in events {
            assert_eq!(event.spans, ["worker", "worker"]);
            assert!(event.around[0]["name"].starts_with("str inner-"), "{event:?}");
        }
    }
}

in_its_own_process! {
    fn what_the_parent_does_not_want_is_not_sent() {
        /// Wants nothing below `INFO`.
        struct Terse(Kept);
        impl Subscriber for Terse {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                *metadata.level() <= Level::INFO
            }
            fn max_level_hint(&self) -> Option<LevelFilter> {
                Some(LevelFilter::INFO)
            }
            fn new_span(&self, attributes: &Attributes<'_>) -> Id {
                self.0.new_span(attributes)
            }
            fn record(&self, span: &Id, values: &Record<'_>) {
                self.0.record(span, values);
            }
            fn record_follows_from(&self, span: &Id, follows: &Id) {
                self.0.record_follows_from(span, follows);
            }
            fn event(&self, event: &Event<'_>) {
                self.0.event(event);
            }
            fn enter(&self, span: &Id) {
                self.0.enter(span);
            }
            fn exit(&self, span: &Id) {
                self.0.exit(span);
            }
            fn try_close(&self, span: Id) -> bool {
                self.0.try_close(span)
            }
        }
        fn wanted((): ()) -> (bool, bool) {
            let _span = tracing::debug_span!("no").entered();
            tracing::debug!("no");
            tracing::info!("yes");
            (tracing::enabled!(Level::INFO), tracing::enabled!(Level::DEBUG))
        }
        let kept = Kept::default();
        let wanted = with_default(Terse(kept.clone()), || {
            two(StartMethod::Spawn).build().unwrap().apply(wanted, ())
        });
        assert_eq!(wanted.unwrap(), (true, false));
        let events = kept.of_workers();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].message(), &events[0].spans[..]), ("yes", &["worker"][..]));
    }

    fn records_arrive_while_tasks_go_on_that_nobody_waits_for() {
        fn told_and_held((): ()) {
            tracing::info!("begun");
            forever()
        }
        let kept = Kept::default();
        let pool = with_default(kept.clone(), || two(StartMethod::Forkserver).build().unwrap());
        let task = pool.apply_async(told_and_held, ()).unwrap();
        wait_until("it is told", || !kept.of_workers().is_empty());
        assert!(task.cancel());
    }
}
