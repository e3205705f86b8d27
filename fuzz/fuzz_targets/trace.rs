//! libFuzzer's door to `heirloom_fuzz::trace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::trace::run(data));
