//! How deep plain data is.

use std::cell::Cell;

/// How deep values may be inside of each other: what goes deeper could overflow the
/// stack of who reads it.
pub(crate) const MAX_DEPTH: usize = 128;

thread_local! {
    /// How deep in plain data this thread is, encoding or decoding.
    static LEVEL: Cell<usize> = const { Cell::new(0) };
}

/// One level of plain data, while it is encoded or decoded by serde.
pub(super) struct Level(());

impl Level {
    /// Goes one level down; `None` if that is too deep.
    pub(super) fn enter() -> Option<Self> {
        LEVEL.with(|level| {
            let deeper = level.get() + 1;
            (deeper <= MAX_DEPTH).then(|| {
                level.set(deeper);
                Self(())
            })
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        LEVEL.with(|level| level.set(level.get() - 1));
    }
}

/// Why a value is refused that is too deep.
pub(crate) fn too_deep() -> String {
    format!("its values are more than {MAX_DEPTH} deep inside of each other")
}
