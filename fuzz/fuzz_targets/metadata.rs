//! libFuzzer's door to `heirloom_fuzz::metadata`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::metadata::run(data));
