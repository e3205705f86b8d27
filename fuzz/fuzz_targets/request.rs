//! libFuzzer's door to `heirloom_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::request::run(data));
