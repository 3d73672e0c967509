//! Encryption of TCP between kinfolk's own: Noise, keyed from the authentication key.
//!
//! | | message of the handshake |
//! |---|---|
//! | listener | `#NOISE#` and the name of the protocol |
//! | client | Noise's first message: a new public key, sealed under the authentication key |
//! | listener | its second: another, and both have keys that nobody else has |
//! | client | a welcome, sealed: it has them too, and repeats nobody's first message |
//!
//! Afterwards each record is its length in two bytes, big-endian, and that many sealed
//! ones. A message is a row of full records and one that is not full, maybe empty.
//!
//! The cipher is AES-GCM by `ring`: of those that Noise knows it is the fastest by far
//! where the processor has instructions for it. There is no other to choose, so nobody in
//! the middle can choose a weaker one.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use snow::{Builder, HandshakeState, StatelessTransportState};
use zeroize::Zeroizing;

use super::challenge::{FAILURE, LARGEST, Role, WELCOME, refuse};
use super::handshake::{Progress, put};
use super::reader::{cut, receive};
use super::writer::Sent;
use crate::process::AuthKey;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// What a listener that encrypts says first.
pub(super) const GREETING: &[u8] = b"#NOISE#Noise_NNpsk0_25519_AESGCM_SHA256";
/// What the name of a protocol follows.
pub(super) const NOISE: &[u8] = b"#NOISE#";
/// The name of the protocol.
const PROTOCOL: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";
/// What the key is for; both sides mean the same.
const PURPOSE: &[u8] = b"kinfolk: the pre-shared key of Noise, 1";

/// The size of a record's length, in bytes.
const LENGTH: usize = 2;
/// By how much a record grows when it is sealed, in bytes.
const TAG: usize = 16;
/// The most bytes that a record has in it.
const FULL: usize = u16::MAX as usize - TAG;
/// How many records are sent at once.
const AT_ONCE: usize = 4;

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Encryption {
    /// Which side this is.
    role: Role,
    /// The keys so far.
    state: State,
}

/// How far a handshake has come.
#[derive(Debug)]
enum State {
    /// A client waits for the greeting.
    Greeting(Box<HandshakeState>),
    /// A side waits for the other's part of the key.
    Key(Box<HandshakeState>),
    /// A listener waits for the welcome.
    Welcome(Keys),
    /// It is over.
    Over,
}

impl Encryption {
    /// Begins the handshake of one side: appends what a listener sends first to `out`.
    pub(super) fn begin(role: Role, key: &AuthKey, out: &mut Vec<u8>) -> Result<Self> {
        let state =
            Box::new(begin(role, key).map_err(|error| {
                Error::new(ErrorKind::System, format!("cannot encrypt: {error}"))
            })?);
        let state = match role {
            Role::Client => State::Greeting(state),
            Role::Listener => {
                put(out, GREETING);
                State::Key(state)
            }
        };
        Ok(Self { role, state })
    }

    /// As [`Handshake::receive`](super::handshake::Handshake::receive).
    pub(super) fn receive(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<Progress> {
        match (self.role, std::mem::replace(&mut self.state, State::Over)) {
            (_, State::Greeting(mut state)) => {
                if message != GREETING {
                    return Err(refuse(explain(message)));
                }
                write(&mut state, out)?;
                self.state = State::Key(state);
            }
            (Role::Listener, State::Key(mut state)) => {
                if let Err(error) = read(&mut state, message) {
                    put(out, FAILURE);
                    return Err(error);
                }
                write(&mut state, out)?;
                self.state = State::Welcome(Keys::of(*state)?);
            }
            (Role::Client, State::Key(mut state)) => {
                read(&mut state, message)?;
                let mut keys = Keys::of(*state)?;
                let mut sealed = [0; WELCOME.len() + TAG];
                keys.seal(WELCOME, &mut sealed).map_err(not_encrypted)?;
                put(out, &sealed);
                return Ok(Progress::Done(Some(keys)));
            }
            (_, State::Welcome(mut keys)) => {
                let mut opened = [0; WELCOME.len() + TAG];
                match keys.open(message, &mut opened) {
                    Ok(size) if opened[..size] == *WELCOME => {}
                    _ => return Err(refuse(OTHER_KEY)),
                }
                return Ok(Progress::Done(Some(keys)));
            }
            (_, State::Over) => return Err(refuse("it goes on after the end of the handshake")),
        }
        Ok(Progress::GoesOn)
    }
}

/// Why no keys came of it.
const OTHER_KEY: &str = "it has another key, or somebody changes what is sent";

/// Begins with Noise.
fn begin(role: Role, key: &AuthKey) -> std::result::Result<HandshakeState, snow::Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| snow::Error::Input)?;
    mac.update(PURPOSE);
    let shared = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    let builder = Builder::new(PROTOCOL.parse()?).prologue(GREETING)?.psk(0, &shared)?;
    match role {
        Role::Listener => builder.build_responder(),
        Role::Client => builder.build_initiator(),
    }
}

/// Appends the next message of Noise.
fn write(state: &mut HandshakeState, out: &mut Vec<u8>) -> Result<()> {
    let mut message = [0; 128];
    let size = state.write_message(&[], &mut message).map_err(not_encrypted)?;
    put(out, &message[..size]);
    Ok(())
}

/// Reads the next message of Noise.
fn read(state: &mut HandshakeState, message: &[u8]) -> Result<()> {
    match state.read_message(message, &mut [0; LARGEST]) {
        Ok(0) => Ok(()),
        _ => Err(refuse(OTHER_KEY)),
    }
}

/// What may be behind a message that is no greeting.
fn explain(message: &[u8]) -> &'static str {
    if message.starts_with(NOISE) {
        "it encrypts in a way that is not known here"
    } else {
        "it does not encrypt, as Python's listeners do not: the option `plain` allows that"
    }
}

/// Noise has failed on this side.
fn not_encrypted(error: snow::Error) -> Error {
    Error::new(ErrorKind::System, format!("cannot encrypt: {error}"))
}

/// The keys of both directions.
#[derive(Debug)]
pub(super) struct Keys {
    /// The keys.
    state: Arc<StatelessTransportState>,
    /// The number of the next record that goes out.
    sealed: u64,
    /// The number of the next that comes in.
    opened: u64,
}

impl Keys {
    /// The keys that came of a handshake.
    fn of(state: HandshakeState) -> Result<Self> {
        let state = state.into_stateless_transport_mode().map_err(not_encrypted)?;
        Ok(Self { state: Arc::new(state), sealed: 0, opened: 0 })
    }

    /// Seals what goes out; returns its size.
    fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> std::result::Result<usize, snow::Error> {
        let size = self.state.write_message(self.sealed, plain, out)?;
        self.sealed += 1;
        Ok(size)
    }

    /// Opens what came in; returns its size.
    fn open(&mut self, sealed: &[u8], out: &mut [u8]) -> std::result::Result<usize, snow::Error> {
        let size = self.state.read_message(self.opened, sealed, out)?;
        self.opened += 1;
        Ok(size)
    }

    /// One for each direction.
    pub(super) fn split(self) -> (Opener, Sealer) {
        let Self { state, sealed, opened } = self;
        let outward = Self { state: Arc::clone(&state), sealed, opened: 0 };
        let inward = Self { state, sealed: 0, opened };
        (Opener { keys: inward, record: Vec::new() }, Sealer { keys: outward, out: Vec::new() })
    }
}

/// The receiving direction.
#[derive(Debug)]
pub(super) struct Opener {
    /// Its keys.
    keys: Keys,
    /// The next record, as far as it has come.
    record: Vec<u8>,
}

impl Opener {
    /// Whether a part of a record is here.
    pub(super) fn is_begun(&self) -> bool {
        !self.record.is_empty()
    }

    /// Reads the next record and appends what is in it to `body`: returns whether a message
    /// ends with it; `None` if it was not whole in time, and what has come of it is kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if it is not as the other side sent it;
    /// [`ErrorKind::Disconnected`] at the end, which anybody on the way can bring about.
    pub(super) fn next(
        &mut self,
        socket: BorrowedFd<'_>,
        body: &mut Vec<u8>,
        wait: Wait,
    ) -> Result<Option<bool>> {
        loop {
            let whole = match self.record.first_chunk::<LENGTH>() {
                None => LENGTH,
                Some(length) => match LENGTH + usize::from(u16::from_be_bytes(*length)) {
                    whole if whole == self.record.len() => break,
                    whole => whole,
                },
            };
            let most = whole - self.record.len();
            match receive(socket, &mut self.record, most, wait)? {
                None => return Ok(None),
                Some(0) if self.record.is_empty() && body.is_empty() => return Err(ended()),
                Some(0) => return Err(cut()),
                Some(_) => {}
            }
        }
        let sealed = &self.record[LENGTH..];
        let start = body.len();
        body.try_reserve(sealed.len())
            .map_err(|_| Error::new(ErrorKind::Exhausted, "no memory for the next message"))?;
        body.resize(start + sealed.len(), 0);
        let size = self.keys.open(sealed, &mut body[start..]).map_err(|_| {
            Error::new(
                ErrorKind::Protocol,
                "a message was changed on its way: the connection is closed",
            )
        })?;
        body.truncate(start + size);
        self.record.clear();
        Ok(Some(size < FULL))
    }
}

/// The end. Nothing seals it.
fn ended() -> Error {
    Error::new(
        ErrorKind::Disconnected,
        "the connection has ended between two messages: by the other side, or by somebody on the \
         way to it",
    )
}

/// The sending direction.
#[derive(Debug)]
pub(super) struct Sealer {
    /// Its keys.
    keys: Keys,
    /// Records on their way.
    out: Vec<u8>,
}

impl Sealer {
    /// Seals a message and hands it to `send` in pieces, for as long as that sends the whole
    /// of them.
    pub(super) fn seal(
        &mut self,
        mut message: &[u8],
        mut send: impl FnMut(&[u8]) -> std::io::Result<Sent>,
    ) -> std::io::Result<Sent> {
        let before = self.keys.sealed;
        let (mut begun, mut ended) = (false, false);
        while !ended {
            self.out.clear();
            for _ in 0..AT_ONCE {
                let (record, rest) = message.split_at(message.len().min(FULL));
                message = rest;
                ended = record.len() < FULL;
                let start = self.out.len();
                let length = record.len() + TAG;
                self.out.extend_from_slice(&(length as u16).to_be_bytes());
                self.out.resize(start + LENGTH + length, 0);
                self.keys
                    .seal(record, &mut self.out[start + LENGTH..])
                    .map_err(std::io::Error::other)?;
                if ended {
                    break;
                }
            }
            match send(&self.out)? {
                Sent::Whole => begun = true,
                Sent::Nothing if !begun => {
                    // Nothing of it has left this process: its numbers are free for the next.
                    self.keys.sealed = before;
                    return Ok(Sent::Nothing);
                }
                // What has left it has used up its numbers, though nothing may follow.
                Sent::Nothing | Sent::Part => return Ok(Sent::Part),
            }
        }
        Ok(Sent::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::{FULL, Keys, Sealer, Sent, begin};
    use crate::connection::challenge::Role;
    use crate::process::AuthKey;

    /// The sending direction of a client.
    fn sealer() -> Sealer {
        let key = AuthKey::from_bytes(b"known to both");
        let mut client = begin(Role::Client, &key).unwrap();
        let mut listener = begin(Role::Listener, &key).unwrap();
        let mut message = [0; 128];
        let size = client.write_message(&[], &mut message).unwrap();
        listener.read_message(&message[..size], &mut []).unwrap();
        let size = listener.write_message(&[], &mut message).unwrap();
        client.read_message(&message[..size], &mut []).unwrap();
        Keys::of(client).unwrap().split().1
    }

    #[test]
    fn no_number_seals_twice_unless_nothing_of_the_first_was_sent() {
        let mut sealer = sealer();
        let sealed = |sealer: &mut Sealer, message: &[u8], answers: &[Sent]| {
            let mut answers = answers.iter();
            let sent = sealer.seal(message, |_| Ok(*answers.next().unwrap())).unwrap();
            assert!(answers.next().is_none());
            (sent, sealer.keys.sealed)
        };
        assert_eq!(sealed(&mut sealer, b"", &[Sent::Whole]), (Sent::Whole, 1));
        assert_eq!(sealed(&mut sealer, b"", &[Sent::Nothing]), (Sent::Nothing, 1));
        assert_eq!(sealed(&mut sealer, b"", &[Sent::Part]), (Sent::Part, 2));
        // Nothing of the second four records, but all of the first.
        let long = vec![7; 5 * FULL];
        assert_eq!(sealed(&mut sealer, &long, &[Sent::Whole, Sent::Nothing]), (Sent::Part, 8));
    }
}
