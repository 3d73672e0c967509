//! What a sender and a receiver have in common.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ring::Ring;
use crate::sync::signal::Naps;
use crate::sys::fork_guard::PrivateFd;
use crate::sys::sides;
use crate::wire::handle::Handle;
use crate::{Error, Result};

/// How often one looks before it sleeps: an active peer answers in less than a
/// sleep takes.
const LOOKS: u32 = 600;

/// One end of a queue.
#[derive(Debug)]
pub(super) struct End {
    /// The messages.
    pub(super) ring: Ring,
    /// Tells whether the other side is gone, and them of this one.
    side: Option<PrivateFd>,
    /// Rung for receivers that wait for many.
    pub(super) bell: OwnedFd,
}

impl End {
    /// Makes both ends: the sending one, the receiving one.
    pub(super) fn pair(ring: Ring) -> Result<(Self, Self)> {
        let failed = |error| Error::io(error, "making a queue");
        let (read, write) = sides::pair().map_err(failed)?;
        let bell = sides::bell().map_err(failed)?;
        let other_bell = bell.try_clone().map_err(failed)?;
        let other = ring.try_clone()?;
        let end = |ring, side, bell| Self { ring, side: Some(PrivateFd::connection(side)), bell };
        Ok((end(ring, write, bell), end(other, read, other_bell)))
    }

    /// Another handle of the same end.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let failed = |error| Error::io(error, "cloning an end of a queue");
        let side = self.side().try_clone_to_owned().map_err(failed)?;
        let bell = self.bell.try_clone().map_err(failed)?;
        Ok(Self { ring: self.ring.try_clone()?, side: Some(PrivateFd::connection(side)), bell })
    }

    /// The descriptor that stands for this side.
    pub(super) fn side(&self) -> BorrowedFd<'_> {
        self.side.as_ref().expect("only drop takes it").as_fd()
    }

    /// Whether nobody is left on the other side.
    pub(super) fn other_is_gone(&self) -> Result<bool> {
        sides::other_is_gone(self.side())
            .map_err(|error| Error::io(error, "looking for the other side of a queue"))
    }

    /// Tries again and again: at once, for a moment, and whenever `sleep` ends.
    /// `None` if the deadline passed first: if it has passed already, without
    /// that moment.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(bool) -> Result<Option<T>>,
        sleep: impl Fn(&Ring, Duration),
    ) -> Result<Option<T>> {
        if let Some(done) = attempt(false)? {
            return Ok(Some(done));
        }
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if let Some(done) = attempt(false)? {
                    return Ok(Some(done));
                }
            }
        }
        let mut naps = Naps::long();
        loop {
            if let Some(done) = attempt(true)? {
                return Ok(Some(done));
            }
            let Some(nap) = naps.next(deadline) else { return Ok(None) };
            sleep(&self.ring, nap);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.side.take());
        // If it was the last of its side, the other one must look.
        self.ring.wake_all();
    }
}

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.ring, Lent(self.side()), Lent(self.bell.as_fd())).serialize(serializer)
    }
}

/// A descriptor on its way.
struct Lent<'a>(BorrowedFd<'a>);

impl Serialize for Lent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::fd::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Parts = (Ring, Handle<OwnedFd>, Handle<OwnedFd>);
        let (ring, side, bell) = Parts::deserialize(deserializer)?;
        let side = Some(PrivateFd::connection(side.into_inner()));
        Ok(Self { ring, side, bell: bell.into_inner() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{End, Ring};

    #[test]
    fn who_does_not_wait_does_not_look_again_and_again() {
        let (end, _other) = End::pair(Ring::new(1, 1 << 16).unwrap()).unwrap();
        let mut looks = 0;
        let attempt = |_| {
            looks += 1;
            Ok(None::<()>)
        };
        let done = end.wait(Some(Instant::now()), attempt, |_, _| panic!("it sleeps"));
        assert!(done.unwrap().is_none());
        assert!(looks <= 2, "it looks {looks} times");
    }
}
