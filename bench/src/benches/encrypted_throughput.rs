//! Messages of bytes one way by TCP of one machine. The clock stops when the receiver has
//! said that it has them all. No process is pinned.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use kinfolk::{Address, Client, Connection, ConnectionOptions, Listener, Process, pipe};

use crate::bench::{Batch, Bench, Case, FLOOR, KINFOLK, NANOSECONDS, Result, whole};

/// The bench. Its floor and the second contender do not seal what they send.
pub(super) const BENCH: Bench = Bench {
    name: "encrypted-throughput",
    unit: NANOSECONDS,
    cases: &[Case::of_size(32 << 10)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, |case| kinfolk(case, ConnectionOptions::new(), sealed)),
        ("kinfolk, not sealed", |case| kinfolk(case, ConnectionOptions::new().plain(), plain)),
    ],
    peers: &[],
};

/// How many messages a batch has.
const TIMES: u32 = 20_000;

/// Bare system calls.
fn floor(case: Case) -> Result<Batch> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    Process::spawn(receive, (port, case.length()?))?;
    let (mut stream, _) = listener.accept()?;
    let message = vec![7; case.length()?];
    whole(TIMES, move || {
        (0..TIMES).try_for_each(|_| stream.write_all(&message))?;
        Ok(stream.read_exact(&mut [0])?)
    })
}

/// Its other side, until it ends.
fn receive((port, size): (u16, usize)) {
    let mut buffer = vec![0; size];
    let mut work = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        loop {
            for _ in 0..TIMES {
                stream.read_exact(&mut buffer)?;
                black_box(&buffer);
            }
            stream.write_all(&[1])?;
        }
    };
    let _ = work();
}

/// A connection whose other side is a process that runs `peer`.
fn kinfolk(
    case: Case,
    options: ConnectionOptions,
    peer: fn(Connection<String, ()>),
) -> Result<Batch> {
    let (here, there) = pipe::<(), String>()?;
    Process::spawn(peer, there)?;
    let address: Address = here.recv()?.parse()?;
    let client = Client::connect::<(), ()>(&address, &options)?;
    let message = vec![7; case.length()?];
    whole(TIMES, move || {
        (0..TIMES).try_for_each(|_| client.send_bytes(&message))?;
        Ok(client.recv()?)
    })
}

/// The other side of what is sealed.
fn sealed(there: Connection<String, ()>) {
    let _ = accept(&there, &ConnectionOptions::new());
}

/// The other side of what is not.
fn plain(there: Connection<String, ()>) {
    let _ = accept(&there, &ConnectionOptions::new().plain());
}

/// Receives batches until the other side ends.
fn accept(there: &Connection<String, ()>, options: &ConnectionOptions) -> kinfolk::Result<()> {
    let listener = Listener::bind(Address::tcp("127.0.0.1", 0), options)?;
    there.send(&listener.address().to_string())?;
    let server = listener.accept::<(), ()>()?;
    loop {
        for _ in 0..TIMES {
            black_box(server.recv_bytes()?);
        }
        server.send(&())?;
    }
}
