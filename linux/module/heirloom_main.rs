// SPDX-License-Identifier: GPL-2.0

//! Heirloom in Linux: slab objects that live through a kexec, over KHO.
//!
//! ```text
//!  other modules: heirloom.h, heirloom.rs
//!        |
//!  interface --> pool (who may touch it when) --> heirloom-slab --> host (blocks, reserve) --> linux --> shim.c --> KHO
//!        |       names (heirloom-abi's roots)
//!        '-----> handover (lay out, take over, refuse)      report (debugfs)
//! ```
//!
//! `heirloom-slab` and `heirloom-abi` are compiled unchanged, with the kernel's compiler, flags and `core`.

use kernel::prelude::*;

mod handover;
mod host;
mod interface;
mod linux;
mod names;
mod pool;
mod report;

module! {
    type: Module,
    name: "heirloom",
    authors: ["Heirloom's authors"],
    description: "Slab objects that live through a kexec, over KHO",
    license: "GPL",
    params: {
        cpus: u32 {
            default: 0,
            description: "CPU slots of a new pool; 0: one for each CPU",
        },
        blocks: u32 {
            default: 0,
            description: "Blocks of 256 KiB that a new pool may have; 0: half of the machine's memory, 2 GiB at most",
        },
    },
}

struct Module;

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let asked = (*module_parameters::cpus.value(), *module_parameters::blocks.value());
        if let Err(refused) = handover::start(asked.0, asked.1) {
            pr_err!("no pool: {}\n", core::format_args!("{refused}"));
            if matches!(refused, handover::Refused::Off) {
                return Err(ENODEV);
            }
            // The module stays: what was handed over lies untouched, and debugfs shows it.
        }
        if let Some(heirloom) = pool::current() {
            let (objects, blocks) = heirloom.inherited;
            pr_info!(
                "generation {}: {} objects in {} blocks inherited\n",
                heirloom.generation,
                objects,
                blocks
            );
        }
        linux::register().inspect_err(|_| take_down())?;
        Ok(Self)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        linux::unregister();
        take_down();
    }
}

/// No object lives, else the module would be pinned: everything goes back to Linux.
fn take_down() {
    let Some(heirloom) = pool::current() else { return };
    let is_empty = heirloom.take_down();
    let Some(heirloom) = pool::take_off() else { return };
    linux::remove_subtree(heirloom.blob.0);
    if is_empty {
        // SAFETY: listed nowhere any more, and no block refers to it.
        unsafe { linux::give_pages(heirloom.blob.0, heirloom.blob.1) };
    } else {
        pr_err!("objects are left; their blocks and the control area stay where they are\n");
    }
}
