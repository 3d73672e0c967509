//! A client connects to a listener by a unix socket, both prove that they know the key,
//! and the connection ends. No process is pinned.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use kinfolk::{Client, ConnectionOptions, Listener, Process, pipe};

use crate::bench::{
    Batch, Bench, CPYTHON_CLIENT, Case, FLOOR, KINFOLK, NANOSECONDS, Result, repeat,
};
use crate::script;
use crate::stage::PeerProcess;

/// The bench. Its floor connects, and has as many messages as Python's handshake go to and
/// fro, of the same sizes.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (CPYTHON_CLIENT, |case| script::connection(NAME, case)),
    ],
    peers: &[(FLOOR, floor_peer)],
};

/// Its name.
const NAME: &str = "handshake";
/// How many clients a batch has.
const TIMES: u32 = 2_000;
/// The messages of each side, with their headers, in bytes.
const MESSAGES: [usize; 3] = [63, 44, 13];

/// Raw messages.
fn floor(case: Case) -> Result<Batch> {
    let path = SocketPath(std::env::temp_dir().join(format!("bench-{}", std::process::id())));
    let listener = UnixListener::bind(&path.0)?;
    let there = listener.as_fd().try_clone_to_owned()?;
    let peer = PeerProcess::start(NAME, FLOOR, case.size, "", Some(there))?;
    let mut stream = UnixStream::connect(&path.0)?;
    exchange(&mut stream)?;
    repeat(TIMES, move || {
        let _peer = &peer;
        exchange(&mut UnixStream::connect(&path.0)?)
    })
}

/// The path of a socket, removed with it.
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Its other side, for as long as there is this one.
fn floor_peer(_size: u64, _word: &str) -> Result<()> {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        let (mut stream, _) = listener.accept()?;
        for size in MESSAGES {
            stream.write_all(&[1; 64][..size])?;
            stream.read_exact(&mut [0; 64][..size])?;
        }
        // Until the other side ends it.
        let _ = stream.read(&mut [0]);
    }
}

/// Three round trips.
fn exchange(stream: &mut UnixStream) -> Result<()> {
    for size in MESSAGES {
        stream.read_exact(&mut [0; 64][..size])?;
        stream.write_all(&[1; 64][..size])?;
    }
    Ok(())
}

/// A listener and a client.
fn kinfolk(_: Case) -> Result<Batch> {
    let (here, there) = pipe::<(), String>()?;
    // It does not end by itself.
    Process::builder().daemon(true).spawn(
        |there: kinfolk::Connection<String, ()>| {
            let serve = || -> kinfolk::Result<()> {
                let listener = Listener::bind(None, &ConnectionOptions::new())?;
                there.send(&listener.address().to_string())?;
                loop {
                    // Until the other side ends it.
                    let _ = listener.accept::<(), ()>()?.recv();
                }
            };
            serve().err().map(|error| error.to_string())
        },
        there,
    )?;
    let address: kinfolk::Address = here.recv()?.parse()?;
    let options = ConnectionOptions::new();
    repeat(TIMES, move || {
        Client::connect::<(), ()>(&address, &options)?.close();
        Ok(())
    })
}
