//! libFuzzer's door to `heirloom_fuzz::pool`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::pool::run(data));
