//! Linux's Kexec Handover formats: what one kernel leaves for the next, and the outer form of every heap here.
//!
//! ```text
//! root FDT (one page)                    radix tree of preserved memory            records of the subsystems
//! +------------------------------+       +------+    +------+        +------+
//! | compatible = "kho-v4"        |       | root |--> | node |-- .. ->| leaf | bit = frame
//! | preserved-memory-map --------|-----> +------+    +------+        +------+
//! | heirloom-slab {              |
//! |   preserved-data ------------|-----------------------------------------------> pool record
//! |   blob-size                  |
//! | }                            |
//! +------------------------------+
//! ```
//!
//! [`root`] is the page on the left, [`fdt`] the container it is written in, [`radix`] the tree, [`metadata`] the records
//! that Linux itself hangs below the root. "Physical address" is a file offset where the heap of a process is concerned.
//!
//! The formats are those of Linux 7.2, written from their description in the
//! [Kexec Handover ABI](https://docs.kernel.org/core-api/kho/abi.html), not from Linux's code. Linux writes the numbers of
//! its records in the machine's own byte order and supports Kexec Handover on little-endian machines only (x86-64 and
//! arm64, 4 KiB pages here), so all of them are little-endian; the FDT's own structure is big-endian, as its specification demands.

pub mod fdt;
pub mod metadata;
pub mod radix;
pub mod root;
