//! The records that Linux hangs below the root of Kexec Handover.

use heirloom_abi::kho::metadata::{
    Block, FolioEntry, KexecMetadata, Luo, Memfd, Session, SessionFile, Vmalloc, VmallocChunk,
};

/// Reads `data` as each of the records; what is accepted can be iterated over.
pub fn run(data: &[u8]) {
    let _ = KexecMetadata::read(data).map(|metadata| metadata.previous_release.to_string());
    let _ = Luo::read(data);
    let _ = FolioEntry::read(data);
    if let Ok(area) = Vmalloc::read(data) {
        assert!(area.nr_frames() > 0 && area.nr_chunks() > 0);
        assert_eq!(area.nr_frames() << area.order.get(), area.total_pages);
    }
    if let Ok(chunk) = VmallocChunk::read(data) {
        assert!(chunk.frames().all(|phys| phys != 0 && phys % 4096 == 0));
    }
    if let Ok(memfd) = Memfd::read(data) {
        assert_eq!(memfd.folios.is_some(), memfd.nr_folios != 0);
    }
    for entry_bytes in [Session::ENTRY_BYTES, SessionFile::ENTRY_BYTES, 1, 0] {
        let Ok(block) = Block::read(data, entry_bytes) else { continue };
        for entry in block.entries() {
            assert_eq!(entry.len(), entry_bytes);
            let _ = Session::read(entry);
            let _ = SessionFile::read(entry);
        }
    }
}

/// One record of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str, size: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(size, 0);
        bytes
    };
    let number = |number: u64| number.to_le_bytes().to_vec();
    let page = |words: &[u64]| text_page(words.iter().flat_map(|word| word.to_le_bytes()).collect());
    let session = [text("vm-7", 64), number(0x8000), number(2)].concat();
    let file = [text("memfd-v2", 48), number(0x7000), number(42)].concat();
    // 512 pages, flag ALLOC, order 0.
    let vmalloc = [number(0x5000), number(1 << 32 | 512)].concat();
    vec![
        [vec![1, 0, 0, 0], text("7.2.13", 65), vec![3, 0, 0, 0]].concat(),
        [text("luo-v5", 8), number(1), number(0x6000), number(0)].concat(),
        text_page([number(0x4000), number(3), session.repeat(3)].concat()),
        text_page([number(0), number(2), file.repeat(2)].concat()),
        page(&[0x9000, 0x1000, 0x2000]),
        [number(5), number(8192), number(0), number(2), vmalloc.clone()].concat(),
        vmalloc,
        [number(3 << 52 | 0x1234), number(7)].concat(),
    ]
}

fn text_page(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(4096, 0);
    bytes
}
