//! The flattened device tree and the root of Kexec Handover in it.

use heirloom_abi::kho::fdt::{Fdt, FdtError, FdtWriter, MAX_DEPTH, Token};
use heirloom_abi::kho::root::{RootFdt, Subnode};

/// Reads `data` as a tree. What is accepted is well formed, and says the same when it is written anew.
pub fn run(data: &[u8]) {
    if let Ok(fdt) = Fdt::read(data) {
        assert!(fdt.size() <= data.len());
        let (mut depth, mut nr_roots) = (0, 0);
        for token in fdt.tokens() {
            match token {
                Token::BeginNode { name } => {
                    nr_roots += u32::from(depth == 0);
                    assert!(name.is_ascii() && name.is_empty() <= (depth == 0));
                    depth += 1;
                }
                Token::Property { name, value } => {
                    assert!(depth > 0 && !name.is_empty() && value.len() <= data.len())
                }
                Token::EndNode => depth -= 1,
            }
            assert!(depth <= MAX_DEPTH);
        }
        assert_eq!((depth, nr_roots), (0, 1), "an accepted tree has one root, and it ends");
    }
    if let Ok(root) = RootFdt::read(data) {
        let subnodes: Vec<_> = root.subnodes().collect();
        for node in &subnodes {
            assert_eq!(root.subnode(node.name), Some(*node));
        }
        let mut page = [0xff; 4096];
        match RootFdt::write(&mut page, root.map(), &subnodes) {
            Ok(size) => {
                let again = RootFdt::read(&page[..size]).expect("our own tree");
                assert_eq!(again.map(), root.map());
                assert!(again.subnodes().eq(subnodes));
            }
            // A foreign tree may be packed closer: names of properties may share their tails.
            Err(FdtError::Full { .. }) => assert!(RootFdt::read(&page).is_err()),
            Err(error) => panic!("what was read cannot be written: {error}"),
        }
    }
}

/// Root trees with no, two and as many subsystems as fit, and a tree that is deep.
pub fn seeds() -> Vec<Vec<u8>> {
    let names: Vec<String> = (0..100).map(|index| format!("subsystem-{index}")).collect();
    let subnodes: Vec<_> =
        names.iter().map(|name| Subnode { name, data: 0x1_2345_6000, size_bytes: 4096 }).collect();
    let mut seeds = Vec::new();
    let most = (0..100).rev().find(|&most| RootFdt::write(&mut [0; 4096], 0, &subnodes[..most]).is_ok());
    for nr_subnodes in [0, 2, most.unwrap_or(0)] {
        let mut page = vec![0; 4096];
        let size = RootFdt::write(&mut page, 0x7000, &subnodes[..nr_subnodes]).expect("a page has room");
        seeds.push(page.clone());
        page.truncate(size);
        seeds.push(page);
    }
    let mut page = vec![0; 1024];
    let mut writer = FdtWriter::new(&mut page, &["compatible", "x"]).expect("a page has room");
    for depth in 0..MAX_DEPTH {
        writer.begin_node(if depth == 0 { "" } else { "node" }).expect("a page has room");
        writer.property("x", &[1, 2, 3]).expect("a page has room");
    }
    for _ in 0..MAX_DEPTH {
        writer.end_node().expect("a page has room");
    }
    let size = writer.finish().expect("a complete tree");
    page.truncate(size);
    seeds.push(page);
    seeds
}
