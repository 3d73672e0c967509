//! 100 MB of shared memory to another process, which maps them, reads the last
//! byte and answers. The memory was made before. No process is pinned.
//!
//! kinfolk sends a `SharedMemory`, ipc-channel an `IpcSharedMemory`.

use std::os::fd::AsFd as _;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender, IpcSharedMemory};
use kinfolk::{Connection, SharedMemory, pipe};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::bench::{Batch, Bench, Case, FLOOR, IPC_CHANNEL, KINFOLK, NANOSECONDS, Result, repeat};
use crate::crew::said;
use crate::ipc::{Offer, fetch};
use crate::raw;
use crate::stage::PeerProcess;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(100_000_000)],
    contenders: &[(FLOOR, floor), (KINFOLK, kinfolk), (IPC_CHANNEL, ipc_channel)],
    peers: &[(FLOOR, floor_peer)],
};

/// Its name.
const NAME: &str = "pipe-handover";

/// How often a batch hands the memory over.
const TIMES: u32 = 1000;

/// What the memory is full of.
const CONTENT: u8 = 7;

/// A batch of handovers by `there`, which gets what the peer has read.
fn batch(mut there: impl FnMut() -> Result<u8> + 'static) -> Result<Batch> {
    repeat(TIMES, move || if there()? == CONTENT { Ok(()) } else { Err("another byte".into()) })
}

/// The last byte of memory.
fn last(memory: &[u8]) -> u8 {
    memory.last().copied().unwrap_or_default()
}

/// A descriptor in a packet.
fn floor(case: Case) -> Result<Batch> {
    let size = case.length()?;
    let memory = raw::sealed(&vec![CONTENT; size])?;
    let (here, there) = raw::seqpacket()?;
    let peer = PeerProcess::start(NAME, FLOOR, case.size, "", Some(there))?;
    batch(move || {
        let _peer = &peer;
        raw::pass(here.as_fd(), memory.as_fd(), size)?;
        let mut byte = [0];
        recv(&here, &mut byte, RecvFlags::empty())?;
        Ok(byte[0])
    })
}

/// Its other side.
fn floor_peer(_size: u64, _word: &str) -> Result<()> {
    let stdin = std::io::stdin();
    let socket = stdin.as_fd();
    while let Some(byte) = raw::recv_mapped(socket, last)? {
        send(socket, &[byte], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Shared memory through a pipe.
fn kinfolk(case: Case) -> Result<Batch> {
    let mut memory = SharedMemory::new(case.length()?)?;
    // SAFETY: nobody else has the memory yet.
    unsafe { memory.as_mut_slice() }.fill(CONTENT);
    let (here, there) = pipe::<SharedMemory, u8>()?;
    kinfolk::Process::spawn(kinfolk_peer, there)?;
    batch(move || {
        here.send(&memory)?;
        Ok(here.recv()?)
    })
}

/// Its other side: ends when this one is gone.
fn kinfolk_peer(there: Connection<u8, SharedMemory>) {
    while let Ok(memory) = there.recv() {
        let mut byte = [0];
        let read = memory.read(memory.size() - 1, &mut byte);
        if read.and_then(|()| there.send(&byte[0])).is_err() {
            break;
        }
    }
}

/// What the other side of two channels is given.
type Ends = (IpcReceiver<IpcSharedMemory>, IpcSender<u8>);

/// Shared memory through a channel.
fn ipc_channel(case: Case) -> Result<Batch> {
    let memory = IpcSharedMemory::from_byte(CONTENT, case.length()?);
    let (sender, theirs) = ipc::channel()?;
    let (answers, receiver) = ipc::channel()?;
    let (offer, name) = Offer::open()?;
    kinfolk::Process::spawn(ipc_peer, name)?;
    offer.give((theirs, answers))?;
    batch(move || {
        sender.send(memory.clone())?;
        Ok(receiver.recv()?)
    })
}

/// Its other side: ends when this one is gone.
fn ipc_peer(name: String) {
    let Some((receiver, sender)) = said(fetch::<Ends>(name)) else { return };
    while let Ok(memory) = receiver.recv() {
        if sender.send(last(&memory)).is_err() {
            break;
        }
    }
}
