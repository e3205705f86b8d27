//! The picture of the boot order in ARCHITECTURE.md is the one beside the code.

#[test]
fn the_boot_order_in_architecture_md_is_that_of_the_code() {
    let code = include_str!("../src/machine/boot.rs");
    let map = include_str!("../../../ARCHITECTURE.md");
    let start = code.find("    /// ```text\n").expect("a picture in the docs of `boot`");
    let lines = code[start..].lines().skip(1).take_while(|line| line.trim() != "/// ```");
    let picture: Vec<&str> = lines.map(|line| line.trim_start().trim_start_matches("/// ")).collect();
    assert!(picture.len() > 10 && picture[0].contains("memblock"), "{picture:?}");
    assert!(
        map.contains(&picture.join("\n")),
        "ARCHITECTURE.md shows another order:\n{}",
        picture.join("\n")
    );
}
