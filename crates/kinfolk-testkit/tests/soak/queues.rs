//! Queues whose senders and receivers are killed at random.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kinfolk::queue::{self, Options, Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::crew::{Crew, Verdict};
use crate::words::{Words, mixed, numbers};

/// The number of senders, and of receivers.
const SIDE: usize = 4;
/// The most messages of a sender in a second, on a fast machine.
const RATE: u64 = 1_000_000;

/// A record of this process's holds the message on lease.
const HELD: u32 = 1 << 30;
/// It is about to say that it is done, or has said so.
const SETTLING: u32 = 2 << 30;
/// It has said so.
const DONE: u32 = 3 << 30;

/// A message, which can be told from a corrupt one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// Whose it is.
    sender: usize,
    /// How many came before.
    number: u64,
    /// What follows from both.
    text: String,
}

impl Note {
    /// The message of a sender with this number: mostly small, at times one that
    /// only fits into the arena.
    fn of(sender: usize, number: u64) -> Self {
        let seed = mixed(number << 8 | sender as u64);
        let words = match seed % 1000 {
            0 => 15_000,
            1..=4 => 3_000,
            5..=50 => 100,
            _ => seed % 4,
        };
        Self { sender, number, text: format!("{seed:016x}").repeat(words as usize) }
    }
}

/// What is written down, by all.
#[derive(Serialize, Deserialize)]
struct Log {
    /// Whether to stop; for each sender, the number of messages that it began to
    /// send, and that it has sent; for each receiver, the number that it may have
    /// taken and not written down; and how many were received on lease again.
    counts: Words,
    /// What became of each message.
    messages: Words,
    /// Whether a receiver of this number is dead, or about to be.
    dead: Words,
    /// The messages of a sender that there is room for.
    room: u64,
}

impl Log {
    /// Whether to stop.
    const STOP: usize = 0;
    /// How many messages a sender began to send.
    const BEGUN: usize = 1;
    /// How many it has sent.
    const SENT: usize = Self::BEGUN + SIDE;
    /// How many messages a receiver may have taken.
    const TAKEN: usize = Self::SENT + SIDE;
    /// How many were received again.
    const AGAIN: usize = Self::TAKEN + SIDE;

    /// Makes an empty log for a soak of this length, with so many bytes for each
    /// message.
    fn new(time: Duration, rate: u64, bytes: usize) -> Self {
        let room = rate * (time.as_secs() + 1);
        Self {
            counts: Words::new(Self::AGAIN + 1),
            messages: Words::new(SIDE * room as usize * bytes / 8),
            dead: Words::new(1 << 18),
            room,
        }
    }

    /// Another handle of the same.
    fn try_clone(&self) -> Self {
        Self {
            counts: self.counts.try_clone(),
            messages: self.messages.try_clone(),
            dead: self.dead.try_clone(),
            room: self.room,
        }
    }

    /// The place of a message, if it is one that can be.
    fn place(&self, note: &Note) -> Result<usize, String> {
        let Note { sender, number, .. } = *note;
        if sender >= SIDE || number >= self.counts.at(Self::BEGUN + sender).load(SeqCst) {
            return Err(format!("message {number} of {sender} was never sent"));
        }
        if *note != Note::of(sender, number) {
            return Err(format!("message {number} of {sender} is corrupt"));
        }
        Ok(sender * self.room as usize + number as usize)
    }

    /// Notes that this receiver holds a message, which nobody may who lives.
    fn note_lease(&self, note: &Note, me: u32) -> Verdict {
        let before = self.messages.half(self.place(note)?).swap(me | HELD, SeqCst);
        if before == 0 {
            return Ok(());
        }
        let what = format!("message {} of {}", note.number, note.sender);
        let holder = before & !DONE;
        if before & DONE == DONE {
            return Err(format!("{what} came to {me} after {holder} had settled it"));
        }
        if self.dead.byte(holder as usize).load(SeqCst) == 0 {
            return Err(format!("{what} came to {me} while {holder} had it"));
        }
        self.counts.at(Self::AGAIN).fetch_add(1, SeqCst);
        Ok(())
    }

    /// Closes the books of a killed sender: the range that it may have sent.
    fn close_sender(&self, sender: usize) -> Range<u64> {
        let begun = self.counts.at(Self::BEGUN + sender).load(SeqCst);
        self.counts.at(Self::SENT + sender).swap(begun, SeqCst)..begun
    }

    /// The places of all messages that were sent for certain.
    fn sent(&self, unsure: &[Vec<Range<u64>>]) -> Vec<usize> {
        let mut places = Vec::new();
        for (sender, unsure) in unsure.iter().enumerate() {
            let mut next = 0;
            let end = self.counts.at(Self::SENT + sender).load(SeqCst);
            for range in unsure.iter().cloned().chain(std::iter::once(end..end)) {
                let first = sender * self.room as usize;
                places.extend((next..range.start).map(|number| first + number as usize));
                next = range.end;
            }
        }
        places
    }
}

/// Sends until it is told to stop, or killed.
fn send((to, log, sender, seed): (Sender<Note>, Log, usize, u64)) -> Verdict {
    let mut numbers = numbers(seed);
    while log.counts.at(Log::STOP).load(SeqCst) == 0 {
        let count = if numbers.below(4) == 0 { 1 + numbers.below(20) } else { 1 };
        let first = log.counts.at(Log::BEGUN + sender).fetch_add(count, SeqCst);
        let notes: Vec<Note> = (first..first + count).map(|n| Note::of(sender, n)).collect();
        let sent = match &notes[..] {
            [one] => to.send(one),
            many => to.send_many(many),
        };
        sent.map_err(|error| error.to_string())?;
        log.counts.at(Log::SENT + sender).store(first + count, SeqCst);
    }
    Ok(())
}

/// Receives until no sender is left.
fn receive((from, log, receiver, seed): (Receiver<Note>, Log, usize, u64)) -> Verdict {
    let mut numbers = numbers(seed);
    let taken = log.counts.at(Log::TAKEN + receiver);
    let mut next = [0; SIDE];
    loop {
        let most = 1 + numbers.below(30) as usize;
        let many = numbers.below(4) == 0;
        taken.store(if many { most as u64 } else { 1 }, SeqCst);
        let notes = if many { from.recv_many(most) } else { from.recv().map(|note| vec![note]) };
        let notes = match notes {
            Ok(notes) => notes,
            Err(error) if error.is_disconnected() => break,
            Err(error) => return Err(error.to_string()),
        };
        taken.store(notes.len() as u64, SeqCst);
        for note in notes {
            let place = log.place(&note)?;
            let Note { sender, number, .. } = note;
            if number < next[sender] {
                return Err(format!("message {number} of {sender} came after {}", next[sender]));
            }
            next[sender] = number + 1;
            if log.messages.byte(place).fetch_add(1, SeqCst) > 0 {
                return Err(format!("message {number} of {sender} came twice"));
            }
            taken.fetch_sub(1, SeqCst);
        }
    }
    taken.store(0, SeqCst);
    Ok(())
}

/// The soak of what is received at once.
pub(crate) fn plain(time: Duration) {
    let (sender, receiver) = queue::with_options::<Note>(Options::new(300).bytes(1 << 20)).unwrap();
    let log = Log::new(time, RATE, 1);
    let start = |place: usize, context: &kinfolk::Context, seed: u64| {
        let log = log.try_clone();
        if place < SIDE {
            context.spawn(receive, (receiver.try_clone().unwrap(), log, place, seed)).unwrap()
        } else {
            context.spawn(send, (sender.try_clone().unwrap(), log, place - SIDE, seed)).unwrap()
        }
    };
    let mut crew = Crew::start(2 * SIDE, |place, context| start(place, context, place as u64));
    let mut unsure = vec![Vec::new(); SIDE];
    let (mut bound, mut seed) = (0, 1000);
    let killed = |place: usize, context: &kinfolk::Context| {
        if place < SIDE {
            bound += log.counts.at(Log::TAKEN + place).swap(0, SeqCst);
        } else {
            unsure[place - SIDE].push(log.close_sender(place - SIDE));
        }
        seed += 1;
        start(place, context, seed)
    };
    crew.kill_for(time, |_| (), killed);
    log.counts.at(Log::STOP).store(1, SeqCst);
    crew.dismiss(SIDE);
    drop(sender);
    crew.dismiss(0);
    let sent = log.sent(&unsure);
    let missing = sent.iter().filter(|place| log.messages.byte(**place).load(SeqCst) == 0).count();
    eprintln!(
        "queue: {} messages, {} kills, {missing} missing of at most {bound} in killed calls",
        sent.len(),
        crew.kills
    );
    assert!(missing as u64 <= bound);
    assert!(receiver.is_empty());
    assert!(sent.len() > 1000 && crew.kills > 10);
}

/// Receives on lease until no sender is left, and holds some for a while.
fn hold((from, log, me, seed): (Receiver<Note>, Log, u32, u64)) -> Verdict {
    let mut numbers = numbers(seed);
    let mut held = VecDeque::new();
    loop {
        // With some in hand it must not wait: they could be the last ones.
        let received = if held.is_empty() {
            from.recv_leased().map(Some)
        } else {
            from.recv_leased_timeout(Duration::ZERO)
        };
        match received {
            Ok(Some(lease)) => {
                log.note_lease(&lease, me)?;
                held.push_back(lease);
            }
            Ok(None) => {}
            Err(error) if error.is_disconnected() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        if held.len() as u64 > numbers.below(8) || from.is_empty() {
            let Some(lease) = held.pop_front() else { continue };
            let record = log.messages.half(log.place(&lease)?);
            if numbers.below(20) == 0 {
                // It goes back.
                record.store(0, SeqCst);
                continue;
            }
            record.store(me | SETTLING, SeqCst);
            lease.done();
            record.store(me | DONE, SeqCst);
        }
    }
}

/// The soak of what is received on lease.
pub(crate) fn on_lease(time: Duration) {
    let (sender, receiver) = queue::with_options::<Note>(Options::new(300).bytes(1 << 20)).unwrap();
    let log = Log::new(time, RATE / 5, 4);
    let holders = std::cell::RefCell::new([0; SIDE]);
    let next = std::cell::Cell::new(0_u32);
    let start = |place: usize, context: &kinfolk::Context| {
        let log = log.try_clone();
        next.set(next.get() + 1);
        let seed = next.get().into();
        if place < SIDE {
            holders.borrow_mut()[place] = next.get();
            let there = receiver.try_clone().unwrap();
            context.spawn(hold, (there, log, next.get(), seed)).unwrap()
        } else {
            context.spawn(send, (sender.try_clone().unwrap(), log, place - SIDE, seed)).unwrap()
        }
    };
    let mut crew = Crew::start(2 * SIDE, start);
    let mut unsure = vec![Vec::new(); SIDE];
    let doomed = |place: usize| {
        if place < SIDE {
            log.dead.byte(holders.borrow()[place] as usize).store(1, SeqCst);
        }
    };
    let killed = |place: usize, context: &kinfolk::Context| {
        if place >= SIDE {
            unsure[place - SIDE].push(log.close_sender(place - SIDE));
        }
        start(place, context)
    };
    crew.kill_for(time, doomed, killed);
    log.counts.at(Log::STOP).store(1, SeqCst);
    crew.dismiss(SIDE);
    sender.join();
    drop(sender);
    crew.dismiss(0);
    let sent = log.sent(&unsure);
    let is_lost = |place: &&usize| log.messages.half(**place).load(SeqCst) & DONE <= HELD;
    let missing = sent.iter().filter(is_lost).count();
    eprintln!(
        "lease: {} messages, {} kills, {missing} missing, {} received again",
        sent.len(),
        crew.kills,
        log.counts.at(Log::AGAIN).load(SeqCst)
    );
    assert_eq!(missing, 0);
    assert!(receiver.is_empty());
    assert!(sent.len() > 1000 && crew.kills > 10);
}
