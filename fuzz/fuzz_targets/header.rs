//! libFuzzer's door to `heirloom_fuzz::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::header::run(data));
