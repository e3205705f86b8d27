use super::*;

extern crate std;
use std::vec::Vec;

/// Lays fields out one after the other, as all of these records do.
fn record(fields: &[&[u8]]) -> Vec<u8> {
    fields.concat()
}

fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn vmalloc(first: u64, total_pages: u32, flags: u16, order: u16) -> Vec<u8> {
    record(&[&first.to_le_bytes(), &total_pages.to_le_bytes(), &flags.to_le_bytes(), &order.to_le_bytes()])
}

#[test]
fn kexec_metadata_is_packed() {
    let bytes = record(&[&1u32.to_le_bytes(), &text::<65>("7.2.13"), &3u32.to_le_bytes()]);
    assert_eq!(bytes.len(), 73);
    let metadata = KexecMetadata::read(&bytes).unwrap();
    assert_eq!((metadata.previous_release.as_bytes(), metadata.kexec_count), (&b"7.2.13"[..], 3));

    let record = "kexec-metadata";
    assert_eq!(
        KexecMetadata::read(&bytes[..72]),
        Err(MetadataError::Truncated { record, needed: 73, found: 72 })
    );
    let version_2 = KexecMetadata::read(&2u32.to_le_bytes());
    assert_eq!(version_2, Err(MetadataError::Version { record, found: 2, known: 1 }));
    let endless = [&bytes[..4], &[b'x'; 65], &bytes[69..]].concat();
    let field = "previous_release";
    assert_eq!(KexecMetadata::read(&endless), Err(MetadataError::Text { record, field }));
}

#[test]
fn vmalloc_counts_its_chunks() {
    let area = Vmalloc::read(&vmalloc(0x5000, 512, 1, 0)).unwrap();
    assert_eq!((area.nr_frames(), area.nr_chunks()), (512, 2));
    let area = Vmalloc::read(&vmalloc(0x5000, 1024, 3, 9)).unwrap();
    assert_eq!((area.nr_frames(), area.nr_chunks()), (2, 1));
}

#[test]
fn vmalloc_that_cannot_be_is_refused() {
    let wrong = [
        ("first", vmalloc(0x5008, 512, 1, 0)),
        ("first", vmalloc(0, 512, 1, 0)),
        ("total_pages", vmalloc(0x5000, 0, 1, 0)),
        ("total_pages", vmalloc(0x5000, 513, 1, 9)),
        ("flags", vmalloc(0x5000, 512, 4, 0)),
        ("order", vmalloc(0x5000, 512, 1, 32)),
        ("order", vmalloc(0x5000, 512, 1, 0xffff)),
    ];
    for (expected, bytes) in wrong {
        let refused = Vmalloc::read(&bytes);
        assert!(
            matches!(refused, Err(MetadataError::Field { field, .. }) if field == expected),
            "{refused:?}"
        );
    }
}

#[test]
fn a_chunk_lists_frames_up_to_the_first_zero() {
    let mut page = [0u8; 4096];
    for (index, phys) in [0x9000u64, 0x1000, 0x2000].into_iter().enumerate() {
        page[index * 8..][..8].copy_from_slice(&phys.to_le_bytes());
    }
    let chunk = VmallocChunk::read(&page).unwrap();
    assert_eq!(chunk.next(), 0x9000);
    assert!(chunk.frames().eq([0x1000, 0x2000]));

    page[4 * 8..][..8].copy_from_slice(&0x3000u64.to_le_bytes());
    assert!(matches!(VmallocChunk::read(&page), Err(MetadataError::Field { value: 0x3000, .. })));
}

#[test]
fn a_block_holds_sessions_and_no_more_than_fit() {
    let session = record(&[&text::<64>("vm-7"), &0x8000u64.to_le_bytes(), &2u64.to_le_bytes()]);
    let block = |count: u64| {
        let mut page = record(&[&0x4000u64.to_le_bytes(), &count.to_le_bytes()]);
        page.extend(session.iter().cycle().take(4096 - 16));
        page
    };
    let page = block(51);
    let read = Block::read(&page, Session::ENTRY_BYTES).unwrap();
    assert_eq!((read.next(), read.entries().len()), (0x4000, 51));
    for entry in read.entries() {
        let session = Session::read(entry).unwrap();
        assert_eq!((session.name.as_bytes(), session.files, session.nr_files), (&b"vm-7"[..], 0x8000, 2));
    }
    for count in [52, u64::MAX, u64::MAX / 80 + 1] {
        let refused = Block::read(&block(count), Session::ENTRY_BYTES).unwrap_err();
        assert_eq!(refused, MetadataError::Field { record: "block", field: "count", value: count });
    }
    assert!(Block::read(&page, 0).is_err());
}

#[test]
fn luo_of_another_version_is_refused() {
    let luo = |compatible| {
        record(&[&text::<8>(compatible), &1u64.to_le_bytes(), &0x6000u64.to_le_bytes(), &0u64.to_le_bytes()])
    };
    assert_eq!(Luo::read(&luo("luo-v5")), Ok(Luo { liveupdate_num: 1, sessions: 0x6000, flbs: 0 }));
    let refused = Luo::read(&luo("luo-v4"));
    assert_eq!(refused, Err(MetadataError::Compatible { record: "luo", known: "luo-v5" }));
}

#[test]
fn a_file_names_its_format_and_token() {
    let file = record(&[&text::<48>("memfd-v2"), &0x7000u64.to_le_bytes(), &42u64.to_le_bytes()]);
    let file = SessionFile::read(&file).unwrap();
    assert_eq!(file.compatible.as_bytes(), Memfd::COMPATIBLE.as_bytes());
    assert_eq!((file.data, file.token), (0x7000, 42));
}

#[test]
fn a_memfd_has_a_table_for_its_folios() {
    let memfd = |flags: u32, nr_folios: u64, folios: Vec<u8>| {
        let fixed =
            [&5u64.to_le_bytes()[..], &8192u64.to_le_bytes(), &0u32.to_le_bytes(), &flags.to_le_bytes()];
        [&fixed.concat()[..], &nr_folios.to_le_bytes(), &folios].concat()
    };
    let read = Memfd::read(&memfd(0, 256, vmalloc(0x5000, 1, 1, 0))).unwrap();
    assert_eq!((read.position, read.size_bytes, read.nr_folios), (5, 8192, 256));
    assert_eq!(read.folios.map(|folios| folios.first), Some(0x5000));
    assert_eq!(Memfd::read(&memfd(0, 0, [0; 16].to_vec())).unwrap().folios, None);
    assert!(Memfd::read(&memfd(0, 257, vmalloc(0x5000, 1, 1, 0))).is_err());
    assert!(Memfd::read(&memfd(1, 256, vmalloc(0x5000, 1, 1, 0))).is_err());
}

#[test]
fn a_folio_is_a_frame_number_below_its_flags() {
    let entry = |word: u64| record(&[&word.to_le_bytes(), &7u64.to_le_bytes()]);
    let folio = FolioEntry::read(&entry(3 << 52 | 0x12_3456)).unwrap();
    assert_eq!(folio, FolioEntry { pfn: 0x12_3456, flags: 3, index: 7 });
    assert!(FolioEntry::read(&entry(4 << 52)).is_err());
}
