//! Metadata of this process with the content of a worker's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use tracing::callsite::{self, Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Metadata, field};

use super::record::{SiteText, Value, Values, level_of};

/// The most memory for metadata, in bytes. Subscribers keep references to it for ever,
/// so it is never freed; a program has so much only if a worker makes it up.
const MOST: usize = 16 << 20;
/// What each takes beside its texts, about.
const EACH: usize = 512;

/// The metadata of workers that there is.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Metadata by content.
#[derive(Default)]
struct Known {
    /// All of it.
    sites: HashMap<SiteText<'static>, &'static Metadata<'static>>,
    /// How much memory it takes.
    bytes: usize,
}

/// A callsite that is only heard of.
struct Remote(OnceLock<Metadata<'static>>);

impl Callsite for Remote {
    // What is enabled is asked each time.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("it is set before anybody knows the callsite")
    }
}

/// The metadata of this content; `None` if its level is none, or there is too much.
pub(super) fn metadata(text: SiteText<'static>) -> Option<&'static Metadata<'static>> {
    let made = {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metadata) = known.sites.get(&text) {
            return Some(metadata);
        }
        let bytes = known.bytes + EACH + size_of_text(&text);
        let level = level_of(text.level).filter(|_| bytes <= MOST)?;
        known.bytes = bytes;
        let remote: &'static Remote = Box::leak(Box::new(Remote(OnceLock::new())));
        let names: Vec<&'static str> = text.fields.iter().map(|name| leaked(name)).collect();
        let fields = FieldSet::new(names.leak(), Identifier(remote));
        let kind = if text.is_span { Kind::SPAN } else { Kind::EVENT };
        let metadata = remote.0.get_or_init(|| {
            Metadata::new(
                leaked(&text.name),
                leaked(&text.target),
                level,
                text.file.as_deref().map(leaked),
                text.line,
                text.module.as_deref().map(leaked),
                fields,
                kind,
            )
        });
        known.sites.insert(text, metadata);
        (remote, metadata)
    };
    // Asks the subscribers, who may do anything.
    callsite::register(made.0);
    Some(made.1)
}

/// Values of fields as the subscriber takes them.
pub(super) fn with_values<R>(
    metadata: &'static Metadata<'static>,
    values: Values,
    take: impl FnOnce(&field::ValueSet<'_>) -> R,
) -> R {
    let values: Vec<_> = values.into_iter().map(|(place, value)| (place, boxed(value))).collect();
    let mut all: Vec<Option<&dyn tracing::Value>> = vec![None; metadata.fields().len()];
    for (place, value) in &values {
        if let Some(slot) = all.get_mut(usize::from(*place)) {
            *slot = Some(&**value);
        }
    }
    take(&metadata.fields().value_set_all(&all))
}

/// A value as one of `tracing`'s.
fn boxed(value: Value) -> Box<dyn tracing::Value> {
    match value {
        Value::I64(value) => Box::new(value),
        Value::U64(value) => Box::new(value),
        Value::I128(value) => Box::new(value),
        Value::U128(value) => Box::new(value),
        Value::F64(value) => Box::new(value),
        Value::Bool(value) => Box::new(value),
        Value::Text(text) => Box::new(text),
        Value::Shown(text) => Box::new(field::display(text)),
    }
}

/// The memory of the texts, once as the content and once as metadata.
fn size_of_text(text: &SiteText<'_>) -> usize {
    let whole = [Some(&text.name), Some(&text.target), text.module.as_ref(), text.file.as_ref()];
    let whole: usize = whole.into_iter().flatten().map(|text| text.len()).sum();
    let fields: usize = text.fields.iter().map(|name| name.len() + size_of::<Cow<'_, str>>()).sum();
    2 * (whole + fields)
}

/// A copy for ever.
fn leaked(text: &str) -> &'static str {
    String::leak(text.to_owned())
}
