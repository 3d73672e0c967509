//! Hostile handshakes, for the fuzz target and a test.

use std::os::fd::AsFd as _;
use std::time::Instant;

use super::challenge::{LARGEST, Role};
use super::handshake::{Handshake, Progress};
use super::reader::Reader;
use crate::process::AuthKey;
use crate::sys::stream;
use crate::wire::frame::Wait;

/// Says what the fuzzer makes to one side of a handshake, and as a stream of messages to
/// what reads those. The first byte chooses the side, and how the handshake is made.
///
/// # Panics
///
/// If the handshake succeeds, or the system has no sockets to test with.
pub fn handshake(input: &[u8]) {
    let Some((choice, stream)) = input.split_first() else { return };
    let role = if choice & 1 == 0 { Role::Listener } else { Role::Client };
    let key = AuthKey::from_bytes(b"nobody's");
    // Keys for Noise take their time.
    let encrypted = choice & 0x1e == 0x1e;
    let mut out = Vec::new();
    let handshake = Handshake::begin(role, &key, choice & 0x20 != 0, encrypted, &mut out);
    let Ok(mut handshake) = handshake else { return };
    let (ours, theirs) = stream::pair().expect("a socket");
    if stream::send(theirs.as_fd(), stream, &[], false).is_err() {
        return;
    }
    let mut reader = Reader::new(LARGEST);
    while let Ok(true) = reader.fill(ours.as_fd(), LARGEST, Wait::Until(Instant::now())) {
        match handshake.receive(&reader.take(), &mut out) {
            Ok(Progress::GoesOn) => {}
            Ok(Progress::Done(_)) => panic!("it got in without the key"),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use kinfolk_testkit::Numbers;

    use super::handshake;

    /// What handshakes are made of.
    const PIECES: [&[u8]; 14] = [
        b"#CHALLENGE#",
        b"#WELCOME#",
        b"#FAILURE#",
        b"#NOISE#Noise_NNpsk0_25519_AESGCM_SHA256",
        b"{sha256}",
        b"{sha384}",
        b"{sha3_256}",
        b"{sha3_384}",
        b"{md5}",
        b"{sha1}",
        &[7; 16],
        &[7; 20],
        &[7; 32],
        &[7; 48],
    ];

    #[test]
    fn no_hostile_handshake_gets_in_or_panics() {
        let times = std::env::var("KINFOLK_FUZZ").ok().and_then(|text| text.parse().ok());
        let mut numbers = Numbers::new(0x6b69_6e66_6f6c_6b21);
        for _ in 0..times.unwrap_or(5_000) {
            let mut input = vec![numbers.byte()];
            for _ in 0..numbers.place(5) {
                let mut message = Vec::new();
                for _ in 0..numbers.place(4) {
                    message.extend_from_slice(PIECES[numbers.place(PIECES.len())]);
                }
                message.extend((0..numbers.place(3)).map(|_| numbers.byte()));
                if numbers.place(4) == 0 && !message.is_empty() {
                    let place = numbers.place(message.len());
                    message[place] = numbers.byte();
                }
                let length = match numbers.place(8) {
                    0 => numbers.place(300),
                    _ => message.len(),
                };
                input.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
                input.extend_from_slice(&message);
            }
            if numbers.place(8) == 0 && input.len() > 1 {
                let place = 1 + numbers.place(input.len() - 1);
                input[place] = numbers.byte();
            }
            handshake(&input);
        }
    }
}
