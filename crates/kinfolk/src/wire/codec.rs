//! Values as bytes, with the file descriptors in them beside.
//!
//! The bytes are postcard's: compact, and not self-describing. A handle inside
//! a value becomes its place in the list of descriptors.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// An encoded value.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// The descriptors in it.
    pub(crate) handles: Vec<OwnedFd>,
}

// All are used through `try_with`: an exit handler runs when they are gone.
thread_local! {
    /// The descriptors of the values being encoded or decoded on this thread,
    /// the innermost last.
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
    /// A buffer for values that are sent at once.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The descriptors of one value.
enum Scope {
    /// Collected while it is encoded.
    Encode(Vec<OwnedFd>),
    /// Claimed, each once, while it is decoded.
    Decode(Vec<Option<OwnedFd>>),
}

/// The largest buffer that a thread keeps.
const KEPT: usize = 64 << 10;

/// Encodes a value.
///
/// # Errors
///
/// If the value's type does not want to, or a descriptor cannot be duplicated.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Encoded> {
    let (bytes, handles) = collecting(|| postcard::to_stdvec(value))?;
    Ok(Encoded { bytes: bytes.map_err(not_serialised)?, handles })
}

/// Encodes a value into a buffer of this thread, behind `room` bytes for a header,
/// and hands all of it to `send`.
pub(crate) fn encode_with<T: Serialize + ?Sized, R>(
    value: &T,
    room: usize,
    send: impl FnOnce(&mut [u8], &[OwnedFd]) -> Result<R>,
) -> Result<R> {
    let mut buffer = BUFFER.try_with(RefCell::take).unwrap_or_default();
    buffer.clear();
    buffer.resize(room, 0);
    let (bytes, handles) = collecting(|| postcard::to_extend(value, buffer))?;
    let mut bytes = bytes.map_err(not_serialised)?;
    let sent = send(&mut bytes, &handles);
    bytes.shrink_to(KEPT);
    let _ = BUFFER.try_with(|buffer| buffer.replace(bytes));
    sent
}

/// The room for a small value, in bytes.
pub(crate) const SMALL: usize = 128;

/// Whether values of a type have no descriptor in them and are small: they own
/// nothing, and are no references.
pub(crate) const fn is_plain<T>() -> bool {
    !std::mem::needs_drop::<T>() && size_of::<T>() <= SMALL / 2
}

/// Encodes a value that is plain into `room`, and returns its length; `None` if it
/// must be encoded in the other way, which also says what is wrong with it.
pub(crate) fn encode_plain<T: Serialize>(value: &T, room: &mut [u8]) -> Option<usize> {
    if !is_plain::<T>() {
        return None;
    }
    postcard::to_slice(value, room).ok().map(|bytes| bytes.len())
}

/// Appends an encoded value that has no descriptors in it, by its type, to `bytes`, or nothing.
///
/// # Errors
///
/// If the value's type does not want to.
pub(crate) fn append_own<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let start = bytes.len();
    postcard::serialize_with_flavor(value, Behind(bytes)).map_err(|error| {
        bytes.truncate(start);
        not_serialised(error)
    })
}

/// As [`append_own`], of a user's value.
///
/// # Errors
///
/// Also if there is a descriptor in it.
pub(crate) fn append<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let start = bytes.len();
    let (appended, handles) = collecting(|| append_own(value, bytes))?;
    if !handles.is_empty() {
        bytes.truncate(start);
        return Err(has_handles::<T>());
    }
    appended
}

/// The error of a value that cannot travel because of what is in it.
pub(super) fn has_handles<T: ?Sized>() -> Error {
    Error::new(
        ErrorKind::Serialize,
        format!(
            "a {} has file descriptors in it, which cannot travel so: give them to processes as \
             they start, or send them over a pipe",
            std::any::type_name::<T>()
        ),
    )
}

/// Decodes a value that has no descriptors in it, by its type.
///
/// # Errors
///
/// If the bytes are not exactly one value of this type.
pub(crate) fn decode_own<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    match postcard::take_from_bytes::<T>(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(longer(rest)),
        Err(error) => Err(Error::new(ErrorKind::Deserialize, explain(None, &error))),
    }
}

/// Encodes behind what is there already.
struct Behind<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a value that is plain, or as [`decode`] does without handles.
pub(crate) fn decode_plain<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    if is_plain::<T>()
        && let Ok((value, [])) = postcard::take_from_bytes::<T>(bytes)
    {
        return Ok(value);
    }
    decode(bytes, Vec::new())
}

/// Decodes a value. Handles that it does not claim are closed.
///
/// # Errors
///
/// If the bytes are not exactly one value of this type.
pub(crate) fn decode<T>(bytes: &[u8], handles: Vec<OwnedFd>) -> Result<T>
where
    T: for<'de> Deserialize<'de>,
{
    let handles = handles.into_iter().map(Some).collect();
    let (value, _) = scoped(Scope::Decode(handles), || postcard::take_from_bytes::<T>(bytes));
    match value {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(longer(rest)),
        Err(error) => Err(Error::new(ErrorKind::Deserialize, explain(noted(), &error))),
    }
}

/// The error of what stands behind a value.
fn longer(rest: &[u8]) -> Error {
    let text = format!("{} bytes follow the value: it is of another type", rest.len());
    Error::new(ErrorKind::Deserialize, text)
}

/// Adds a descriptor to the value being encoded; returns its place.
pub(super) fn collect(fd: OwnedFd) -> Option<u32> {
    with_scopes(|scopes| match scopes.last_mut() {
        Some(Scope::Encode(fds)) => {
            fds.push(fd);
            u32::try_from(fds.len() - 1).ok()
        }
        _ => None,
    })
    .flatten()
}

/// Looks at this thread's scopes; `None` when they are gone.
fn with_scopes<T>(look: impl FnOnce(&mut Vec<Scope>) -> T) -> Option<T> {
    SCOPES.try_with(|scopes| look(&mut scopes.borrow_mut())).ok()
}

/// Takes a descriptor of the value being decoded.
pub(super) fn claim(place: u32) -> Option<OwnedFd> {
    with_scopes(|scopes| match scopes.last_mut() {
        Some(Scope::Decode(fds)) => fds.get_mut(place as usize)?.take(),
        _ => None,
    })
    .flatten()
}

/// Runs `work`, and returns the descriptors of the value that it encodes.
pub(super) fn collecting<R>(work: impl FnOnce() -> R) -> Result<(R, Vec<OwnedFd>)> {
    match scoped(Scope::Encode(Vec::new()), work) {
        (result, Scope::Encode(handles)) => Ok((result, handles)),
        (_, Scope::Decode(_)) => Err(nested()),
    }
}

/// Runs `work` with a scope of its own, and gives the scope back. A panic drops
/// it, with the descriptors in it.
fn scoped<R>(scope: Scope, work: impl FnOnce() -> R) -> (R, Scope) {
    /// Removes the scope when the work is over, however.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            let scope = with_scopes(Vec::pop);
            drop(scope);
        }
    }
    with_scopes(|scopes| scopes.push(scope));
    let guard = Guard;
    let result = work();
    std::mem::forget(guard);
    let scope = with_scopes(Vec::pop).flatten();
    (result, scope.unwrap_or(Scope::Encode(Vec::new())))
}

/// A value did not serialise.
pub(super) fn not_serialised(error: postcard::Error) -> Error {
    match noted() {
        Some(Reason::System(system)) => Error::io(system, "duplicating a handle to send it"),
        reason => Error::new(
            ErrorKind::Serialize,
            format!("the value cannot be serialised: {}", explain(reason, &error)),
        ),
    }
}

/// Encoding went through decoding: cannot be, as scopes are paired.
fn nested() -> Error {
    Error::new(ErrorKind::Serialize, "a serializer decoded while it encoded")
}

/// What postcard says, with what it left out.
fn explain(reason: Option<Reason>, error: &postcard::Error) -> String {
    match (reason, error) {
        (Some(Reason::Said(reason)), _) => reason,
        (Some(Reason::System(system)), _) => system.to_string(),
        (None, postcard::Error::WontImplement) => "its type needs a self-describing format \
             (untagged or flattened serde types): send it as text, for instance as JSON"
            .to_owned(),
        (None, other) => other.to_string(),
    }
}

/// Why a type refused: postcard drops what custom errors say.
enum Reason {
    /// In its own words.
    Said(String),
    /// The system would not duplicate a handle.
    System(std::io::Error),
}

thread_local! {
    /// The reason of the latest refusal, until it is part of an error.
    static NOTED: RefCell<Option<Reason>> = const { RefCell::new(None) };
}

/// Takes the reason of the latest refusal.
fn noted() -> Option<Reason> {
    NOTED.try_with(RefCell::take).ok().flatten()
}

/// Notes the reason of a refusal for the error that will follow.
pub(crate) fn note(reason: &str) {
    keep(Reason::Said(reason.to_owned()));
}

/// Notes what the system said for the error that will follow.
pub(super) fn note_system(error: std::io::Error) {
    keep(Reason::System(error));
}

/// Keeps a reason, unless the value is in the hands of a foreign serializer,
/// whose error nobody here will ask about.
fn keep(reason: Reason) {
    if with_scopes(|scopes| !scopes.is_empty()) == Some(true) {
        let _ = NOTED.try_with(|noted| noted.replace(Some(reason)));
    }
}
