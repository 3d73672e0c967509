//! How the other processes of the peers that are crates get to their channels.

use std::sync::atomic::{AtomicU32, Ordering};

use cloudtoid_interprocess::{Options, Publisher, Subscriber};
use ipc_channel::ipc::{self, IpcOneShotServer, IpcSender};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bench::Result;

/// Where a process of ipc-channel fetches its ends, by the name that belongs to it.
pub(crate) struct Offer<T: Serialize + DeserializeOwned>(IpcOneShotServer<IpcSender<T>>);

impl<T: Serialize + DeserializeOwned> Offer<T> {
    /// Opens one, and says its name.
    pub(crate) fn open() -> Result<(Self, String)> {
        let (server, name) = IpcOneShotServer::new()?;
        Ok((Self(server), name))
    }

    /// Gives the ends to who comes.
    pub(crate) fn give(self, ends: T) -> Result<()> {
        let (_, fetcher) = self.0.accept()?;
        Ok(fetcher.send(ends)?)
    }
}

/// Fetches the ends.
pub(crate) fn fetch<T: Serialize + DeserializeOwned>(name: String) -> Result<T> {
    let (fetcher, ends) = ipc::channel()?;
    IpcSender::connect(name)?.send(fetcher)?;
    Ok(ends.recv()?)
}

/// How often one looks for a message before one sleeps, which takes a semaphore.
const LOOKS: u32 = 600;

/// A queue of cloudtoid-interprocess, by its name. It lasts as long as somebody
/// has opened an end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cloudtoid {
    /// Its name.
    name: String,
    /// Its capacity in bytes.
    capacity: usize,
}

impl Cloudtoid {
    /// Names a queue for `messages` of a size.
    pub(crate) fn new(messages: usize, size: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let capacity = messages * (size.next_multiple_of(8) + 8);
        Self { name: format!("kb{}-{next}", std::process::id()), capacity }
    }

    /// Where it is, of what size.
    fn options(&self) -> Options {
        Options::new(&*self.name, self.capacity).with_path("/dev/shm")
    }

    /// Opens the sending end.
    pub(crate) fn publisher(&self) -> Result<Publisher> {
        Ok(Publisher::open(&self.options())?)
    }

    /// Opens the receiving end.
    pub(crate) fn subscriber(&self) -> Result<Subscriber> {
        Ok(Subscriber::open(&self.options())?)
    }
}

/// Sends a message, again and again while the queue is full.
pub(crate) fn publish(publisher: &Publisher, message: &[u8]) -> Result<()> {
    loop {
        for _ in 0..LOOKS {
            match publisher.try_send(message) {
                Err(error) if error.is_full() => std::hint::spin_loop(),
                sent => return Ok(sent?),
            }
        }
        std::thread::yield_now();
    }
}

/// Receives a message of the length of `buffer`: looks for it, and then waits.
pub(crate) fn subscribe(subscriber: &Subscriber, buffer: &mut [u8]) -> Result<()> {
    let mut length = None;
    for _ in 0..LOOKS {
        length = subscriber.try_recv_into(buffer)?;
        if length.is_some() {
            break;
        }
        std::hint::spin_loop();
    }
    let length = match length {
        Some(length) => length,
        None => {
            let message = subscriber.recv()?;
            let length = message.len();
            buffer.get_mut(..length).ok_or("a longer message")?.copy_from_slice(&message);
            length
        }
    };
    if length == buffer.len() { Ok(()) } else { Err("a message of another size".into()) }
}
