//! What one worker tells, handed to the parent's subscriber.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::dispatcher::{self, Dispatch};
use tracing::span::{Attributes, Id, Record as Recorded};
use tracing::{Event, Metadata, Span};

use super::record::{Record, What};
use super::{Listening, RECORDS, site};
use crate::Result;
use crate::log::{self, LogLevel};
use crate::queue::Receiver;

/// The most spans that a worker has open.
const MOST_SPANS: usize = 1 << 16;
/// The most spans that are known to be around a span.
const DEEPEST: usize = 64;

/// The records of a worker.
pub(in crate::pool) struct Records {
    /// Where they come from; `None` when no more are taken.
    receiver: Option<Arc<Receiver<()>>>,
    /// Who takes them.
    subscriber: Dispatch,
    /// The worker's name.
    name: String,
    /// Its process id.
    pid: u32,
    /// The span of all that it tells, once it has told something.
    whole: Option<Span>,
    /// Which that is here, if the subscriber wants it.
    outermost: Vec<Id>,
    /// Its spans that are open, by its numbers.
    spans: HashMap<u64, Open>,
}

/// An open span of a worker.
struct Open {
    /// Which it is here; or, if the subscriber does not want it, a handle of the one
    /// around it, if there is one.
    id: Option<Id>,
    /// Whether the subscriber wants it.
    is_wanted: bool,
    /// The spans that something in it is in, from the outermost to itself.
    inside: Vec<Id>,
    /// Where in the program it was made.
    metadata: &'static Metadata<'static>,
}

impl Records {
    /// Of a worker.
    pub(in crate::pool) fn new((receiver, subscriber): Listening, name: &str, pid: u32) -> Self {
        let (receiver, name) = (Some(Arc::new(receiver)), name.to_owned());
        Self {
            receiver,
            subscriber,
            name,
            pid,
            whole: None,
            outermost: Vec::new(),
            spans: HashMap::new(),
        }
    }

    /// Where they come from, while they are taken.
    pub(in crate::pool) fn receiver(&self) -> Option<&Arc<Receiver<()>>> {
        self.receiver.as_ref()
    }

    /// How many there are, at this moment.
    pub(super) fn len(&self) -> usize {
        self.receiver.as_ref().map_or(0, |receiver| receiver.len().min(RECORDS))
    }

    /// Hands the next one over; `false` if there is none.
    pub(super) fn hand_over(&mut self) -> bool {
        match self.next() {
            Ok(None) => return false,
            Ok(Some(record)) => self.guarded(|records| records.tell(record)),
            Err(error) => self.guarded(|records| {
                let (name, pid) = (&records.name, records.pid);
                log::event(
                    LogLevel::Warning,
                    format_args!(
                        "worker `{name}` (pid {pid}) tells what is no record, and is not listened \
                         to any more: {error}"
                    ),
                );
                records.receiver = None;
                records.close_all();
            }),
        }
        true
    }

    /// The next one.
    fn next(&self) -> Result<Option<Record<'static>>> {
        let Some(receiver) = &self.receiver else { return Ok(None) };
        match receiver.try_recv_view() {
            Ok(Some(view)) => Record::from_bytes(&view.into_vec()?).map(Some),
            Ok(None) => Ok(None),
            Err(error) if error.is_disconnected() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does something with the subscriber as this thread's. Its panic is its own affair.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        let subscriber = self.subscriber.clone();
        dispatcher::with_default(&subscriber, || {
            let _ = catch_unwind(AssertUnwindSafe(|| work(self)));
        });
    }

    /// Tells the subscriber, as the macros and handles of `tracing` do: what they ask the
    /// thread's subscriber for may not ask it again, what they tell their own may.
    fn tell(&mut self, record: Record<'static>) {
        let (name, pid) = (&self.name[..], self.pid);
        if self.whole.is_none() {
            // Of the level that is wanted if any is.
            let span = tracing::error_span!(target: "kinfolk", parent: None, "worker", name, pid);
            self.outermost = span.id().into_iter().collect();
            self.whole = Some(span);
        }
        if record.lost > 0 {
            log::event(
                LogLevel::Warning,
                format_args!(
                    "{} records of worker `{name}` (pid {pid}) are lost: nobody took them in time",
                    record.lost
                ),
            );
        }
        match record.what {
            What::Event { site, parent, values } => {
                let Some(metadata) = site::metadata(site).filter(|site| site.is_event()) else {
                    return;
                };
                let inside = self.inside(parent);
                site::with_values(metadata, values, |values| {
                    let event = match inside {
                        [] => Event::new_child_of(None, metadata, values),
                        _ => Event::new(metadata, values),
                    };
                    let _entered = Entered::new(&self.subscriber, inside);
                    dispatcher::get_default(|subscriber| {
                        if subscriber.enabled(metadata) {
                            subscriber.event(&event);
                        }
                    });
                });
            }
            What::Open { span, site, parent, values } => {
                let Some(metadata) = site::metadata(site).filter(|site| site.is_span()) else {
                    return;
                };
                if self.spans.len() >= MOST_SPANS || self.spans.contains_key(&span) {
                    return;
                }
                let mut inside = self.inside(parent).to_vec();
                let id = site::with_values(metadata, values, |values| {
                    let attributes = match inside.last() {
                        Some(parent) => Attributes::child_of(parent.clone(), metadata, values),
                        None => Attributes::new_root(metadata, values),
                    };
                    let _entered = Entered::new(&self.subscriber, &inside);
                    dispatcher::get_default(|subscriber| {
                        subscriber.enabled(metadata).then(|| subscriber.new_span(&attributes))
                    })
                });
                let is_wanted = id.is_some();
                // What is in it may outlive the one around it.
                let around = || inside.last().map(|around| self.subscriber.clone_span(around));
                let handle = id.clone().or_else(around);
                inside.extend(id);
                if inside.len() > DEEPEST {
                    inside.remove(1);
                }
                self.spans.insert(span, Open { id: handle, is_wanted, inside, metadata });
            }
            What::Values { span, values } => {
                let Some((id, metadata)) = self.wanted(span) else { return };
                site::with_values(metadata, values, |values| {
                    self.subscriber.record(id, &Recorded::new(values));
                });
            }
            What::Follows { span, from } => {
                let (Some((id, _)), Some((from, _))) = (self.wanted(span), self.wanted(from))
                else {
                    return;
                };
                self.subscriber.record_follows_from(id, from);
            }
            What::Close { span } => {
                if let Some(Open { id: Some(id), .. }) = self.spans.remove(&span) {
                    self.subscriber.try_close(id);
                }
            }
        }
    }

    /// Which a span of the worker is here, if it is open and the subscriber wants it.
    fn wanted(&self, span: u64) -> Option<(&Id, &'static Metadata<'static>)> {
        let open = self.spans.get(&span).filter(|open| open.is_wanted)?;
        Some((open.id.as_ref()?, open.metadata))
    }

    /// The spans around what is in a span of the worker, or in none.
    fn inside(&self, span: Option<u64>) -> &[Id] {
        span.and_then(|span| self.spans.get(&span)).map_or(&self.outermost, |open| &open.inside)
    }

    /// Closes all spans.
    fn close_all(&mut self) {
        // Later ones first, which may be in earlier ones.
        let mut spans: Vec<_> = std::mem::take(&mut self.spans).into_iter().collect();
        spans.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        for id in spans.into_iter().filter_map(|(_, open)| open.id) {
            self.subscriber.try_close(id);
        }
        self.outermost.clear();
        self.whole = None;
    }
}

/// The spans that this thread is in while it hands something over: a subscriber of
/// several layers, each with a filter of its own, finds the spans around an event by what
/// is entered; of a parent that is named, only that one.
struct Entered<'a> {
    /// Whose spans.
    subscriber: &'a Dispatch,
    /// The spans, from the outermost.
    spans: &'a [Id],
}

impl<'a> Entered<'a> {
    /// Enters them.
    fn new(subscriber: &'a Dispatch, spans: &'a [Id]) -> Self {
        for span in spans {
            subscriber.enter(span);
        }
        Self { subscriber, spans }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        for span in self.spans.iter().rev() {
            self.subscriber.exit(span);
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.guarded(Self::close_all);
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Records, {} to come, {} spans open>", self.len(), self.spans.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record as Recorded};
    use tracing::{Dispatch, Event, Metadata, Subscriber};

    use super::super::record::{Record, SiteText, Value, What};
    use super::Records;
    use crate::queue::{self, Sender};

    /// Counts events, spans that were opened, and those that were closed.
    #[derive(Clone, Default)]
    struct Counts(Arc<Mutex<[u64; 3]>>);

    impl Counts {
        /// Counts one more.
        fn count(&self, which: usize) -> u64 {
            let mut counts = self.0.lock().unwrap();
            counts[which] += 1;
            counts[which]
        }
    }

    impl Subscriber for Counts {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(self.count(1))
        }

        fn record(&self, _: &Id, _: &Recorded<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.count(0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}

        fn try_close(&self, _: Id) -> bool {
            self.count(2);
            true
        }
    }

    /// A worker's end, the records at the other, and what came of them.
    fn worker() -> (Sender<()>, Records, Counts) {
        let (sender, receiver) = queue::bounded(16).unwrap();
        let counts = Counts::default();
        let subscriber = Dispatch::new(counts.clone());
        (sender, Records::new((receiver, subscriber), "worker", 7), counts)
    }

    /// A callsite with a field.
    fn site(is_span: bool, level: u8) -> SiteText<'static> {
        SiteText {
            is_span,
            level,
            name: "name".into(),
            target: "target".into(),
            module: None,
            file: None,
            line: None,
            fields: vec!["field".into()],
        }
    }

    /// Sends what a worker tells, and hands it over.
    fn tell(sender: &Sender<()>, records: &mut Records, what: What<'_>) {
        sender.send_bytes(&Record { lost: 0, what }.to_bytes().unwrap()).unwrap();
        records.hand_over();
    }

    #[test]
    fn what_is_no_record_ends_the_listening_and_closes_the_spans() {
        let (sender, mut records, counts) = worker();
        let (site, values) = (site(true, 3), Vec::new());
        tell(&sender, &mut records, What::Open { span: 1, site, parent: None, values });
        assert_eq!(*counts.0.lock().unwrap(), [0, 2, 0]);
        sender.send_bytes(b"\xff\xff\xff").unwrap();
        records.hand_over();
        // It is warned of, and nobody is there for more.
        assert_eq!(*counts.0.lock().unwrap(), [1, 2, 2]);
        sender.send_bytes(b"more").unwrap();
        assert_eq!(records.len(), 0);
        records.hand_over();
        assert_eq!(*counts.0.lock().unwrap(), [1, 2, 2]);
    }

    #[test]
    fn records_of_no_sense_tell_nothing_and_cost_nothing() {
        let (sender, mut records, counts) = worker();
        let values = || vec![(9, Value::Bool(true)), (0, Value::I64(1)), (0, Value::I64(2))];
        let many =
            |level| What::Event { site: site(false, level), parent: Some(5), values: values() };
        tell(&sender, &mut records, many(0));
        tell(&sender, &mut records, many(77));
        tell(&sender, &mut records, What::Close { span: 0 });
        tell(&sender, &mut records, What::Values { span: 3, values: values() });
        tell(&sender, &mut records, What::Follows { span: 3, from: 4 });
        let (event, span) = (site(false, 3), site(true, 3));
        tell(
            &sender,
            &mut records,
            What::Open { span: 1, site: event, parent: None, values: values() },
        );
        tell(&sender, &mut records, What::Event { site: span, parent: None, values: values() });
        assert_eq!(*counts.0.lock().unwrap(), [0, 1, 0]);
        // Of one number twice, the first is.
        for _ in 0..2 {
            let (site, values) = (site(true, 3), values());
            tell(&sender, &mut records, What::Open { span: 1, site, parent: Some(1), values });
        }
        tell(&sender, &mut records, many(3));
        assert_eq!(*counts.0.lock().unwrap(), [1, 2, 0]);
        drop(records);
        assert_eq!(*counts.0.lock().unwrap(), [1, 2, 2]);
    }
}
