#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arkwalletd::fuzzing::vtxo_hex(bytes));
