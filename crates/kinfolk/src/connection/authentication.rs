//! Both sides prove to each other that they know the key, by challenges.
//!
//! The listener challenges, then the client does. The client sends its challenge
//! along with its answer, and the listener its answer along with its verdict: that
//! saves a round trip, and each direction carries the same bytes as Python's.

use std::time::Duration;

use super::Connection;
use super::challenge::{Challenge, FAILURE, LARGEST, Role, WELCOME, answer, check_verdict, refuse};
use super::handshake::put;
use crate::process::AuthKey;
use crate::wire::frame::Wait;
use crate::{Error, ErrorKind, Result};

/// The handshake of one side, under way.
#[derive(Debug)]
pub(super) struct Authentication {
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

impl Authentication {
    /// Begins: appends what a listener sends first to `out`.
    pub(super) fn begin(role: Role, key: AuthKey, legacy: bool, out: &mut Vec<u8>) -> Result<Self> {
        let challenge = Challenge::new(Some(role))?;
        let awaited = match role {
            Role::Client => Awaited::Challenge,
            Role::Listener => {
                put(out, challenge.message());
                Awaited::Answer
            }
        };
        Ok(Self { key, legacy, role, challenge, awaited })
    }

    /// Takes the next message and appends what is to be sent to `out`; returns whether both
    /// sides have proved themselves.
    pub(super) fn receive(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        match self.awaited {
            Awaited::Challenge => {
                put(out, &answer(&self.key, message, Some(self.role), self.legacy)?);
                if self.role == Role::Client {
                    put(out, self.challenge.message());
                }
                self.awaited = Awaited::Verdict;
                Ok(false)
            }
            Awaited::Verdict => {
                check_verdict(message)?;
                self.awaited = Awaited::Answer;
                Ok(self.role == Role::Listener)
            }
            Awaited::Answer => {
                if let Err(error) = self.challenge.verify(&self.key, message, self.legacy) {
                    put(out, FAILURE);
                    return Err(error);
                }
                put(out, WELCOME);
                self.awaited = Awaited::Challenge;
                Ok(self.role == Role::Client)
            }
        }
    }
}

/// Asks the other side to prove that it knows `key`, and tells it whether it has.
///
/// [`Client::connect`](crate::Client::connect) and
/// [`Listener::accept`](crate::Listener::accept) do this by themselves; alone it is
/// for a connection that came from elsewhere. The other side calls
/// [`answer_challenge`] meanwhile, and the two change places to be sure of each other.
/// Legacy answers by MD5 are refused.
///
/// # Errors
///
/// [`ErrorKind::Authentication`] if the answer is wrong: whatever comes from the other
/// side then is not to be trusted. Else as [`Connection::recv_bytes`].
pub fn deliver_challenge<S, R>(connection: &Connection<S, R>, key: &AuthKey) -> Result<()> {
    deliver(connection, key, Wait::Forever)
}

/// As [`deliver_challenge`], for at most `timeout`.
///
/// # Errors
///
/// As [`deliver_challenge`]; [`ErrorKind::Timeout`] if the other side was too slow: what it
/// says later would be taken for something else, so the connection is of no more use.
pub fn deliver_challenge_timeout<S, R>(
    connection: &Connection<S, R>,
    key: &AuthKey,
    timeout: Duration,
) -> Result<()> {
    deliver(connection, key, Wait::of(timeout))
}

/// Proves to the other side, which calls [`deliver_challenge`] meanwhile, that this one
/// knows `key`.
///
/// # Errors
///
/// [`ErrorKind::Authentication`] if the other side asks in a way that is not safe, or
/// is not convinced. Else as [`Connection::recv_bytes`].
pub fn answer_challenge<S, R>(connection: &Connection<S, R>, key: &AuthKey) -> Result<()> {
    prove(connection, key, Wait::Forever)
}

/// As [`answer_challenge`], for at most `timeout`.
///
/// # Errors
///
/// As [`answer_challenge`], and as [`deliver_challenge_timeout`].
pub fn answer_challenge_timeout<S, R>(
    connection: &Connection<S, R>,
    key: &AuthKey,
    timeout: Duration,
) -> Result<()> {
    prove(connection, key, Wait::of(timeout))
}

/// Challenges the other side until then.
fn deliver<S, R>(connection: &Connection<S, R>, key: &AuthKey, wait: Wait) -> Result<()> {
    let challenge = Challenge::new(None)?;
    send(connection, challenge.message(), wait)?;
    let verdict = challenge.verify(key, &receive(connection, wait)?, false);
    send(connection, if verdict.is_ok() { WELCOME } else { FAILURE }, wait)?;
    verdict
}

/// Answers the other side until then.
fn prove<S, R>(connection: &Connection<S, R>, key: &AuthKey, wait: Wait) -> Result<()> {
    let answer = answer(key, &receive(connection, wait)?, None, false)?;
    send(connection, &answer, wait)?;
    check_verdict(&receive(connection, wait)?)
}

/// Sends a message of a handshake.
fn send<S, R>(connection: &Connection<S, R>, message: &[u8], wait: Wait) -> Result<()> {
    let sent = connection.send_bytes_until(message, wait)?;
    sent.then_some(()).ok_or_else(too_slow)
}

/// Receives a message of a handshake.
fn receive<S, R>(connection: &Connection<S, R>, wait: Wait) -> Result<Vec<u8>> {
    match connection.bytes_max_until(LARGEST, wait) {
        Ok(message) => message.ok_or_else(too_slow),
        Err(error) if error.kind() == ErrorKind::TooLong => {
            Err(refuse("its message is longer than any of a handshake"))
        }
        Err(error) => Err(error),
    }
}

/// The error of a side that waited in vain.
fn too_slow() -> Error {
    Error::new(ErrorKind::Timeout, "the other side has not authenticated in time")
}
