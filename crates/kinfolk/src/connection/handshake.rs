//! What two sides say to each other before the first message: state machines that
//! neither read nor write, so that many can go on at once.

use super::authentication::Authentication;
use super::challenge::Role;
use super::encryption::{Encryption, Keys};
use crate::Result;
use crate::process::AuthKey;
use crate::wire::stream::{LONG_HEADER, write_header};

/// A handshake under way.
#[derive(Debug)]
pub(super) enum Handshake {
    /// By challenges, as Python's.
    Challenges(Authentication),
    /// By Noise, and encrypted from then on.
    Noise(Encryption),
}

/// What a message of a handshake leads to.
#[derive(Debug)]
pub(super) enum Progress {
    /// More messages.
    GoesOn,
    /// Both sides have proved themselves, and may have keys.
    Done(Option<Keys>),
}

impl Handshake {
    /// Begins the handshake of one side: appends what it sends first to `out`.
    ///
    /// # Errors
    ///
    /// If the system gives no random bytes.
    pub(super) fn begin(
        role: Role,
        key: &AuthKey,
        legacy: bool,
        encrypted: bool,
        out: &mut Vec<u8>,
    ) -> Result<Self> {
        if encrypted {
            Encryption::begin(role, key, out).map(Self::Noise)
        } else {
            Authentication::begin(role, key.clone(), legacy, out).map(Self::Challenges)
        }
    }

    /// Takes the next message of the other side and appends what is to be sent to `out`,
    /// also of a failure.
    ///
    /// # Errors
    ///
    /// [`Authentication`](crate::ErrorKind::Authentication): it is over, and nothing else of
    /// the other side may be looked at.
    pub(super) fn receive(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<Progress> {
        match self {
            Self::Challenges(authentication) => {
                let done = authentication.receive(message, out)?;
                Ok(if done { Progress::Done(None) } else { Progress::GoesOn })
            }
            Self::Noise(encryption) => encryption.receive(message, out),
        }
    }
}

/// Appends a message.
pub(super) fn put(out: &mut Vec<u8>, message: &[u8]) {
    let mut header = [0; LONG_HEADER];
    let size = write_header(&mut header, message.len());
    out.extend_from_slice(&header[LONG_HEADER - size..]);
    out.extend_from_slice(message);
}
