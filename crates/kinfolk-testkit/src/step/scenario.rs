//! What a victim does, and what must hold after its death.

use super::notes::Me;

/// A victim, and those around it, on things of type `W` that all of them share.
#[derive(Debug)]
pub struct Scenario<W: 'static> {
    /// What it is about.
    pub name: &'static str,
    /// Makes the things, anew for each kill.
    pub world: fn() -> W,
    /// Those that sleep, and wait for something, when the victim begins.
    pub peers: &'static [fn(&W, &Me)],
    /// Prepares itself, calls [`Me::go`], and does what is proved.
    pub victim: fn(&W, &Me),
    /// From where the victim is stepped.
    pub from: Start<W>,
    /// Acts beside the victim, while that is stopped, or after its death, and is
    /// then killed itself. Of no use to [`Proof::states`](super::Proof::states).
    pub second: fn(&W, &Me),
    /// Goes on after the death, calls [`Me::done`] when it has, and looks whether
    /// all is whole. It panics if not.
    pub survivor: fn(&W, &Me),
}

/// From where a victim is stepped.
#[derive(Debug)]
pub enum Start<W> {
    /// From [`Me::go`].
    Go,
    /// From where it wakes after its first sleep, which this ends. It is killed
    /// once while it sleeps, too.
    Sleep(fn(&W, &Me)),
}

impl<W: 'static> Scenario<W> {
    /// Has no peers, no second, and steps from the beginning.
    pub const fn new(
        name: &'static str,
        world: fn() -> W,
        victim: fn(&W, &Me),
        survivor: fn(&W, &Me),
    ) -> Self {
        Self { name, world, peers: &[], victim, from: Start::Go, second: |_, _| (), survivor }
    }
}
