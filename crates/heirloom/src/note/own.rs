//! The notes of the program that runs, where they lie in its memory.
//!
//! ```text
//! dl_iterate_phdr --first object--> program headers --PT_NOTE--> base + p_vaddr, p_memsz bytes
//! ```
//!
//! The loader maps them with the program, read only, for as long as it runs. The first object that is named is the program itself;
//! libraries, which may link heirloom on their own account, come after it.
#![expect(unsafe_code, reason = "reads what the loader has mapped")]

use std::ffi::{c_int, c_void};

use super::MAX_NOTES_BYTES;

/// Finds the segments that our notes may stand in; none where the program has none, or is loaded in a way of its own.
pub(super) fn find_notes() -> Vec<&'static [u8]> {
    let mut found: Vec<&'static [u8]> = Vec::new();
    // SAFETY: the callback takes what it is given here, and is not called once this returns.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found
}

/// # Safety
///
/// - `info` is what `dl_iterate_phdr` passes: the program's headers, as they are loaded.
/// - `found` is a vector that nobody else uses meanwhile.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _bytes: usize, found: *mut c_void) -> c_int {
    // SAFETY: by the contract above.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<&'static [u8]>>()) };
    if !info.dlpi_phdr.is_null() {
        // SAFETY: the loader says that so many headers lie there, and they stay as long as the program.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        for header in headers {
            // Notes that are aligned to 8 bytes are padded otherwise, and never ours.
            let is_ours = header.p_type == libc::PT_NOTE && header.p_align <= 4;
            if is_ours && header.p_memsz > 0 && header.p_memsz <= MAX_NOTES_BYTES {
                let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                let start = std::ptr::with_exposed_provenance(start);
                // SAFETY: a loaded segment of the program itself, which is never unloaded, and nobody writes to notes.
                found.push(unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) });
            }
        }
    }
    // Anything but 0 ends the walk: what comes next are libraries.
    1
}

#[cfg(test)]
mod tests {
    use super::super::{collect_notes, read_candidate};
    use super::*;

    #[test]
    fn memory_says_what_the_file_says() {
        super::super::format_note();
        let loaded = collect_notes(find_notes()).unwrap();
        let file = read_candidate(std::path::Path::new("/proc/self/exe")).unwrap();
        assert_eq!((loaded.format(), &loaded.roots), (file.format(), &file.roots));
    }
}
