//! The same by several processes at a time.

use std::path::PathBuf;

use kinfolk::manager::DictProxy;

use crate::bench::{
    Batch, Bench, CPYTHON_MANAGER, Case, FLOOR, KINFOLK, NANOSECONDS, Result, TARPC, whole,
};
use crate::crew::{Crew, Gate, said};
use crate::remote::{self, FloorClient, KEY, Server, TarpcClient, check};
use crate::script;

/// The bench. Its size is how many clients there are.
pub(super) const BENCH: Bench = Bench {
    name: NAME,
    unit: NANOSECONDS,
    cases: &[Case::of_size(1), Case::of_size(8)],
    contenders: &[
        (FLOOR, floor),
        (KINFOLK, kinfolk),
        (TARPC, tarpc),
        (CPYTHON_MANAGER, |case| script::manager(NAME, case)),
    ],
    peers: &[],
};

/// Its name.
const NAME: &str = "proxy-many";
/// How many calls a client makes in a batch.
const TIMES: u32 = 5_000;

/// A batch of so many clients' calls, whose server is `kept`.
fn batch<K: 'static>(case: Case, crew: Crew, kept: K) -> Result<Batch> {
    whole(TIMES * u32::try_from(case.size)?, move || {
        let _kept = &kept;
        crew.run()
    })
}

/// Messages there and back.
fn floor(case: Case) -> Result<Batch> {
    let (server, mut crew) = (Server::start(remote::serve_floor)?, Crew::default());
    for _ in 0..case.size {
        crew.add(floor_client, server.path().to_owned())?;
    }
    batch(case, crew, server)
}

/// A client of the floor.
fn floor_client((gate, path): (Gate, PathBuf)) {
    let Some(mut client) = said(FloorClient::connect(&path)) else { return };
    gate.batches(|| (0..TIMES).try_for_each(|_| check(client.get()?)));
}

/// Proxies.
fn kinfolk(case: Case) -> Result<Batch> {
    let ((manager, dict), mut crew) = (remote::kinfolk()?, Crew::default());
    for _ in 0..case.size {
        crew.add(kinfolk_client, dict.clone())?;
    }
    batch(case, crew, (manager, dict))
}

/// A process with a proxy.
fn kinfolk_client((gate, dict): (Gate, DictProxy<String, u64>)) {
    gate.batches(|| (0..TIMES).try_for_each(|_| check(dict.get(KEY)?)));
}

/// Clients.
fn tarpc(case: Case) -> Result<Batch> {
    let (server, mut crew) = (Server::start(remote::serve_tarpc)?, Crew::default());
    for _ in 0..case.size {
        crew.add(tarpc_client, server.path().to_owned())?;
    }
    batch(case, crew, server)
}

/// A process with a client.
fn tarpc_client((gate, path): (Gate, PathBuf)) {
    let Some(client) = said(TarpcClient::connect(&path)) else { return };
    gate.batches(|| (0..TIMES).try_for_each(|_| check(client.get()?)));
}
