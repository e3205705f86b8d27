//! libFuzzer's door to `heirloom_fuzz::note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::note::run(data));
