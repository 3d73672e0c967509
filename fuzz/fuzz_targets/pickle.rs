//! Pickles that a hostile peer may send.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| kinfolk::fuzzing::pickle(input));
