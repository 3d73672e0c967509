//! What two sides say to each other before the first message: a state machine that
//! neither reads nor writes, so that many can go on at once.
//!
//! The listener challenges, then the client does. The client sends its challenge
//! along with its answer, and the listener its answer along with its verdict: that
//! saves a round trip, and each direction carries the same bytes as Python's.

use super::authentication::{Challenge, FAILURE, Role, WELCOME, answer, check_verdict};
use crate::Result;
use crate::process::AuthKey;
use crate::wire::stream::{LONG_HEADER, write_header};

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The key.
    key: AuthKey,
    /// Whether MD5 will do.
    legacy: bool,
    /// Which side this is.
    role: Role,
    /// What this side asks.
    challenge: Challenge,
    /// What it waits for.
    awaited: Awaited,
}

/// What a side waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The other side's challenge.
    Challenge,
    /// Its verdict on the answer.
    Verdict,
    /// Its answer.
    Answer,
}

impl Handshake {
    /// Begins the handshake of a listener: appends what it sends first to `out`.
    pub(super) fn listener(key: AuthKey, legacy: bool, out: &mut Vec<u8>) -> Result<Self> {
        let challenge = Challenge::new(Some(Role::Listener))?;
        put(out, challenge.message());
        Ok(Self { key, legacy, role: Role::Listener, challenge, awaited: Awaited::Answer })
    }

    /// Begins the handshake of a client.
    pub(super) fn client(key: AuthKey, legacy: bool) -> Result<Self> {
        let challenge = Challenge::new(Some(Role::Client))?;
        Ok(Self { key, legacy, role: Role::Client, challenge, awaited: Awaited::Challenge })
    }

    /// Takes the next message of the other side and appends what is to be sent to
    /// `out`, also of a failure. Returns whether both sides have proved themselves.
    ///
    /// # Errors
    ///
    /// [`Authentication`](crate::ErrorKind::Authentication): it is over, and nothing
    /// else of the other side may be looked at.
    pub(super) fn receive(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        match (self.role, self.awaited) {
            (_, Awaited::Challenge) => {
                put(out, &answer(&self.key, message, Some(self.role), self.legacy)?);
                if self.role == Role::Client {
                    put(out, self.challenge.message());
                }
                self.awaited = Awaited::Verdict;
            }
            (_, Awaited::Answer) => {
                if let Err(error) = self.challenge.verify(&self.key, message, self.legacy) {
                    put(out, FAILURE);
                    return Err(error);
                }
                put(out, WELCOME);
                self.awaited = Awaited::Challenge;
                return Ok(self.role == Role::Client);
            }
            (role, Awaited::Verdict) => {
                check_verdict(message)?;
                self.awaited = Awaited::Answer;
                return Ok(role == Role::Listener);
            }
        }
        Ok(false)
    }
}

/// Appends a message.
fn put(out: &mut Vec<u8>, message: &[u8]) {
    let mut header = [0; LONG_HEADER];
    let size = write_header(&mut header, message.len());
    out.extend_from_slice(&header[LONG_HEADER - size..]);
    out.extend_from_slice(message);
}
