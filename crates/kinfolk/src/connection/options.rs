//! How listeners and clients connect.

use std::time::Duration;

use super::stream::Codec;
use crate::process::{AuthKey, current_process};
use crate::{Error, ErrorKind, Result};

/// Options of a [`Listener`](crate::Listener) or [`Client`](crate::Client).
///
/// By default both sides prove to each other that they know the key of their process,
/// which a family shares; a unix socket is for this user and root; and a message has at
/// most 1 GiB.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The key.
    pub(super) key: Key,
    /// Whether MD5 will do.
    pub(super) legacy: bool,
    /// Whether TCP is not encrypted.
    pub(super) plain: bool,
    /// Whether another user may be at the other end of a unix socket.
    pub(super) any_user: bool,
    /// How long connecting and authenticating may take.
    pub(crate) deadline: Duration,
    /// How long a TCP peer may be silent.
    pub(super) silence: Duration,
    /// How many clients may wait for `accept`.
    pub(super) backlog: u32,
    /// How many clients may be authenticating at once.
    pub(super) pending: usize,
    /// The most bytes of a message.
    pub(crate) limit: usize,
    /// How values are encoded.
    pub(super) codec: Codec,
}

/// The longest time that is told apart from for ever: a week, which the system's own clocks
/// of sockets can still count in milliseconds.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Which key.
#[derive(Debug, Clone)]
pub(super) enum Key {
    /// That of the process.
    OfProcess,
    /// This one.
    Given(AuthKey),
    /// None, on this machine.
    None,
    /// None, on TCP as well.
    NoneOnTcp,
}

impl ConnectionOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            key: Key::OfProcess,
            legacy: false,
            plain: false,
            any_user: false,
            deadline: Duration::from_secs(20),
            silence: Duration::from_secs(20),
            backlog: 128,
            pending: 128,
            limit: 1 << 30,
            codec: Codec::default(),
        }
    }

    /// The key that both sides must know, instead of
    /// [`current_process().authkey()`](crate::CurrentProcess::authkey).
    #[must_use]
    pub fn authkey(mut self, key: AuthKey) -> Self {
        self.key = Key::Given(key);
        self
    }

    /// No key: whoever can open the unix socket is trusted. On TCP that is refused. One who
    /// binds at the listener's path, and is told that it is in use, is accepted as a client
    /// that leaves at once: with a key it would be counted as refused.
    #[must_use]
    pub fn without_authkey(mut self) -> Self {
        self.key = Key::None;
        self
    }

    /// No key, on TCP as well: whoever reaches the port is trusted, and nothing is
    /// encrypted.
    #[must_use]
    pub fn without_authkey_on_tcp(mut self) -> Self {
        self.key = Key::NoneOnTcp;
        self
    }

    /// Allows authentication by MD5, which Python before 3.12 needs.
    #[must_use]
    pub fn legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// Does not encrypt TCP: for Python's `multiprocessing` at the other end. The key
    /// is not sent, but all else can be read and changed on its way.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Allows any user at the other end of a unix socket, not only this one and root.
    #[must_use]
    pub fn any_user(mut self) -> Self {
        self.any_user = true;
        self
    }

    /// How long a handshake may take, and connecting with it: 20 seconds if not set, a week
    /// at most.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time.min(LONGEST);
        self
    }

    /// How long a TCP peer may be without a sign of life, when its machine or the way to it
    /// is gone: 20 seconds if not set, 3 at least, 18 hours at most. The connection counts as
    /// lost then, or when it is next looked at: a sixth of that time later at most, or a second.
    /// An idle peer is asked for signs.
    ///
    /// A peer that lives and does not read is not lost: its system gives the signs. It is asked
    /// for them more and more seldom, every two minutes at last, and is lost after two of these
    /// times if its machine goes then. While nobody receives, sends or
    /// [`poll`](crate::Connection::poll)s, and only [`wait`](crate::wait()) looks at a connection,
    /// the loss of what was sent last is noticed by the system alone, in a quarter of an hour.
    #[must_use]
    pub fn keep_alive(mut self, silence: Duration) -> Self {
        self.silence = silence.max(Duration::from_secs(3));
        self
    }

    /// How many clients the system lets connect before they are accepted; 128 if not set.
    #[must_use]
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = clients;
        self
    }

    /// How many clients may be authenticating at once, 128 if not set: one more, and the
    /// oldest of them is dropped.
    #[must_use]
    pub fn max_pending(mut self, clients: usize) -> Self {
        self.pending = clients.max(1);
        self
    }

    /// The most bytes that a received message may have: 1 GiB if not set. A longer one
    /// closes the connection.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Sends and receives values as Python's pickles, of plain data: for Python's
    /// `multiprocessing` at the other end. See [`pickle`](crate::pickle); what is not plain
    /// data is an error when it is sent, and when it is received.
    ///
    /// ```
    /// use kinfolk::{AuthKey, Client, ConnectionOptions, Listener};
    ///
    /// let options = ConnectionOptions::new().authkey(AuthKey::random()?).pickle();
    /// let listener = Listener::bind(None, &options)?;
    /// let address = listener.address().clone();
    /// let other = std::thread::spawn(move || {
    ///     // In Python: Client(address, authkey=key).send(('text', [1, None]))
    ///     let client = Client::connect::<_, ()>(address, &options)?;
    ///     client.send(&("text", vec![Some(1), None]))
    /// });
    /// let connection = listener.accept::<(), (String, Vec<Option<u8>>)>()?;
    /// assert_eq!(connection.recv()?, ("text".to_owned(), vec![Some(1), None]));
    /// # other.join().unwrap()?;
    /// # Ok::<(), kinfolk::Error>(())
    /// ```
    #[cfg(feature = "pickle")]
    #[must_use]
    pub fn pickle(mut self) -> Self {
        self.codec = Codec::Pickle;
        self
    }

    /// Whether connections are encrypted, if there is a key.
    pub(super) fn encrypts(&self, tcp: bool) -> bool {
        tcp && !self.plain
    }

    /// The key, or that there is to be none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there must be one.
    pub(super) fn key_for(&self, tcp: bool) -> Result<Option<AuthKey>> {
        let key = match &self.key {
            Key::OfProcess => current_process().authkey(),
            Key::Given(key) => key.clone(),
            Key::None if tcp => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "TCP without a key lets anybody in who reaches the port: give a key, or ask \
                     for it by the option `without_authkey_on_tcp`",
                ));
            }
            Key::None | Key::NoneOnTcp => return Ok(None),
        };
        if key.as_bytes().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an empty key is known to everybody: give one with bytes in it",
            ));
        }
        Ok(Some(key))
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self::new()
    }
}
