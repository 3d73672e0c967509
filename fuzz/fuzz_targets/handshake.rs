//! What a hostile peer may say before it has proved anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| kinfolk::handshakes::handshake(input));
