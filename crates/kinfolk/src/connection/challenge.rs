//! Challenges and their answers, byte for byte as Python's
//! `multiprocessing.connection` has them.
//!
//! | message | |
//! |---|---|
//! | challenge | `#CHALLENGE#{sha256}` and 40 bytes; before Python 3.12 `#CHALLENGE#` and 20 |
//! | answer | `{name}` and the HMAC of all that follows `#CHALLENGE#`; legacy, the bare HMAC-MD5 |
//! | verdict | `#WELCOME#` or `#FAILURE#` |

use std::sync::OnceLock;

use hmac::Hmac;
use md5::Md5;
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};
use subtle::ConstantTimeEq as _;

use super::encryption::NOISE;
use crate::process::AuthKey;
use crate::{Error, ErrorKind, Result};

/// The largest message of a handshake, in bytes.
pub(super) const LARGEST: usize = 256;
/// The right answer was given.
pub(super) const WELCOME: &[u8] = b"#WELCOME#";
/// It was not.
pub(super) const FAILURE: &[u8] = b"#FAILURE#";

/// What a challenge begins with.
const CHALLENGE: &[u8] = b"#CHALLENGE#";
/// The digest that challenges ask for.
const ASKED: &[u8] = b"{sha256}";
/// The size of what is random in a challenge, in bytes.
const NONCE: usize = 40;
/// The size of a challenge that wants a bare HMAC-MD5, without what it begins with.
const BARE: usize = 20;

/// Who challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that accepts.
    Listener,
    /// The one that connects.
    Client,
}

/// A challenge, until it is answered.
#[derive(Debug)]
pub(super) struct Challenge {
    /// The whole message.
    message: Vec<u8>,
}

impl Challenge {
    /// Makes a challenge that nobody can foresee, and that this process recognises as
    /// its own, in that role.
    pub(super) fn new(role: Option<Role>) -> Result<Self> {
        let mut nonce = [0; NONCE];
        fill(&mut nonce)?;
        if let Some(role) = role {
            let (seed, mark) = nonce.split_at_mut(SEED);
            mark.copy_from_slice(&own_mark(seed, role)?);
        }
        Ok(Self { message: [CHALLENGE, ASKED, &nonce].concat() })
    }

    /// The message.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Checks an answer, in a time that tells nothing about the key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Authentication`] if it is not the right one.
    pub(super) fn verify(&self, key: &AuthKey, answer: &[u8], legacy: bool) -> Result<()> {
        let (digest, given) = match split(answer) {
            Some((digest, given)) => (digest, given),
            None if answer.len() == Digest::Md5.size() => (Digest::Md5, answer),
            None => return Err(refuse("its answer names no digest that is known here")),
        };
        digest.check(legacy)?;
        let right = digest.mac(key, &self.message[CHALLENGE.len()..]);
        if right.ct_eq(given).into() {
            Ok(())
        } else {
            Err(refuse("its answer is wrong: it has another key"))
        }
    }
}

/// Answers a challenge that the other side of `role` gave; one that this process itself
/// gave in the place of this side is refused: somebody sends it back to have it
/// answered.
///
/// # Errors
///
/// [`ErrorKind::Authentication`] if it is no challenge, or not a safe one.
pub(super) fn answer(
    key: &AuthKey,
    message: &[u8],
    here: Option<Role>,
    legacy: bool,
) -> Result<Vec<u8>> {
    let Some(asked) = message.strip_prefix(CHALLENGE) else {
        return Err(refuse(explain(message)));
    };
    if asked.len() == BARE {
        Digest::Md5.check(legacy)?;
        return Ok(Digest::Md5.mac(key, asked));
    }
    let Some((digest, nonce)) = split(asked) else {
        return Err(refuse("its challenge names no digest that is known here"));
    };
    digest.check(legacy)?;
    if asked.len() < BARE || nonce.is_empty() {
        return Err(refuse("its challenge is too short to be safe"));
    }
    if let Some(here) = here
        && let Some((seed, mark)) = nonce.split_first_chunk::<SEED>()
        && own_mark(seed, here)? == *mark
    {
        return Err(refuse("it gave back a challenge of this process to have it answered"));
    }
    let name = format!("{{{}}}", digest.name()).into_bytes();
    Ok([name, digest.mac(key, asked)].concat())
}

/// Checks what the other side makes of the answer.
///
/// # Errors
///
/// [`ErrorKind::Authentication`] unless it is a welcome.
pub(super) fn check_verdict(message: &[u8]) -> Result<()> {
    match message {
        WELCOME => Ok(()),
        FAILURE => Err(refuse("it did not accept the answer to its challenge: it has another key")),
        other => Err(refuse(explain(other))),
    }
}

/// What may be behind a message that was not to come.
fn explain(message: &[u8]) -> &'static str {
    match message {
        FAILURE => "it refused this side",
        _ if message.starts_with(CHALLENGE) => "it gave a challenge out of its turn",
        WELCOME => "it gave a welcome out of its turn",
        _ if message.starts_with(NOISE) => "it encrypts: leave the option `plain` out",
        _ => "it does not speak the handshake, or has no key and expects none",
    }
}

/// Nobody may get in, or be let in, like this.
pub(super) fn refuse(reason: &str) -> Error {
    Error::new(ErrorKind::Authentication, format!("refused the other side: {reason}"))
}

/// The size of a nonce's random beginning, in bytes; the rest marks it as this process's.
const SEED: usize = 16;

/// What follows a seed in a challenge of this process: random to all others.
fn own_mark(seed: &[u8], role: Role) -> Result<[u8; NONCE - SEED]> {
    /// Made at the first challenge; no part of any key.
    static SECRET: OnceLock<[u8; 32]> = OnceLock::new();
    let secret = match SECRET.get() {
        Some(secret) => secret,
        None => {
            let mut secret = [0; 32];
            fill(&mut secret)?;
            SECRET.get_or_init(|| secret)
        }
    };
    let role = [role as u8];
    let whole = mac::<Hmac<Sha256>>(secret, &[seed, &role].concat());
    let mut mark = [0; NONCE - SEED];
    mark.copy_from_slice(&whole[..NONCE - SEED]);
    Ok(mark)
}

/// Fills with random bytes.
fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| Error::io(std::io::Error::other(error.to_string()), "making a challenge"))
}

/// The digests that the handshake knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digest {
    /// Broken for most uses; of older Pythons only.
    Md5,
    /// What this library asks for.
    Sha256,
    /// Known to Python as well.
    Sha384,
    /// Known to Python as well.
    Sha3_256,
    /// Known to Python as well.
    Sha3_384,
}

impl Digest {
    /// All of them.
    const ALL: [Self; 5] = [Self::Md5, Self::Sha256, Self::Sha384, Self::Sha3_256, Self::Sha3_384];

    /// Its name in messages.
    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// The size of its HMAC, in bytes.
    const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 | Self::Sha3_256 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
        }
    }

    /// Checks that it may be used.
    fn check(self, legacy: bool) -> Result<()> {
        if self != Self::Md5 || legacy {
            return Ok(());
        }
        Err(refuse(
            "it wants to authenticate by MD5, as Python before 3.12 does: the option `legacy` \
             allows it",
        ))
    }

    /// The HMAC of a message.
    fn mac(self, key: &AuthKey, message: &[u8]) -> Vec<u8> {
        let key = key.as_bytes();
        match self {
            Self::Md5 => mac::<Hmac<Md5>>(key, message),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Self::Sha384 => mac::<Hmac<Sha384>>(key, message),
            Self::Sha3_256 => mac::<Hmac<Sha3_256>>(key, message),
            Self::Sha3_384 => mac::<Hmac<Sha3_384>>(key, message),
        }
    }
}

/// The HMAC of a message.
fn mac<M: hmac::Mac + hmac::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any size");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Splits `{name}rest`.
fn split(message: &[u8]) -> Option<(Digest, &[u8])> {
    let named = message.strip_prefix(b"{")?;
    Digest::ALL.into_iter().find_map(|digest| {
        Some((digest, named.strip_prefix(digest.name().as_bytes())?.strip_prefix(b"}")?))
    })
}
