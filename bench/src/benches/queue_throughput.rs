//! Messages through a queue, from processes to processes. The clock runs from
//! when all are told to go until all have done their share. No process is pinned.
//!
//! At 8 bytes the messages are numbers with bits up to the highest: kinfolk is a
//! `Sender<u64>` and its `Receiver`, by `send` and `recv`. Larger ones are bytes:
//! kinfolk sends them by `send_bytes`, and receives those of 1 KiB by `recv_bytes`,
//! larger ones by `recv_view`, copying them to a buffer that it keeps. ipc-channel
//! and crossbeam-channel receive a new vector each, which crossbeam-channel is
//! given as one; cloudtoid-interprocess and the floors copy to a buffer that they
//! keep. ipc-channel's receivers cannot be shared: with two, each has a channel of
//! its own, and senders use them in turn.

use std::hint::black_box;

use crossbeam_channel as crossbeam;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};
use kinfolk::queue::{self, Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::bench::{
    Batch, Bench, CLOUDTOID, CROSSBEAM, Case, FLOOR, IPC_CHANNEL, KINFOLK, NANOSECONDS, Result,
    repeat, whole,
};
use crate::crew::{Crew, Gate, Work, said};
use crate::ipc::{Cloudtoid, Offer, fetch, publish, subscribe};
use crate::rings::{Bytes, End, NUMBERS, Numbers};
use crate::shared::InMemory;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: "queue-throughput",
    unit: NANOSECONDS,
    cases: &[
        Case::of_queue(NUMBER, 1, 1),
        Case::of_queue(NUMBER, 2, 2),
        Case::of_queue(1 << 10, 1, 1),
        Case::of_queue(1 << 16, 1, 1),
        Case::of_queue(MIB, 1, 1),
    ],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (CROSSBEAM, crossbeam_channel),
        (IPC_CHANNEL, ipc_channel),
        (CLOUDTOID, cloudtoid),
    ],
    peers: &[],
};

/// The size of a number.
const NUMBER: u64 = 8;
/// The size at which the floor is a copy.
const MIB: u64 = 1 << 20;

/// How many messages of a size a batch has.
fn times(size: u64) -> u32 {
    match size {
        0..=8 => 1_000_000,
        9..=0x1000 => 200_000,
        0x1001..=0x2_0000 => 20_000,
        _ => 1000,
    }
}

/// How many messages of a size a queue has room for, about: a megabyte or a few.
fn capacity(size: u64) -> usize {
    match size {
        0..=0x1000 => NUMBERS as usize,
        0x1001..=0x2_0000 => 64,
        _ => 8,
    }
}

/// What a worker does in a batch.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Share {
    /// How many messages.
    messages: u32,
    /// Of which size.
    size: usize,
}

impl Share {
    /// Of each of so many workers.
    fn of(case: Case, workers: u32) -> Result<Self> {
        Ok(Self { messages: times(case.size) / workers, size: case.length()? })
    }

    /// Sends a share of numbers in each batch.
    fn send_numbers(self, gate: &Gate, mut send: impl FnMut(u64) -> Result<()>) {
        // Spread over all bits, as no encoding likes it.
        let number = |n: u32| (u64::from(n) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 << 63;
        gate.batches(|| (0..self.messages).try_for_each(|n| send(number(n))));
    }

    /// Receives a share of numbers in each batch.
    fn receive_numbers(self, gate: &Gate, mut receive: impl FnMut() -> Result<u64>) {
        gate.batches(|| {
            (0..self.messages).try_for_each(|_| match black_box(receive()?) >> 63 {
                1 => Ok(()),
                _ => Err("another number".into()),
            })
        });
    }

    /// Sends a share of messages in each batch.
    fn send_bytes(self, gate: &Gate, mut send: impl FnMut(&[u8]) -> Result<()>) {
        let message = vec![7; self.size];
        gate.batches(|| (0..self.messages).try_for_each(|_| send(black_box(&message))));
    }

    /// Receives a share of messages in each batch, each into the buffer or as new
    /// bytes, whose number `receive` returns.
    fn receive_bytes(self, gate: &Gate, mut receive: impl FnMut(&mut [u8]) -> Result<usize>) {
        let mut buffer = vec![0; self.size];
        gate.batches(|| {
            (0..self.messages).try_for_each(|_| {
                let length = receive(&mut buffer)?;
                black_box(&buffer);
                if length == self.size { Ok(()) } else { Err("a message of another size".into()) }
            })
        });
    }
}

/// A batch of a crew.
fn batch(case: Case, crew: Crew) -> Result<Batch> {
    whole(times(case.size), move || crew.run())
}

/// At 8 bytes Vyukov's ring, at 1 MiB a copy into shared memory, else a ring of
/// bytes; between one and one only, but the first.
fn floor(case: Case) -> Result<Batch> {
    if case.size == MIB {
        return floor_copy(case);
    }
    let mut crew = Crew::default();
    if case.size == NUMBER {
        let ring = InMemory::<Numbers>::new()?;
        for _ in 0..case.producers() {
            let share = Share::of(case, case.producers())?;
            crew.add(floor_number_sender, (ring.try_clone()?, share))?;
        }
        for _ in 0..case.consumers() {
            let share = Share::of(case, case.consumers())?;
            crew.add(floor_number_receiver, (ring.try_clone()?, share))?;
        }
        return batch(case, crew);
    }
    let ring = InMemory::<Bytes>::new()?;
    let share = Share::of(case, 1)?;
    crew.add(floor_sender, (ring.try_clone()?, share))?;
    crew.add(floor_receiver, (ring, share))?;
    batch(case, crew)
}

/// A copy into each part of shared memory in turn.
fn floor_copy(case: Case) -> Result<Batch> {
    let size = case.length()?;
    let mut memory = kinfolk::SharedMemory::new(capacity(case.size) * size)?;
    let message = vec![7; size];
    let mut next = 0;
    repeat(times(case.size), move || {
        // SAFETY: nobody else has the memory.
        let memory = unsafe { memory.as_mut_slice() };
        memory[next..next + size].copy_from_slice(black_box(&message));
        next = (next + size) % black_box(memory).len();
        Ok(())
    })
}

/// Sends numbers through Vyukov's ring.
fn floor_number_sender((gate, (ring, share)): (Gate, (InMemory<Numbers>, Share))) {
    share.send_numbers(&gate, |number| {
        ring.send(number);
        Ok(())
    });
}

/// Receives them.
fn floor_number_receiver((gate, (ring, share)): (Gate, (InMemory<Numbers>, Share))) {
    share.receive_numbers(&gate, || Ok(ring.receive()));
}

/// How much of a ring of bytes is used.
fn ring_size(share: Share) -> usize {
    capacity(share.size as u64) * share.size
}

/// Sends through a ring of bytes.
fn floor_sender((gate, (ring, share)): (Gate, (InMemory<Bytes>, Share))) {
    let mut end = End::new(ring, ring_size(share));
    share.send_bytes(&gate, |message| {
        end.send(message);
        Ok(())
    });
}

/// Receives from it.
fn floor_receiver((gate, (ring, share)): (Gate, (InMemory<Bytes>, Share))) {
    let mut end = End::new(ring, ring_size(share));
    share.receive_bytes(&gate, |buffer| Ok(end.receive(buffer)));
}

/// A queue.
fn kinfolk(case: Case) -> Result<Batch> {
    if case.size == NUMBER {
        kinfolk_crew::<u64>(case, send_numbers, receive_numbers)
    } else {
        kinfolk_crew::<()>(case, send_bytes, receive_bytes)
    }
}

/// A queue and those who use it.
fn kinfolk_crew<T: 'static>(
    case: Case,
    send: Work<(Sender<T>, Share)>,
    receive: Work<(Receiver<T>, Share)>,
) -> Result<Batch> {
    let (sender, receiver) = queue::bounded::<T>(capacity(case.size))?;
    let mut crew = Crew::default();
    for _ in 0..case.producers() {
        crew.add(send, (sender.try_clone()?, Share::of(case, case.producers())?))?;
    }
    for _ in 0..case.consumers() {
        crew.add(receive, (receiver.try_clone()?, Share::of(case, case.consumers())?))?;
    }
    batch(case, crew)
}

/// Sends numbers.
fn send_numbers((gate, (sender, share)): (Gate, (Sender<u64>, Share))) {
    share.send_numbers(&gate, |number| Ok(sender.send(&number)?));
}

/// Receives numbers.
fn receive_numbers((gate, (receiver, share)): (Gate, (Receiver<u64>, Share))) {
    share.receive_numbers(&gate, || Ok(receiver.recv()?));
}

/// Sends bytes.
fn send_bytes((gate, (sender, share)): (Gate, (Sender<()>, Share))) {
    share.send_bytes(&gate, |message| Ok(sender.send_bytes(message)?));
}

/// The longest message that a receiver takes as a vector.
const VECTOR: usize = 1 << 10;

/// Receives bytes.
fn receive_bytes((gate, (receiver, share)): (Gate, (Receiver<()>, Share))) {
    if share.size <= VECTOR {
        share.receive_bytes(&gate, |_| Ok(black_box(receiver.recv_bytes()?).len()));
    } else {
        share.receive_bytes(&gate, |buffer| {
            Ok(receiver.recv_view()?.copy_to(buffer).ok_or("a longer message")?)
        });
    }
}

/// A channel between threads.
fn crossbeam_channel(case: Case) -> Result<Batch> {
    let mut crew = Crew::default();
    let capacity = capacity(case.size);
    let (to_send, to_receive) =
        (Share::of(case, case.producers())?, Share::of(case, case.consumers())?);
    if case.size == NUMBER {
        let (sender, receiver) = crossbeam::bounded::<u64>(capacity);
        for _ in 0..case.producers() {
            let sender = sender.clone();
            crew.add_thread(move |gate| {
                to_send.send_numbers(&gate, |number| Ok(sender.send(number)?));
            })?;
        }
        for _ in 0..case.consumers() {
            let receiver = receiver.clone();
            crew.add_thread(move |gate| {
                to_receive.receive_numbers(&gate, || Ok(receiver.recv()?));
            })?;
        }
        return batch(case, crew);
    }
    let (sender, receiver) = crossbeam::bounded::<Vec<u8>>(capacity);
    crew.add_thread(move |gate| {
        to_send.send_bytes(&gate, |message| Ok(sender.send(message.to_vec())?));
    })?;
    crew.add_thread(move |gate| {
        to_receive.receive_bytes(&gate, |_| Ok(black_box(receiver.recv()?).len()));
    })?;
    batch(case, crew)
}

/// A channel for each receiver, of numbers or of bytes.
fn ipc_channel(case: Case) -> Result<Batch> {
    if case.size == NUMBER {
        ipc_channel_crew(case, ipc::channel::<u64>, ipc_number_sender, ipc_number_receiver)
    } else {
        ipc_channel_crew(case, ipc::bytes_channel, ipc_sender, ipc_receiver)
    }
}

/// Channels and those who use them.
fn ipc_channel_crew<S, R>(
    case: Case,
    channel: fn() -> std::io::Result<(S, R)>,
    send: Work<(String, Share)>,
    receive: Work<(String, Share)>,
) -> Result<Batch>
where
    S: Clone + Serialize + for<'de> Deserialize<'de>,
    R: Serialize + for<'de> Deserialize<'de>,
{
    let mut crew = Crew::default();
    let mut senders = Vec::new();
    for _ in 0..case.consumers() {
        let (sender, receiver) = channel()?;
        senders.push(sender);
        let (offer, name) = Offer::open()?;
        crew.add(receive, (name, Share::of(case, case.consumers())?))?;
        offer.give(receiver)?;
    }
    for _ in 0..case.producers() {
        let (offer, name) = Offer::open()?;
        crew.add(send, (name, Share::of(case, case.producers())?))?;
        offer.give(senders.clone())?;
    }
    batch(case, crew)
}

/// Sends numbers to each in turn.
fn ipc_number_sender((gate, (name, share)): (Gate, (String, Share))) {
    let Some(senders) = said(fetch::<Vec<IpcSender<u64>>>(name)) else { return };
    let mut turns = senders.iter().cycle();
    share.send_numbers(&gate, |number| Ok(turns.next().ok_or("no channel")?.send(number)?));
}

/// Receives numbers.
fn ipc_number_receiver((gate, (name, share)): (Gate, (String, Share))) {
    let Some(receiver) = said(fetch::<IpcReceiver<u64>>(name)) else { return };
    share.receive_numbers(&gate, || Ok(receiver.recv()?));
}

/// Sends bytes to each in turn.
fn ipc_sender((gate, (name, share)): (Gate, (String, Share))) {
    let Some(senders) = said(fetch::<Vec<IpcBytesSender>>(name)) else { return };
    let mut turns = senders.iter().cycle();
    share.send_bytes(&gate, |message| Ok(turns.next().ok_or("no channel")?.send(message)?));
}

/// Receives bytes.
fn ipc_receiver((gate, (name, share)): (Gate, (String, Share))) {
    let Some(receiver) = said(fetch::<IpcBytesReceiver>(name)) else { return };
    share.receive_bytes(&gate, |_| Ok(black_box(receiver.recv()?).len()));
}

/// A queue of bytes, also of numbers.
fn cloudtoid(case: Case) -> Result<Batch> {
    let queue = Cloudtoid::new(capacity(case.size), case.length()?);
    let end = queue.publisher()?;
    let mut crew = Crew::default();
    for _ in 0..case.producers() {
        crew.add(cloudtoid_sender, (queue.clone(), Share::of(case, case.producers())?))?;
    }
    for _ in 0..case.consumers() {
        crew.add(cloudtoid_receiver, (queue.clone(), Share::of(case, case.consumers())?))?;
    }
    whole(times(case.size), move || {
        let _end = &end;
        crew.run()
    })
}

/// Sends through it.
fn cloudtoid_sender((gate, (queue, share)): (Gate, (Cloudtoid, Share))) {
    let Some(publisher) = said(queue.publisher()) else { return };
    if share.size as u64 == NUMBER {
        share.send_numbers(&gate, |number| publish(&publisher, &number.to_le_bytes()));
    } else {
        share.send_bytes(&gate, |message| publish(&publisher, message));
    }
}

/// Receives from it.
fn cloudtoid_receiver((gate, (queue, share)): (Gate, (Cloudtoid, Share))) {
    let Some(subscriber) = said(queue.subscriber()) else { return };
    if share.size as u64 == NUMBER {
        share.receive_numbers(&gate, || {
            let mut number = [0; 8];
            subscribe(&subscriber, &mut number)?;
            Ok(u64::from_le_bytes(number))
        });
    } else {
        share.receive_bytes(&gate, |buffer| {
            subscribe(&subscriber, buffer)?;
            Ok(buffer.len())
        });
    }
}
