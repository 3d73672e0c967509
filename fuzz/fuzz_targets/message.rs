//! What a hostile peer may send over a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| kinfolk::fuzzing::message(input));
