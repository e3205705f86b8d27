use std::vec::Vec;

use super::*;

extern crate std;

/// A root with a property and a node in it; the structure has these tokens at these offsets:
///
/// ```text
/// 0 begin ""   8 property x = 1 2 3   24 begin "node"   36 end   40 end   44 end of the structure
/// ```
fn tree() -> Vec<u8> {
    let mut page = [0xff; 256];
    let mut writer = FdtWriter::new(&mut page, &["x", "long-name"]).unwrap();
    writer.begin_node("").unwrap();
    writer.property("x", &[1, 2, 3]).unwrap();
    writer.begin_node("node").unwrap();
    writer.end_node().unwrap();
    writer.end_node().unwrap();
    let size = writer.finish().unwrap();
    page[..size].to_vec()
}

/// Puts a cell into the tree and reads it.
fn with_cell(at: usize, value: u32) -> Result<(), FdtError> {
    let mut tree = tree();
    put_cell(&mut tree, at, value).unwrap();
    Fdt::read(&tree).map(|_| ())
}

const STRUCTURE: usize = STRUCTURE_OFFSET;

#[test]
fn tokens_come_back_as_written() {
    let tree = tree();
    let fdt = Fdt::read(&tree).unwrap();
    assert_eq!(fdt.size(), tree.len());
    let tokens = [
        Token::BeginNode { name: "" },
        Token::Property { name: "x", value: &[1, 2, 3] },
        Token::BeginNode { name: "node" },
        Token::EndNode,
        Token::EndNode,
    ];
    assert!(fdt.tokens().eq(tokens));
}

#[test]
fn a_foreign_header_is_refused() {
    assert_eq!(with_cell(header::MAGIC, 0), Err(FdtError::Magic { found: 0 }));
    let (version, last_compatible) = (16, 16);
    assert_eq!(with_cell(header::VERSION, 16), Err(FdtError::Version { version, last_compatible }));
    let (version, last_compatible) = (17, 18);
    let newer = with_cell(header::LAST_COMPATIBLE_VERSION, 18);
    assert_eq!(newer, Err(FdtError::Version { version, last_compatible }));
    assert_eq!(Fdt::read(&[]).map(|_| ()), Err(FdtError::Truncated { needed: 40, found: 0 }));
}

#[test]
fn blocks_lie_in_order_inside_the_tree() {
    for (at, block) in [
        (header::STRUCTURE_OFFSET, "structure"),
        (header::STRINGS_OFFSET, "strings"),
        (header::RESERVATIONS_OFFSET, "memory reservations"),
        (header::STRUCTURE_SIZE, "structure"),
        (header::STRINGS_SIZE, "strings"),
    ] {
        for value in [u32::MAX, 0x8000_0000, 1000] {
            let refused = with_cell(at, value);
            assert!(
                matches!(refused, Err(FdtError::Block { block: found, .. }) if found == block),
                "{refused:?}"
            );
        }
    }
    for at in [header::STRUCTURE_OFFSET, header::STRINGS_OFFSET, header::RESERVATIONS_OFFSET] {
        for value in [0, 36, 57] {
            assert!(matches!(with_cell(at, value), Err(FdtError::Block { .. })), "{value} at {at}");
        }
    }
    let found = tree().len();
    let needed = u32::MAX as usize;
    assert_eq!(with_cell(header::TOTAL_SIZE, u32::MAX), Err(FdtError::Truncated { needed, found }));
}

#[test]
fn tokens_out_of_place_are_refused() {
    for (at, token) in
        [(0, tag::PROPERTY), (0, tag::END_NODE), (0, tag::END), (8, 7), (8, tag::END), (40, tag::END)]
    {
        let token_at = FdtError::Token { at, token };
        assert_eq!(with_cell(STRUCTURE + at, token), Err(token_at), "token {token} at {at}");
    }
    // The root's end gone, a second root, and no end of the structure.
    assert!(with_cell(STRUCTURE + 40, tag::NOP).is_err());
    assert!(with_cell(STRUCTURE + 44, tag::BEGIN_NODE).is_err());
    assert!(with_cell(STRUCTURE + 44, tag::NOP).is_err());
}

#[test]
fn values_and_names_end_inside_their_blocks() {
    for size in [u32::MAX, 0x8000_0000, 1000, 37] {
        assert!(with_cell(STRUCTURE + 12, size).is_err(), "a value of {size} bytes");
    }
    for name in [u32::MAX, 12, 11, 1] {
        assert_eq!(
            with_cell(STRUCTURE + 16, name),
            Err(FdtError::Name { at: name as usize }),
            "name at {name}"
        );
    }
    // The tail of a longer name is a name too.
    assert_eq!(with_cell(STRUCTURE + 16, 7), Ok(()));
    assert_eq!(with_cell(STRUCTURE + 28, 0x6e00_6f64), Err(FdtError::Token { at: 32, token: 0 }));
    assert_eq!(with_cell(STRUCTURE + 28, 0x6e07_6f64), Err(FdtError::Name { at: 28 }));
    assert_eq!(with_cell(STRUCTURE + 28, 0), Err(FdtError::Name { at: 28 }));
}

#[test]
fn depth_has_a_limit_in_both_directions() {
    let mut page = [0; 256];
    let mut writer = FdtWriter::new(&mut page, &[]).unwrap();
    writer.begin_node("").unwrap();
    for _ in 1..MAX_DEPTH {
        writer.begin_node("n").unwrap();
    }
    assert_eq!(writer.begin_node("n"), Err(FdtError::Depth));

    // By hand: as deep as may be, and one deeper.
    for depth in [MAX_DEPTH, MAX_DEPTH + 1] {
        let mut tree = tree()[..STRUCTURE].to_vec();
        let cells = |token: &[u8], count: u32| token.repeat(count as usize);
        tree.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        tree.extend(cells(&[0, 0, 0, 1, b'n', 0, 0, 0], depth - 1));
        tree.extend(cells(&[0, 0, 0, 2], depth));
        tree.extend([0, 0, 0, 9]);
        let size = u32::try_from(tree.len()).unwrap();
        let structure_size = size - u32::try_from(STRUCTURE).unwrap();
        for (at, value) in [
            (header::TOTAL_SIZE, size),
            (header::STRINGS_OFFSET, size),
            (header::STRINGS_SIZE, 0),
            (header::STRUCTURE_SIZE, structure_size),
        ] {
            put_cell(&mut tree, at, value).unwrap();
        }
        let expected = if depth > MAX_DEPTH { Err(FdtError::Depth) } else { Ok(()) };
        assert_eq!(Fdt::read(&tree).map(|_| ()), expected);
    }
}

#[test]
fn a_tree_that_lacks_a_piece_is_never_finished() {
    type Attempt = fn(&mut FdtWriter<'_, '_>) -> Result<(), FdtError>;
    let attempts: [Attempt; 5] = [
        |writer| writer.property("x", &[0; 300]),
        |writer| writer.property("y", &[]),
        |writer| writer.begin_node("two words"),
        |writer| writer.begin_node(""),
        |writer| writer.end_node().and_then(|()| writer.begin_node("second-root")),
    ];
    for attempt in attempts {
        let mut page = [0xff; 256];
        let mut writer = FdtWriter::new(&mut page, &["x"]).unwrap();
        writer.begin_node("").unwrap();
        let failed = attempt(&mut writer).unwrap_err();
        assert_eq!(writer.end_node(), Err(failed));
        assert_eq!(writer.finish(), Err(failed));
        assert_eq!(Fdt::read(&page).map(|_| ()), Err(FdtError::Magic { found: 0 }));
    }
    let mut page = [0xff; 256];
    let mut writer = FdtWriter::new(&mut page, &["x"]).unwrap();
    writer.begin_node("").unwrap();
    assert_eq!(writer.finish(), Err(FdtError::Misuse));
    assert!(Fdt::read(&page).is_err());
}
