//! The subscriber of a worker: sends what it hears to the pool.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Debug, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as Recorded};
use tracing::subscriber::Subscriber;
use tracing::{Event, Level, Metadata};
use tracing_core::span::Current;

use super::PATIENCE;
use super::record::{Record, SiteText, TEXT, Value, Values, What, level_of, number_of};
use crate::queue::Sender;
use crate::sys::fork_guard;

thread_local! {
    /// The spans that this thread is in, by their numbers, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Where a worker's records go, and which are wanted.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::pool) struct Forwarding {
    /// Where they go.
    sender: Sender<()>,
    /// The number of the least important level that is wanted.
    level: u8,
}

impl Forwarding {
    /// Forwards records of this level, and of more important ones.
    pub(super) fn new(sender: Sender<()>, level: Level) -> Self {
        Self { sender, level: number_of(level) }
    }
}

/// Begins to forward: all that is told in this process, or, where a fork has a
/// subscriber for all of it already, what its main thread tells, while the guard lives.
pub(in crate::pool) fn begin(forwarding: Option<Forwarding>) -> Option<DefaultGuard> {
    let Forwarding { sender, level } = forwarding?;
    let dispatch = Dispatch::new(Forward {
        sender,
        level: level_of(level)?,
        owner: fork_guard::process_id(),
        spans: Mutex::default(),
        next: AtomicU64::new(1),
        lost: AtomicU64::new(0),
        stalled: AtomicBool::new(false),
    });
    // A fork of a worker is in none of its spans.
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().clear());
    // A fork's thread may have a subscriber of its own beside.
    let everywhere = dispatcher::set_global_default(dispatch.clone()).is_ok()
        && dispatcher::get_default(Dispatch::is::<Forward>);
    (!everywhere).then(|| dispatcher::set_default(&dispatch))
}

/// A subscriber that sends what it hears.
struct Forward {
    /// Where to.
    sender: Sender<()>,
    /// The least important level that is wanted.
    level: Level,
    /// The process whose subscriber it is: a fork of it has another pool, or none.
    owner: u32,
    /// The spans that are open.
    spans: Mutex<HashMap<u64, Open>>,
    /// The number of the next span.
    next: AtomicU64,
    /// How many records there was no room for since one was sent. Private to the
    /// process, as the next, so a kill leaves nothing.
    lost: AtomicU64,
    /// Whether the last record has waited for room in vain: the next do not wait.
    stalled: AtomicBool,
}

/// An open span.
struct Open {
    /// Where it was made.
    metadata: &'static Metadata<'static>,
    /// How many handles of it there are.
    handles: usize,
}

impl Forward {
    /// Sends a record, or counts it as lost.
    fn send(&self, what: What<'_>) {
        if self.owner != fork_guard::process_id() {
            return;
        }
        let record = Record { lost: self.lost.swap(0, Ordering::Relaxed), what };
        let patience = if self.stalled.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let sent = match record.to_bytes() {
            Ok(bytes) => {
                let sent = matches!(self.sender.send_bytes_timeout(&bytes, patience), Ok(true));
                self.stalled.store(!sent, Ordering::Relaxed);
                sent
            }
            Err(_) => false,
        };
        if !sent {
            self.lost.fetch_add(record.lost + 1, Ordering::Relaxed);
        }
    }

    /// The open spans.
    fn spans(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let span = self.next.fetch_add(1, Ordering::Relaxed);
        let metadata = attributes.metadata();
        self.spans().insert(span, Open { metadata, handles: 1 });
        let mut texts = Texts::new();
        attributes.record(&mut texts);
        let parent = parent(attributes.parent(), attributes.is_contextual());
        let (site, values) = (SiteText::of(metadata), texts.values);
        self.send(What::Open { span, site, parent, values });
        Id::from_u64(span)
    }

    fn record(&self, span: &Id, values: &Recorded<'_>) {
        let mut texts = Texts::new();
        values.record(&mut texts);
        self.send(What::Values { span: span.into_u64(), values: texts.values });
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.send(What::Follows { span: span.into_u64(), from: follows.into_u64() });
    }

    fn event(&self, event: &Event<'_>) {
        let mut texts = Texts::new();
        event.record(&mut texts);
        let parent = parent(event.parent(), event.is_contextual());
        let (site, values) = (SiteText::of(event.metadata()), texts.values);
        self.send(What::Event { site, parent, values });
    }

    fn enter(&self, span: &Id) {
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let span = span.into_u64();
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if let Some(place) = entered.iter().rposition(|inner| *inner == span) {
                entered.remove(place);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(open) = self.spans().get_mut(&span.into_u64()) {
            open.handles += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let span = span.into_u64();
        {
            let mut spans = self.spans();
            let Some(open) = spans.get_mut(&span) else { return false };
            open.handles -= 1;
            if open.handles > 0 {
                return false;
            }
            spans.remove(&span);
        }
        self.send(What::Close { span });
        true
    }

    fn current_span(&self) -> Current {
        let open = current().and_then(|span| Some((span, self.spans().get(&span)?.metadata)));
        open.map_or_else(Current::none, |(span, metadata)| {
            Current::new(Id::from_u64(span), metadata)
        })
    }
}

/// The number of the span that this thread is in.
fn current() -> Option<u64> {
    ENTERED.try_with(|entered| entered.borrow().last().copied()).ok().flatten()
}

/// The number of the parent of a span or an event.
fn parent(named: Option<&Id>, is_contextual: bool) -> Option<u64> {
    named.map(Id::into_u64).or_else(|| current().filter(|_| is_contextual))
}

/// Reads values, with bounded texts.
struct Texts {
    /// What is read.
    values: Values,
    /// How much more text there may be, in bytes.
    room: usize,
}

impl Texts {
    /// Nothing read.
    fn new() -> Self {
        Self { values: Vec::new(), room: TEXT }
    }

    /// Adds a value.
    fn add(&mut self, field: &Field, value: Value) {
        if let Ok(place) = u16::try_from(field.index()) {
            self.values.push((place, value));
        }
    }

    /// What is written, as far as there is room.
    fn text(&mut self, content: fmt::Arguments<'_>) -> String {
        let mut text = Cut { text: String::new(), room: &mut self.room, over: false };
        // It ends early where it is cut, and what else keeps it from being shown is
        // that of the value.
        let _ = text.write_fmt(content);
        text.text
    }
}

impl Visit for Texts {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.text(format_args!("{value}"));
        self.add(field, Value::Text(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = self.text(format_args!("{value:?}"));
        self.add(field, Value::Shown(text));
    }
}

/// A text that is cut where its room ends.
struct Cut<'a> {
    /// The text.
    text: String,
    /// How much more there may be, in bytes.
    room: &'a mut usize,
    /// Whether it is cut.
    over: bool,
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.over {
            return Err(fmt::Error);
        }
        if more.len() <= *self.room {
            *self.room -= more.len();
            self.text.push_str(more);
            return Ok(());
        }
        let fits = (0..=*self.room).rev().find(|end| more.is_char_boundary(*end));
        self.text.push_str(&more[..fits.unwrap_or(0)]);
        self.text.push('…');
        *self.room = 0;
        self.over = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::Texts;

    #[test]
    fn texts_are_cut_at_a_character_and_say_so() {
        let mut texts = Texts { values: Vec::new(), room: 6 };
        assert_eq!(texts.text(format_args!("{}", "abc")), "abc");
        assert_eq!(texts.text(format_args!("{}{}", "xäö", "more")), "xä…");
        assert_eq!(texts.text(format_args!("x")), "…");
        assert_eq!(texts.text(format_args!("")), "");
    }
}
