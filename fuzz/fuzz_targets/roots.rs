//! libFuzzer's door to `heirloom_fuzz::roots`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::roots::run(data));
