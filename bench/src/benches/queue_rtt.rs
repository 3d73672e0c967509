//! A number to another process and back, through two queues: to a peer that is
//! looking for it, and to one that has been asleep. No process is pinned.
//!
//! kinfolk is two queues of `u64`, by `send` and `recv`. The floors are words in
//! shared memory, which one looks at or sleeps on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cloudtoid_interprocess::{Publisher, Subscriber};
use crossbeam_channel as crossbeam;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use kinfolk::queue::{self, Receiver, Sender};

use crate::bench::{
    Batch, Bench, CLOUDTOID, CROSSBEAM, Case, FLOOR, IPC_CHANNEL, KINFOLK, NANOSECONDS, Result,
};
use crate::crew::{Crew, Gate, said};
use crate::ipc::{Cloudtoid, Offer, fetch, publish, subscribe};
use crate::shared::{InMemory, Line, futex_wait, futex_wake, spin};

/// The bench of a peer that is looking.
pub(super) const ACTIVE: Bench = Bench {
    name: "queue-rtt",
    unit: NANOSECONDS,
    cases: &[Case::of_size(8)],
    contenders: &[
        (FLOOR, |_| floor(Pace::ACTIVE)),
        (KINFOLK, |_| kinfolk(Pace::ACTIVE)),
        (CROSSBEAM, |_| crossbeam_channel(Pace::ACTIVE)),
        (IPC_CHANNEL, |_| ipc_channel(Pace::ACTIVE)),
        (CLOUDTOID, |_| cloudtoid(Pace::ACTIVE)),
    ],
    peers: &[],
};

/// The bench of a peer that has been asleep.
pub(super) const PARKED: Bench = Bench {
    name: "queue-rtt-parked",
    unit: NANOSECONDS,
    cases: &[Case::of_size(8)],
    contenders: &[
        (FLOOR, |_| floor(Pace::PARKED)),
        (KINFOLK, |_| kinfolk(Pace::PARKED)),
        (CROSSBEAM, |_| crossbeam_channel(Pace::PARKED)),
        (IPC_CHANNEL, |_| ipc_channel(Pace::PARKED)),
        (CLOUDTOID, |_| cloudtoid(Pace::PARKED)),
    ],
    peers: &[],
};

/// How fast round trips follow each other.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many a batch has.
    times: u32,
    /// How long before each nothing happens: enough for the peer to sleep.
    pause: Option<Duration>,
}

impl Pace {
    /// One after the other.
    const ACTIVE: Self = Self { times: 50_000, pause: None };
    /// With pauses.
    const PARKED: Self = Self { times: 200, pause: Some(Duration::from_millis(2)) };
}

/// One side of two channels, or of what they are measured beside.
trait Link {
    /// Sends a number.
    fn send(&mut self, number: u64) -> Result<()>;
    /// Waits for a number.
    fn receive(&mut self) -> Result<u64>;
}

/// A batch of round trips, of which each is measured without the pause before it.
fn batch(crew: Crew, pace: Pace, mut link: impl Link + 'static) -> Result<Batch> {
    let mut there_and_back = move |number| -> Result<()> {
        link.send(number)?;
        if link.receive()? == number + 1 { Ok(()) } else { Err("a wrong answer".into()) }
    };
    let mut all = move || -> Result<Duration> {
        let mut numbers = 0..u64::from(pace.times);
        let Some(pause) = pace.pause else {
            let begin = Instant::now();
            numbers.try_for_each(&mut there_and_back)?;
            return Ok(begin.elapsed());
        };
        numbers
            .map(|number| {
                std::thread::sleep(pause);
                let begin = Instant::now();
                there_and_back(number)?;
                Ok(begin.elapsed())
            })
            .sum()
    };
    Ok(Box::new(move || Ok(crew.run_beside(&mut all)?.as_nanos() as f64 / f64::from(pace.times))))
}

/// Answers all numbers of each batch.
fn answer(gate: &Gate, times: u32, mut link: impl Link) {
    gate.batches(|| {
        (0..times).try_for_each(|_| {
            let number = link.receive()?;
            link.send(number + 1)
        })
    });
}

/// The words of a floor, one for each direction: the last number, and 1.
type Words = InMemory<[Line<AtomicU32>; 2]>;

/// One side of two words.
struct WordLink {
    /// The words.
    words: Words,
    /// Which of them this side changes.
    mine: usize,
    /// What the other one was, as far as this side knows.
    seen: u32,
    /// Whether both sides sleep, and not only look.
    sleep: bool,
}

impl WordLink {
    /// The side that changes one of the words.
    fn new(words: Words, mine: usize, sleep: bool) -> Self {
        Self { words, mine, seen: 0, sleep }
    }
}

impl Link for WordLink {
    #[inline]
    fn send(&mut self, number: u64) -> Result<()> {
        let word = &self.words[self.mine].0;
        word.store(u32::try_from(number + 1)?, Ordering::Release);
        if self.sleep {
            futex_wake(word);
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<u64> {
        let word = &self.words[1 - self.mine].0;
        let changed = || Some(word.load(Ordering::Acquire)).filter(|now| *now != self.seen);
        self.seen = if self.sleep {
            loop {
                match changed() {
                    Some(now) => break now,
                    None => futex_wait(word, self.seen),
                }
            }
        } else {
            spin(changed)
        };
        Ok(u64::from(self.seen - 1))
    }
}

/// Words that both look at, or sleep on.
fn floor(pace: Pace) -> Result<Batch> {
    let words = Words::new()?;
    let sleep = pace.pause.is_some();
    let mut crew = Crew::default();
    crew.add(floor_peer, (words.try_clone()?, sleep, pace.times))?;
    batch(crew, pace, WordLink::new(words, 0, sleep))
}

/// The other side.
fn floor_peer((gate, (words, sleep, times)): (Gate, (Words, bool, u32))) {
    answer(&gate, times, WordLink::new(words, 1, sleep));
}

impl Link for (Sender<u64>, Receiver<u64>) {
    fn send(&mut self, number: u64) -> Result<()> {
        Ok(self.0.send(&number)?)
    }

    fn receive(&mut self) -> Result<u64> {
        Ok(self.1.recv()?)
    }
}

/// The capacity of the queues.
const CAPACITY: usize = 16;

/// Two queues.
fn kinfolk(pace: Pace) -> Result<Batch> {
    let (sender, questions) = queue::bounded(CAPACITY)?;
    let (answers, receiver) = queue::bounded(CAPACITY)?;
    let mut crew = Crew::default();
    crew.add(kinfolk_peer, (questions, answers, pace.times))?;
    batch(crew, pace, (sender, receiver))
}

/// The other side.
fn kinfolk_peer((gate, (questions, answers, times)): (Gate, (Receiver<u64>, Sender<u64>, u32))) {
    answer(&gate, times, (answers, questions));
}

impl Link for (crossbeam::Sender<u64>, crossbeam::Receiver<u64>) {
    fn send(&mut self, number: u64) -> Result<()> {
        Ok(self.0.send(number)?)
    }

    fn receive(&mut self) -> Result<u64> {
        Ok(self.1.recv()?)
    }
}

/// Two channels between threads.
fn crossbeam_channel(pace: Pace) -> Result<Batch> {
    let (sender, questions) = crossbeam::bounded(CAPACITY);
    let (answers, receiver) = crossbeam::bounded(CAPACITY);
    let mut crew = Crew::default();
    crew.add_thread(move |gate| answer(&gate, pace.times, (answers, questions)))?;
    batch(crew, pace, (sender, receiver))
}

impl Link for (IpcSender<u64>, IpcReceiver<u64>) {
    fn send(&mut self, number: u64) -> Result<()> {
        Ok(self.0.send(number)?)
    }

    fn receive(&mut self) -> Result<u64> {
        Ok(self.1.recv()?)
    }
}

/// Two channels.
fn ipc_channel(pace: Pace) -> Result<Batch> {
    let (sender, questions) = ipc::channel::<u64>()?;
    let (answers, receiver) = ipc::channel::<u64>()?;
    let (offer, name) = Offer::open()?;
    let mut crew = Crew::default();
    crew.add(ipc_peer, (name, pace.times))?;
    offer.give((answers, questions))?;
    batch(crew, pace, (sender, receiver))
}

/// The other side.
fn ipc_peer((gate, (name, times)): (Gate, (String, u32))) {
    let link = said(fetch::<(IpcSender<u64>, IpcReceiver<u64>)>(name));
    if let Some(link) = link {
        answer(&gate, times, link);
    }
}

impl Link for (Publisher, Subscriber) {
    fn send(&mut self, number: u64) -> Result<()> {
        publish(&self.0, &number.to_le_bytes())
    }

    fn receive(&mut self) -> Result<u64> {
        let mut number = [0; 8];
        subscribe(&self.1, &mut number)?;
        Ok(u64::from_le_bytes(number))
    }
}

/// Two queues of bytes.
fn cloudtoid(pace: Pace) -> Result<Batch> {
    let [there, back] = [(); 2].map(|()| Cloudtoid::new(CAPACITY, 8));
    let link = (there.publisher()?, back.subscriber()?);
    let mut crew = Crew::default();
    crew.add(cloudtoid_peer, (there, back, pace.times))?;
    batch(crew, pace, link)
}

/// The other side.
fn cloudtoid_peer((gate, (there, back, times)): (Gate, (Cloudtoid, Cloudtoid, u32))) {
    let link = said(back.publisher()).zip(said(there.subscriber()));
    if let Some(link) = link {
        answer(&gate, times, link);
    }
}
