//! A typed value of 8 bytes to another process and back. No process is pinned.

use std::os::fd::AsFd as _;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use kinfolk::{Connection, Process, pipe};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::bench::{Batch, Bench, Case, FLOOR, IPC_CHANNEL, KINFOLK, NANOSECONDS, Result, repeat};
use crate::ipc::{Offer, fetch};
use crate::raw;
use crate::stage::PeerProcess;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(8)],
    contenders: &[(FLOOR, floor), (KINFOLK, kinfolk), (IPC_CHANNEL, ipc_channel)],
    peers: &[(FLOOR, floor_peer), (IPC_CHANNEL, ipc_channel_peer)],
};

/// Its name.
const NAME: &str = "pipe-rtt";

/// How many round trips a batch has.
const TIMES: u32 = 10_000;

/// A batch of round trips by `there_and_back`, whose peer adds 1.
fn batch(mut there_and_back: impl FnMut(u64) -> Result<u64> + 'static) -> Result<Batch> {
    let mut n = 0;
    repeat(TIMES, move || {
        let answer = there_and_back(n)?;
        if answer != n + 1 {
            return Err("a wrong answer".into());
        }
        n = answer;
        Ok(())
    })
}

/// Raw packets.
fn floor(case: Case) -> Result<Batch> {
    let size = case.size;
    let (here, there) = raw::seqpacket()?;
    let peer = PeerProcess::start(NAME, FLOOR, size, "", Some(there))?;
    batch(move |n| {
        let _peer = &peer;
        send(&here, &n.to_le_bytes(), SendFlags::NOSIGNAL)?;
        let mut buffer = [0; 8];
        recv(&here, &mut buffer, RecvFlags::empty())?;
        Ok(u64::from_le_bytes(buffer))
    })
}

/// Its other side.
fn floor_peer(_size: u64, _word: &str) -> Result<()> {
    let stdin = std::io::stdin();
    let socket = stdin.as_fd();
    let mut buffer = [0; 8];
    while recv(socket, &mut buffer, RecvFlags::empty())?.0 > 0 {
        let answer = u64::from_le_bytes(buffer) + 1;
        send(socket, &answer.to_le_bytes(), SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// A pipe.
fn kinfolk(_case: Case) -> Result<Batch> {
    let (here, there) = pipe()?;
    Process::spawn(kinfolk_peer, there)?;
    batch(move |n| {
        here.send(&n)?;
        Ok(here.recv()?)
    })
}

/// Its other side: ends when this one is gone.
fn kinfolk_peer(there: Connection<u64, u64>) {
    while let Ok(n) = there.recv() {
        if there.send(&(n + 1)).is_err() {
            break;
        }
    }
}

/// What the other side of two channels is given.
type Ends = (IpcReceiver<u64>, IpcSender<u64>);

/// Two channels.
fn ipc_channel(case: Case) -> Result<Batch> {
    let size = case.size;
    let (offer, name) = Offer::<Ends>::open()?;
    let peer = PeerProcess::start(NAME, IPC_CHANNEL, size, &name, None)?;
    let (sender, theirs) = ipc::channel()?;
    let (answers, receiver) = ipc::channel()?;
    offer.give((theirs, answers))?;
    batch(move |n| {
        let _peer = &peer;
        sender.send(n)?;
        Ok(receiver.recv()?)
    })
}

/// Their other side.
fn ipc_channel_peer(_size: u64, name: &str) -> Result<()> {
    let (receiver, sender) = fetch::<Ends>(name.to_owned())?;
    while let Ok(n) = receiver.recv() {
        sender.send(n + 1)?;
    }
    Ok(())
}
