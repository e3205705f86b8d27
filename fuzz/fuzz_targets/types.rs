//! libFuzzer's door to `heirloom_fuzz::types`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::types::run(data));
