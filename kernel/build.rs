//! Tells the linker to make a kernel of the program, and of nothing else: the library's tests run on the host.

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let manifest_dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder");
    for arg in [
        // The compiler thinks that it makes a program for the host: these take back what such a program needs.
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        &format!("-Wl,--script={manifest_dir}/kernel.ld"),
        "-Wl,--build-id=none",
        "-Wl,--gc-sections",
        // Segments are placed by the script, at multiples of one page.
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,norelro",
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo::rustc-link-arg-bins={arg}");
    }
}
