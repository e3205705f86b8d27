//! libFuzzer's door to `heirloom_fuzz::radix`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::radix::run(data));
