//! Messages of bytes one way. The clock stops when the receiver has said that it
//! has them all. No process is pinned.

use std::hint::black_box;
use std::os::fd::{AsFd as _, BorrowedFd};

use ipc_channel::ipc::{self, IpcBytesReceiver, IpcSender};
use kinfolk::{Connection, Process, pipe};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::bench::{Batch, Bench, Case, FLOOR, IPC_CHANNEL, KINFOLK, NANOSECONDS, Result, whole};
use crate::ipc::{Offer, fetch};
use crate::raw;
use crate::stage::PeerProcess;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    // The last is over every socket's limit.
    cases: &[
        Case::of_size(8),
        Case::of_size(1 << 10),
        Case::of_size(1 << 16),
        Case::of_size(1 << 20),
        Case::of_size(1 << 24),
    ],
    contenders: &[(FLOOR, floor), (KINFOLK, kinfolk), (IPC_CHANNEL, ipc_channel)],
    peers: &[(FLOOR, floor_peer), (IPC_CHANNEL, ipc_channel_peer)],
};

/// Its name.
const NAME: &str = "pipe-throughput";

/// How many messages of a size a batch has.
fn times(size: u64) -> u32 {
    match size {
        0..=0x1000 => 200_000,
        0x1001..=0x2_0000 => 10_000,
        0x2_0001..=0x80_0000 => 500,
        _ => 20,
    }
}

/// A message of a size.
fn message(size: u64) -> Result<Vec<u8>> {
    Ok(vec![7; usize::try_from(size)?])
}

/// A batch of `send`, and of `acknowledged` at its end.
fn batch(
    size: u64,
    mut send: impl FnMut(&[u8]) -> Result<()> + 'static,
    mut acknowledged: impl FnMut() -> Result<()> + 'static,
) -> Result<Batch> {
    let message = message(size)?;
    let times = times(size);
    whole(times, move || {
        (0..times).try_for_each(|_| send(&message))?;
        acknowledged()
    })
}

/// Receives batches until `receive` returns `None`, each with `acknowledge` at its end.
fn receive_batches(
    size: u64,
    mut receive: impl FnMut() -> Result<Option<usize>>,
    mut acknowledge: impl FnMut() -> Result<()>,
) -> Result<()> {
    loop {
        for _ in 0..times(size) {
            match receive()? {
                None => return Ok(()),
                Some(length) if length as u64 == size => {}
                Some(_) => return Err("a message of another size".into()),
            }
        }
        acknowledge()?;
    }
}

/// Raw packets, or where the socket does not admit them, memory passed by hand.
fn floor(case: Case) -> Result<Batch> {
    let size = case.size;
    let (here, there) = raw::seqpacket()?;
    let inside = raw::admits(usize::try_from(size)?)?;
    let way = if inside { INSIDE } else { BESIDE };
    let peer = PeerProcess::start(NAME, FLOOR, size, way, Some(there))?;
    let answers = here.try_clone()?;
    batch(
        size,
        move |message| {
            if inside {
                send(&here, message, SendFlags::NOSIGNAL)?;
                Ok(())
            } else {
                raw::send_memory(here.as_fd(), message)
            }
        },
        move || {
            let _peer = &peer;
            match recv(&answers, &mut [0; 1], RecvFlags::empty())?.0 {
                0 => Err("the peer has ended".into()),
                _ => Ok(()),
            }
        },
    )
}

/// The way of messages that the socket admits.
const INSIDE: &str = "inside";
/// The way of those that it does not.
const BESIDE: &str = "beside";

/// Its other side.
fn floor_peer(size: u64, way: &str) -> Result<()> {
    let stdin = std::io::stdin();
    let socket = stdin.as_fd();
    let acknowledge = || Ok(send(socket, &[1], SendFlags::NOSIGNAL).map(drop)?);
    if way == BESIDE {
        let receive = || Ok(raw::recv_memory(socket)?.map(|content| black_box(content).len()));
        return receive_batches(size, receive, acknowledge);
    }
    let mut buffer = message(size)?;
    receive_batches(size, || recv_packet(socket, &mut buffer), acknowledge)
}

/// Receives a packet; `None` at the end.
fn recv_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<usize>> {
    let (length, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
    black_box(buffer);
    Ok((length > 0).then_some(length))
}

/// A pipe.
fn kinfolk(case: Case) -> Result<Batch> {
    let size = case.size;
    let (here, there) = pipe::<(), u64>()?;
    Process::spawn(kinfolk_peer, (there, size))?;
    let here = std::rc::Rc::new(here);
    let answers = here.clone();
    batch(
        size,
        move |message| Ok(here.send_bytes(message)?),
        move || {
            answers.recv()?;
            Ok(())
        },
    )
}

/// Its other side.
fn kinfolk_peer((there, size): (Connection<u64, ()>, u64)) {
    // The end of the other side ends this one.
    let receive = || Ok(there.recv_bytes().ok().map(|bytes| black_box(bytes).len()));
    let _ = receive_batches(size, receive, || Ok(there.send(&size)?));
}

/// What the other side of the channels is given.
type Ends = (IpcBytesReceiver, IpcSender<u64>);

/// A channel of bytes, and one for answers.
fn ipc_channel(case: Case) -> Result<Batch> {
    let size = case.size;
    let (offer, name) = Offer::<Ends>::open()?;
    let peer = PeerProcess::start(NAME, IPC_CHANNEL, size, &name, None)?;
    let (sender, theirs) = ipc::bytes_channel()?;
    let (answers, receiver) = ipc::channel()?;
    offer.give((theirs, answers))?;
    batch(
        size,
        move |message| Ok(sender.send(message)?),
        move || {
            let _peer = &peer;
            receiver.recv()?;
            Ok(())
        },
    )
}

/// Their other side.
fn ipc_channel_peer(size: u64, name: &str) -> Result<()> {
    let (receiver, sender) = fetch::<Ends>(name.to_owned())?;
    // The end of the other side ends this one.
    let receive = || Ok(receiver.recv().ok().map(|bytes| black_box(bytes).len()));
    receive_batches(size, receive, || Ok(sender.send(size)?))
}
