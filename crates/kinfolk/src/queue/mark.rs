//! Places in a ring, as one word.

/// The most messages of a queue.
pub(super) const MOST: u64 = COUNT / 2;

/// The bits of a number of messages.
const COUNT: u64 = (1 << 24) - 1;
/// The bits of a position.
const POSITION: u64 = (1 << 40) - 1;

/// A position and a number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    /// The position, in units.
    pub(super) fn position(self) -> u64 {
        self.0 >> 24
    }

    /// This many units and messages further.
    pub(super) fn plus(self, units: u64, messages: u64) -> Self {
        let position = self.position().wrapping_add(units) & POSITION;
        Self(position << 24 | (self.0.wrapping_add(messages) & COUNT))
    }

    /// The units from `earlier` to here.
    pub(super) fn units_since(self, earlier: Self) -> u64 {
        self.position().wrapping_sub(earlier.position()) & POSITION
    }

    /// Whether a position is not ahead of here.
    pub(super) fn is_at_or_past(self, position: u64) -> bool {
        self.position().wrapping_sub(position) & POSITION <= POSITION / 2
    }

    /// The messages from `earlier` to here.
    pub(super) fn messages_since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0) & COUNT
    }
}
