#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| agent::fuzz::run("connections", input));
