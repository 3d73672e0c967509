//! Who holds something in shared memory, and whether it still lives.

use crate::machine;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64);

impl Identity {
    /// This process.
    pub(crate) fn mine() -> Self {
        Self::of(machine::this_process())
    }

    /// A process of the machine.
    pub(crate) fn of(process: usize) -> Self {
        // Bits above the word's lower half, as the start time has them.
        let id = process as u64 + 1;
        Self(id | id << 32)
    }

    /// What a word of shared memory says; `None` if it cannot be.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits & 0xff != 0 && bits & (1 << 31) == 0).then_some(Self(bits))
    }

    /// As a word of shared memory has it.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The process id.
    pub(crate) fn pid(self) -> u32 {
        (self.0 & 0xff) as u32
    }

    /// Whether the process lives, as the machine says it.
    pub(crate) fn is_alive(self) -> bool {
        machine::is_alive(self.pid() as usize - 1)
    }
}
