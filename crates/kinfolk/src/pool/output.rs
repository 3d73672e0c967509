//! The results of a worker, on their way to its pool.
#![allow(unsafe_code)] // Large ones are written where they stay.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{self, ITEM_HEAD, Panic, RESULTS_HEAD, Status};
use super::slate::Page;
use crate::process::{catch, take_backtrace};
use crate::queue::Sender;
use crate::wire::{codec, packed};
use crate::{ErrorKind, Result};

/// How long results are kept back, while others follow.
const KEPT_BACK: Duration = Duration::from_millis(1);
/// The most items between two looks at the clock.
const UNLOOKED: u32 = 1024;

/// The results of chunks, on their way.
pub(super) struct Output<'a> {
    /// Where they go.
    results: &'a Sender<()>,
    /// Where they are until then.
    page: Page<'a>,
    /// The largest, in bytes.
    largest: usize,
    /// How many bytes of the page are a message of those not sent yet.
    length: usize,
    /// The number of the first of them.
    first: u32,
    /// How many.
    count: u32,
    /// How many items of the chunk are to come.
    left: u32,
    /// Since when.
    since: Instant,
    /// After how many items the clock is looked at again.
    look: u32,
    /// How many are between two looks.
    unlooked: u32,
}

impl<'a> Output<'a> {
    /// None yet.
    pub(super) fn new(results: &'a Sender<()>, page: Page<'a>, largest: usize) -> Self {
        let (length, since) = (RESULTS_HEAD, Instant::now());
        let (first, count, left, look, unlooked) = (0, 0, 0, 1, 1);
        Self { results, page, largest, length, first, count, left, since, look, unlooked }
    }

    /// The next is that of item `first`, of so many.
    pub(super) fn begin(&mut self, first: u32, count: u32) {
        self.left = count;
        self.since = Instant::now();
        (self.look, self.unlooked) = (1, 1);
        self.begin_at(first);
    }

    /// What is before item `first` is sent.
    fn begin_at(&mut self, first: u32) {
        self.page.note(first, 0);
        self.first = first;
        self.count = 0;
        self.length = RESULTS_HEAD;
    }

    /// Runs the function for items, and adds what came of each.
    pub(super) fn run<A: DeserializeOwned, R: Serialize>(
        &mut self,
        mut items: &[u8],
        mut function: impl FnMut(A) -> R,
    ) -> Result<()> {
        loop {
            let mut before = self.left;
            // A panic ends one item, and the others follow.
            match catch(|| self.run_quietly(&mut items, &mut before, &mut function)) {
                Ok(done) => return done,
                // That of a value that is dropped comes after its result.
                Err(_) if self.left != before => drop(take_backtrace()),
                Err((message, location)) => {
                    let panic = Panic { message, location, backtrace: take_backtrace() };
                    self.add(Status::Panicked, &codec::encode(&panic)?.bytes)?;
                }
            }
        }
    }

    /// Runs the function for items that do not panic. `before` is how many are to come
    /// before the result of the one that it is at.
    fn run_quietly<A: DeserializeOwned, R: Serialize>(
        &mut self,
        items: &mut &[u8],
        before: &mut u32,
        function: &mut impl FnMut(A) -> R,
    ) -> Result<()> {
        while let Some((_, item)) = protocol::take_item(items) {
            *before = self.left;
            match packed::read::<A>(item) {
                Ok(argument) => self.add_value(&function(argument))?,
                Err(error) => self.add(Status::BadArgument, error.to_string().as_bytes())?,
            }
        }
        Ok(())
    }

    /// Adds a value.
    #[inline]
    fn add_value<R: Serialize>(&mut self, value: &R) -> Result<()> {
        let written = self.room().map_or(Ok(None), |room| packed::write(value, room));
        match written {
            Ok(Some(length)) if length <= self.largest => self.note(length, Status::Done),
            Ok(Some(length)) => self.refuse(length),
            Ok(None) if self.count > 0 => {
                self.send()?;
                self.add_value(value)
            }
            Ok(None) => self.add_large_value(value),
            Err(error) => self.add(Status::BadResult, error.to_string().as_bytes()),
        }
    }

    /// Adds a value that the page has no room for.
    fn add_large_value<R: Serialize>(&mut self, value: &R) -> Result<()> {
        let length = match packed::length(value) {
            Ok(length) if length <= self.largest => length,
            Ok(length) => return self.refuse(length),
            Err(error) => return self.add(Status::BadResult, error.to_string().as_bytes()),
        };
        let sent = self.send_large(length, Status::Done, |room| packed::fill(value, room));
        match sent {
            Err(error) if error.kind() == ErrorKind::Serialize => {
                self.add(Status::BadResult, error.to_string().as_bytes())
            }
            sent => sent,
        }
    }

    /// Adds that a value is too long.
    #[cold]
    fn refuse(&mut self, length: usize) -> Result<()> {
        let text = format!(
            "it has {length} bytes, where the pool takes {}: make the pool with a larger \
             `largest_message`",
            self.largest
        );
        self.add(Status::BadResult, text.as_bytes())
    }

    /// Adds why there is no value.
    #[cold]
    pub(super) fn add(&mut self, status: Status, content: &[u8]) -> Result<()> {
        if let Some(room) = self.room().and_then(|room| room.get_mut(..content.len())) {
            room.copy_from_slice(content);
            return self.note(content.len(), status);
        }
        self.send()?;
        if self.room().is_some_and(|room| content.len() <= room.len()) {
            return self.add(status, content);
        }
        self.send_large(content.len(), status, |room| {
            room.copy_from_slice(content);
            Ok(())
        })
    }

    /// Where the content of the next result is written; `None` if there is no room even
    /// for its head.
    #[inline]
    fn room(&mut self) -> Option<&mut [u8]> {
        self.page.room.get_mut(self.length + ITEM_HEAD..)
    }

    /// Notes that a result is there, of such a length.
    #[inline]
    fn note(&mut self, length: usize, status: Status) -> Result<()> {
        let head = protocol::item_head(length, status);
        self.page.room[self.length..][..ITEM_HEAD].copy_from_slice(&head);
        self.length += ITEM_HEAD + length;
        self.count += 1;
        self.page.note(self.first, self.count);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Ok(());
        }
        self.look -= 1;
        if self.look == 0 {
            return self.look_at_the_clock();
        }
        Ok(())
    }

    /// Sends what has been kept back for long enough.
    fn look_at_the_clock(&mut self) -> Result<()> {
        if self.since.elapsed() < KEPT_BACK {
            self.unlooked = (self.unlooked * 2).min(UNLOOKED);
        } else {
            self.unlooked = 1;
            self.send()?;
        }
        self.look = self.unlooked;
        Ok(())
    }

    /// Sends what there is.
    pub(super) fn send(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let head = self.head(self.count);
        let message = &mut self.page.room[..self.length];
        message[..RESULTS_HEAD].copy_from_slice(&head);
        self.results.send_bytes(message)?;
        self.begin_at(self.first.wrapping_add(self.count));
        Ok(())
    }

    /// Sends a result that the page has no room for, alone: `write` writes it where it
    /// stays.
    fn send_large(
        &mut self,
        length: usize,
        status: Status,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let (head, item_head) = (self.head(1), protocol::item_head(length, status));
        let write = |message: &mut [u8]| {
            let (heads, content) = message.split_at_mut(RESULTS_HEAD + ITEM_HEAD);
            heads[..RESULTS_HEAD].copy_from_slice(&head);
            heads[RESULTS_HEAD..].copy_from_slice(&item_head);
            write(content)
        };
        // SAFETY: the pool, which alone shares the queue, does not write to messages.
        unsafe { self.results.send_with(RESULTS_HEAD + ITEM_HEAD + length, write)? };
        self.left = self.left.saturating_sub(1);
        self.begin_at(self.first.wrapping_add(1));
        Ok(())
    }

    /// What is before so many results, which are done now.
    fn head(&mut self, count: u32) -> [u8; RESULTS_HEAD] {
        let now = Instant::now();
        let took = now.duration_since(std::mem::replace(&mut self.since, now));
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        protocol::results_head(self.first, count, took)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, Serializer};

    use super::{Output, Status};
    use crate::pool::protocol::{ITEM_HEAD, RESULTS_HEAD};
    use crate::pool::slate::{ROOM, Slate};
    use crate::queue;

    /// A value of no bytes that is not plain.
    struct Nothing;

    impl Serialize for Nothing {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }

    impl Drop for Nothing {
        fn drop(&mut self) {}
    }

    #[test]
    fn a_result_of_no_bytes_finds_room_behind_all_others() {
        for left in 0..=ITEM_HEAD {
            let (sender, receiver) = queue::bounded(4).unwrap();
            let slate = Slate::new().unwrap();
            // SAFETY: this thread alone has the slate, and opens it once.
            let page = unsafe { slate.open() }.unwrap();
            let mut output = Output::new(&sender, page, ROOM);
            output.begin(0, 2);
            let most = ROOM - RESULTS_HEAD - ITEM_HEAD;
            output.add(Status::BadResult, &vec![7; most - left]).unwrap();
            output.add_value(&Nothing).unwrap();
            output.send().unwrap();
            let lengths: Vec<usize> = std::iter::from_fn(|| receiver.try_recv_view().unwrap())
                .map(|view| view.len())
                .collect();
            let first = RESULTS_HEAD + ITEM_HEAD + most - left;
            if left == ITEM_HEAD {
                assert_eq!(lengths, [first + ITEM_HEAD]);
            } else {
                assert_eq!(lengths, [first, RESULTS_HEAD + ITEM_HEAD]);
            }
        }
    }
}
