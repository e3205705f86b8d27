//! libFuzzer's door to `heirloom_fuzz::machine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::machine::run(data));
