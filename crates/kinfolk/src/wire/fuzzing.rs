//! Hostile messages, for the fuzz target and a test.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::codec;
use super::frame::{self, Care, Placed, Wait};
use super::handle::Handle;
use crate::sys::{memory, socket};

/// A value with all that the codec knows of.
#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "decoded for the sake of decoding")]
enum Value {
    Number(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<char, Option<Self>>),
    Handles(Vec<Handle<OwnedFd>>),
    Tuple((), bool, Box<[u16]>),
}

/// Sends a packet of the fuzzer's making to this process, and receives it in
/// every way. The first three bytes choose how many descriptors come with it, of
/// which kinds, and the most bytes that are received; the others are the packet.
///
/// # Panics
///
/// If the system has no sockets or memory files to test with, or where the library
/// is wrong.
pub fn message(input: &[u8]) {
    let Some(([count, kinds, most], packet)) = input.split_first_chunk() else { return };
    let memory = || memory::sealed(&[&packet[..packet.len() / 2]]).expect("a memory file");
    let fds: Vec<OwnedFd> = (0..count % 5)
        .map(|number| match kinds >> (number % 4 * 2) & 3 {
            0 => File::open("/dev/null").expect("a file").into(),
            1 => memory(),
            2 => memory::unsealed(packet).expect("a memory file"),
            _ => socket::pair().expect("a socket").0,
        })
        .collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let (ours, theirs) = socket::pair().expect("a socket");
    let now = Wait::Until(Instant::now());
    for care in [Care::Fast, Care::KEEP, Care::Keep { maximum: usize::from(*most) * 16 }] {
        if socket::send(theirs.as_fd(), &[packet], &fds, false).is_err() {
            return;
        }
        if let Ok(Some(message)) = frame::recv(ours.as_fd(), care, now) {
            let _ = codec::decode::<Value>(&message.payload, message.handles);
        } else {
            // What stayed in the queue.
            let _ = frame::recv(ours.as_fd(), Care::Fast, now);
        }
    }
    if socket::send(theirs.as_fd(), &[packet], &fds, false).is_err() {
        return;
    }
    let mut buffer = vec![0; usize::from(*most)];
    if let Ok(Some(Placed::Inside(size))) = frame::recv_into(ours.as_fd(), &mut buffer, now) {
        let _ = codec::decode::<Value>(&buffer[..size], Vec::new());
    }
}

/// Reads a pickle of the fuzzer's making. What it is of is written, and read again.
///
/// # Panics
///
/// Where the library is wrong.
#[cfg(all(fuzzing, feature = "pickle"))]
pub fn pickle(input: &[u8]) {
    let Ok(plain) = super::pickle::from_slice::<super::plain::Plain>(input) else { return };
    let again = super::pickle::to_vec(&plain).expect("what was read can be written");
    let read = super::pickle::from_slice::<super::plain::Plain>(&again);
    assert_eq!(read.expect("what was written can be read"), plain);
}

#[cfg(test)]
mod tests {
    use kinfolk_testkit::Numbers;

    use super::message;

    #[test]
    fn no_hostile_message_panics_or_leaks() {
        let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mut numbers = Numbers::new(0x6b69_6e66_6f6c_6b21);
        let mut input = Vec::new();
        let before = fds();
        for _ in 0..5000 {
            // Half of them begin as a message does.
            let size = numbers.place(64);
            input.clear();
            input.extend((0..size).map(|_| numbers.byte()));
            if size > 8 && numbers.place(2) == 0 {
                input[3] = u8::try_from(numbers.place(2)).unwrap();
                input[4] = 0;
                input[5] = (input[0] % 5).saturating_sub(input[3]);
                input[6] = 0;
            }
            message(&input);
        }
        // Other tests of this process come and go meanwhile.
        assert!(fds() < before + 500, "{} descriptors, {before} before", fds());
    }
}
