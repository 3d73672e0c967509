//! What the processes of a scenario tell each other and the proof.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::trace;

/// The most processes of a scenario.
const PARTS: usize = 8;
/// The most values that each says.
const SAID: usize = 32;

/// The number of the victim.
pub(super) const VICTIM: usize = 0;
/// The number of the survivor.
pub(super) const SURVIVOR: usize = 1;
/// The number of who acts beside the victim, or after it.
pub(super) const SECOND: usize = 2;
/// The number of the first peer.
pub(super) const PEERS: usize = 3;

/// Memory of all processes of the scenarios.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes(NonNull<Page>);

/// What is in it.
#[repr(C)]
struct Page {
    /// By the number of a process.
    parts: [Part; PARTS],
    /// The number of peers.
    peers: AtomicU64,
    /// Since when the survivor's time counts, by the system's clock, in nanoseconds.
    since: AtomicU64,
    /// How many are in what one alone may be in.
    inside: AtomicU64,
}

/// The notes of one process.
#[repr(C)]
struct Part {
    /// Its process id.
    pid: AtomicU64,
    /// When it was done, by the system's clock, in nanoseconds; 0 before.
    done: AtomicU64,
    /// The number of values.
    count: AtomicU64,
    /// The values.
    said: [AtomicU64; SAID],
}

/// A process of a scenario, as it sees itself and the others.
#[derive(Debug, Clone, Copy)]
pub struct Me {
    /// The notes of all.
    notes: Notes,
    /// Its number.
    number: usize,
}

impl Notes {
    /// Makes empty notes, for good.
    pub(super) fn new() -> Self {
        Self(trace::shared_page().cast())
    }

    /// Forgets all, and expects so many peers.
    pub(super) fn clear(self, peers: usize) {
        self.page().peers.store(peers as u64, Ordering::SeqCst);
        for part in &self.page().parts {
            for word in [&part.pid, &part.done, &part.count] {
                word.store(0, Ordering::SeqCst);
            }
        }
        self.page().inside.store(0, Ordering::SeqCst);
    }

    /// The view of one process.
    pub(super) fn of(self, number: usize) -> Me {
        Me { notes: self, number }
    }

    /// The memory.
    #[allow(unsafe_code)] // Memory that processes share.
    fn page(&self) -> &Page {
        const { assert!(size_of::<Page>() <= trace::PAGE) };
        // SAFETY: mapped for good, zero at first, aligned as a page is, large enough,
        // and made of atomics alone.
        unsafe { self.0.as_ref() }
    }
}

impl Me {
    /// Stops until the proof goes on step by step: what the victim did before is
    /// its preparation.
    pub fn go(&self) {
        self.part().pid.store(std::process::id().into(), Ordering::SeqCst);
        trace::stop_myself();
    }

    /// Notes a value.
    ///
    /// # Panics
    ///
    /// If it is one too many.
    pub fn say(&self, value: u64) {
        let part = self.part();
        let count = part.count.load(Ordering::SeqCst);
        part.said[usize::try_from(count).expect("a small number")].store(value, Ordering::SeqCst);
        part.count.store(count + 1, Ordering::SeqCst);
    }

    /// Notes that this process has gone on, if it has not said so: at the end it
    /// has.
    pub fn done(&self) {
        let _ = self.part().done.compare_exchange(0, now(), Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Makes the survivor's time count from now: what it has waited for before, it
    /// should have.
    pub fn count_from_now(&self) {
        self.notes.page().since.store(now(), Ordering::SeqCst);
    }

    /// Whether this process has gone on.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.part().done.load(Ordering::SeqCst) != 0
    }

    /// What it noted.
    #[must_use]
    pub fn said(&self) -> Vec<u64> {
        let part = self.part();
        let count = usize::try_from(part.count.load(Ordering::SeqCst)).expect("a small number");
        part.said[..count].iter().map(|word| word.load(Ordering::SeqCst)).collect()
    }

    /// Its process id, of a victim or a second.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.part().pid.load(Ordering::SeqCst)).expect("a process id")
    }

    /// The victim.
    #[must_use]
    pub fn victim(&self) -> Self {
        self.notes.of(VICTIM)
    }

    /// Who acts beside the victim, or after it.
    #[must_use]
    pub fn second(&self) -> Self {
        self.notes.of(SECOND)
    }

    /// A peer.
    #[must_use]
    pub fn peer(&self, number: usize) -> Self {
        self.notes.of(PEERS + number)
    }

    /// Whether there is a peer of this number.
    #[must_use]
    pub fn has_peer(&self, number: usize) -> bool {
        (number as u64) < self.notes.page().peers.load(Ordering::SeqCst)
    }

    /// Waits until a peer is done, without helping it.
    pub fn wait_for_peer(&self, number: usize) {
        while !self.peer(number).is_done() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until all peers are done, without helping them.
    pub fn wait_for_peers(&self) {
        (0..).take_while(|peer| self.has_peer(*peer)).for_each(|peer| self.wait_for_peer(peer));
    }

    /// Enters what one process alone may be in. Who inherits it from a dead one
    /// says so.
    ///
    /// # Panics
    ///
    /// If there is another.
    pub fn enter(&self, inherited: bool) {
        let inside = &self.notes.page().inside;
        if inherited {
            inside.store(0, Ordering::SeqCst);
        }
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
    }

    /// Leaves what one process alone may be in.
    ///
    /// # Panics
    ///
    /// If there is another.
    pub fn leave(&self) {
        let inside = self.notes.page().inside.fetch_sub(1, Ordering::SeqCst);
        assert_eq!(inside, 1, "two were inside");
    }

    /// The time from when it counts until this process was done.
    pub(super) fn time(&self) -> Duration {
        let since = self.notes.page().since.load(Ordering::SeqCst);
        let done = self.part().done.load(Ordering::SeqCst);
        Duration::from_nanos(done.saturating_sub(since))
    }

    /// Its notes.
    fn part(&self) -> &Part {
        &self.notes.page().parts[self.number]
    }
}

/// The system's clock, the same in all processes, in nanoseconds.
fn now() -> u64 {
    u64::try_from(trace::now().as_nanos()).expect("centuries")
}
