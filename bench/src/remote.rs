//! A dict in another process, by all contenders: its one key is looked up.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use futures::StreamExt as _;
use kinfolk::manager::DictProxy;
use kinfolk::{Manager, Process, pipe};
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport};
use tokio::runtime::Runtime;

use crate::bench::Result;
use service::{Lookup, LookupClient};

/// The key.
pub(crate) const KEY: &str = "key";
/// Its value.
pub(crate) const VALUE: u64 = 7;

/// The size of a request of the floor, and of its answer, in bytes: as many as a proxy's.
const MESSAGE: usize = 16;

/// Checks what was found.
pub(crate) fn check(found: Option<u64>) -> Result<()> {
    if found == Some(VALUE) { Ok(()) } else { Err("a wrong value".into()) }
}

/// A server in a process of its own, until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// The process.
    process: Process<()>,
    /// The path of its socket.
    path: PathBuf,
}

impl Server {
    /// Starts a server, which says when it listens.
    pub(crate) fn start(serve: fn((String, kinfolk::Connection<(), ()>))) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kinfolk-bench-{}", std::process::id()));
        // Another bench's, of the same number.
        let _ = std::fs::remove_file(&path);
        let (here, there) = pipe()?;
        let text = path.to_str().ok_or("the temporary folder's name is no text")?.to_owned();
        let process = Process::builder().daemon(true).spawn(serve, (text, there))?;
        here.recv()?;
        Ok(Self { process, path })
    }

    /// The path of its socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The floor's server: a thread for each connection, which answers what it reads.
pub(crate) fn serve_floor((path, ready): (String, kinfolk::Connection<(), ()>)) {
    let listener = UnixListener::bind(path).expect("the path is free");
    ready.send(&()).expect("the bench waits");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a client connects");
        std::thread::spawn(move || {
            let mut message = [0; MESSAGE];
            while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
        });
    }
}

/// A client of the floor's server.
#[derive(Debug)]
pub(crate) struct FloorClient(UnixStream);

impl FloorClient {
    /// Connects.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        Ok(Self(UnixStream::connect(path)?))
    }

    /// Sends the value and has it come back.
    pub(crate) fn get(&mut self) -> Result<Option<u64>> {
        let mut message = [0; MESSAGE];
        message[..8].copy_from_slice(&VALUE.to_le_bytes());
        self.0.write_all(&message)?;
        self.0.read_exact(&mut message)?;
        Ok(message.first_chunk().map(|value| u64::from_le_bytes(*value)))
    }
}

/// kinfolk's manager, and its dict.
pub(crate) fn kinfolk() -> Result<(Manager, DictProxy<String, u64>)> {
    let manager = Manager::start()?;
    let dict = manager.dict()?;
    dict.insert(KEY, &VALUE)?;
    Ok((manager, dict))
}

/// tarpc's service.
#[allow(clippy::missing_docs_in_private_items, reason = "the macro makes fields of arguments")]
mod service {
    /// A dict to look into.
    #[tarpc::service]
    pub(crate) trait Lookup {
        /// The value of a key.
        async fn get(key: String) -> Option<u64>;
    }
}

/// tarpc's server.
#[derive(Clone)]
struct Shelf(Arc<RwLock<HashMap<String, u64>>>);

impl Lookup for Shelf {
    async fn get(self, _: context::Context, key: String) -> Option<u64> {
        self.0.read().expect("nobody panics").get(&key).copied()
    }
}

/// A runtime of one thread.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// tarpc's server, as its documentation has it: a task for each connection and request. It has a
/// thread for each processor, as tokio has it.
pub(crate) fn serve_tarpc((path, ready): (String, kinfolk::Connection<(), ()>)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let shelf = Shelf(Arc::new(RwLock::new(HashMap::from([(KEY.to_owned(), VALUE)]))));
        let mut listener =
            serde_transport::unix::listen(path, Bincode::default).await.expect("the path is free");
        ready.send(&()).expect("the bench waits");
        while let Some(Ok(transport)) = listener.next().await {
            let channel = BaseChannel::with_defaults(transport);
            tokio::spawn(channel.execute(shelf.clone().serve()).for_each(|response| async {
                tokio::spawn(response);
            }));
        }
    });
}

/// A client of tarpc's server, with a thread of its own.
pub(crate) struct TarpcClient {
    /// What drives it.
    runtime: Runtime,
    /// Itself.
    client: LookupClient,
}

impl TarpcClient {
    /// Connects.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let transport = serde_transport::unix::connect(path, Bincode::default).await?;
            let client = LookupClient::new(client::Config::default(), transport).spawn();
            std::io::Result::Ok(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// Looks the key up.
    pub(crate) fn get(&self) -> Result<Option<u64>> {
        let call = self.client.get(context::current(), KEY.to_owned());
        Ok(self.runtime.block_on(call)?)
    }
}
