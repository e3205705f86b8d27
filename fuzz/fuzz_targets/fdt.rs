//! libFuzzer's door to `heirloom_fuzz::fdt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| heirloom_fuzz::fdt::run(data));
