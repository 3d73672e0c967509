//! A key of a dict in another process is looked up, over a unix socket.

use crate::bench::{
    Batch, Bench, CPYTHON_MANAGER, Case, FLOOR, KINFOLK, NANOSECONDS, Result, TARPC, repeat,
};
use crate::remote::{self, FloorClient, KEY, Server, TarpcClient, check};
use crate::script;

/// The bench.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(0)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (TARPC, tarpc),
        (CPYTHON_MANAGER, |case| script::manager(NAME, case)),
    ],
    peers: &[],
};

/// Its name.
const NAME: &str = "proxy-call";
/// How many calls a batch has.
const TIMES: u32 = 10_000;

/// A message there and back.
fn floor(_case: Case) -> Result<Batch> {
    let server = Server::start(remote::serve_floor)?;
    let mut client = FloorClient::connect(server.path())?;
    repeat(TIMES, move || {
        let _server = &server;
        check(client.get()?)
    })
}

/// A proxy.
fn kinfolk(_case: Case) -> Result<Batch> {
    let (manager, dict) = remote::kinfolk()?;
    repeat(TIMES, move || {
        let _manager = &manager;
        check(dict.get(KEY)?)
    })
}

/// A client.
fn tarpc(_case: Case) -> Result<Batch> {
    let server = Server::start(remote::serve_tarpc)?;
    let client = TarpcClient::connect(server.path())?;
    repeat(TIMES, move || {
        let _server = &server;
        check(client.get()?)
    })
}
