//! The handover under way: map, tree and list of scratch areas, and the audit over all of it.

use core::ops::ControlFlow;

use heirloom_abi::kho::radix::{MapError, MarkError, RadixMap};

use super::nodes::OwnNodes;
use super::subtree::{SubtreeError, Subtrees};
use crate::buddy::{BlockType, Owner, Request};
use crate::ground::{Ground, UnsafeGround, What};
use crate::phys::{PAGE_BYTES, PAGE_SHIFT};
use crate::platform::{Handover, Platform};

/// What goes to the successor.
pub(crate) struct Outgoing {
    pub(super) map: RadixMap,
    pub(super) subtrees: Subtrees,
    pub(super) fdt: u64,
    fdt_size: u64,
    list: u64,
    list_size: u64,
    /// Pages in marked frames.
    pub(super) nr_preserved: u64,
}

/// Something about the handover is not as it must be; or its first pages cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// A part of it lies where the successor writes first.
    #[error(transparent)]
    UnsafeGround(#[from] UnsafeGround),
    /// The map itself is broken.
    #[error(transparent)]
    Map(#[from] MapError),
    /// No page is left for it.
    #[error("no page is left for the handover")]
    OutOfPages,
    /// The page records and the map disagree.
    #[error("{marked} pages are marked in the map, {recorded} are counted as preserved")]
    Count {
        /// Pages in the map's frames.
        marked: u64,
        /// What the count, or the records of pages, say.
        recorded: u64,
    },
    /// The tree cannot be written.
    #[error(transparent)]
    Tree(#[from] SubtreeError),
}

/// Sums over the handover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoverTally {
    /// Pages that are marked to survive.
    pub preserved_pages: u64,
    /// Frames that they are marked as.
    pub preserved_frames: u64,
    /// Pages of the map, the tree and the list of scratch areas.
    pub metadata_pages: u64,
    /// Those of them in scratch or in the guard pool.
    pub metadata_in_scratch: u64,
}

impl Outgoing {
    /// Begins the handover with a map whose root is at `root` (an all-zero page), or on a page of its own.
    pub(crate) fn begin<P: Platform>(ground: &Ground<'_, P>, root: Option<u64>) -> Result<Self, AuditError> {
        let mut buddy = ground.buddy.borrow_mut();
        let mut page = |what| {
            let request = Request { order: 0, kind: BlockType::Kernel, node: None, urgent: false };
            let page = buddy.alloc(request).ok_or(AuditError::OutOfPages)?;
            ground.check_safe(what, &(page..page + PAGE_BYTES))?;
            buddy.set_owner(page, Owner::Handover);
            ground.map.zero(page, PAGE_BYTES);
            Ok::<u64, AuditError>(page)
        };
        let root = match root {
            Some(root) => {
                ground.check_safe(What::MapRoot, &(root..root + PAGE_BYTES))?;
                root
            }
            None => page(What::MapRoot)?,
        };
        let (fdt, list) = (page(What::Tree)?, page(What::ScratchList)?);
        let list_size = ground.scratch.write_list(ground.map, list);
        let map = RadixMap::at(root);
        let subtrees = Subtrees::new();
        let fdt_size = subtrees.write(ground.map, fdt, root)?;
        Ok(Self { map, subtrees, fdt, fdt_size, list, list_size, nr_preserved: 0 })
    }

    /// What the successor is told.
    pub(crate) fn handover(&self) -> Handover {
        let Self { fdt, fdt_size, list, list_size, .. } = *self;
        Handover { fdt, fdt_size, scratch: list, scratch_size: list_size }
    }

    pub(crate) fn nr_preserved(&self) -> u64 {
        self.nr_preserved
    }

    pub(crate) fn subtrees(&self) -> &Subtrees {
        &self.subtrees
    }

    /// Lists a blob, which the caller has found preserved.
    pub(crate) fn add_subtree<P: Platform>(
        &mut self,
        ground: &Ground<'_, P>,
        entry: (&str, u64, u64),
    ) -> Result<(), SubtreeError> {
        self.fdt_size = self.subtrees.add(ground.map, self.fdt, self.map.root(), entry)?;
        Ok(())
    }

    pub(crate) fn remove_subtree<P: Platform>(
        &mut self,
        ground: &Ground<'_, P>,
        name: &str,
    ) -> Result<(), SubtreeError> {
        self.fdt_size = self.subtrees.remove(ground.map, self.fdt, self.map.root(), name)?;
        Ok(())
    }

    /// Walks all of it: each node, each frame, the tree and the list on safe ground; the records of pages agree with the map.
    ///
    /// `refuse` is asked about each thing on unsafe ground, and may let it pass.
    pub(crate) fn audit<P: Platform>(
        &self,
        ground: &Ground<'_, P>,
        mut refuse: impl FnMut(UnsafeGround) -> bool,
    ) -> Result<HandoverTally, AuditError> {
        let mut buddy = ground.buddy.borrow_mut();
        let nodes = OwnNodes::new(ground, &mut buddy);
        let mut tally = HandoverTally::default();
        let mut wrong = None;
        let mut judge = |what, range| match ground.judge_safe(what, &range) {
            Ok(()) => 0,
            Err(error) => {
                if refuse(error) {
                    wrong.get_or_insert(error);
                }
                1
            }
        };
        for (what, page) in [(What::Tree, self.fdt), (What::ScratchList, self.list)] {
            tally.metadata_pages += 1;
            tally.metadata_in_scratch += judge(what, page..page + PAGE_BYTES);
        }
        let root = self.map.root();
        self.map.walk_nodes(&nodes, |node| {
            let what = if node == root { What::MapRoot } else { What::MapNode };
            tally.metadata_pages += 1;
            tally.metadata_in_scratch += judge(what, node..node + PAGE_BYTES);
        })?;
        let mut unrecorded = 0;
        let _ = self.map.walk(&nodes, |frame| -> ControlFlow<()> {
            judge(What::Pages, frame.phys()..frame.end());
            let pfns = frame.phys() >> PAGE_SHIFT..frame.end() >> PAGE_SHIFT;
            tally.preserved_frames += 1;
            tally.preserved_pages += pfns.end - pfns.start;
            let zone = nodes.buddy.zone(pfns.start).filter(|zone| pfns.end <= zone.pfns().end);
            if zone.is_none_or(|zone| zone.find_preserved(pfns.clone(), false).is_some()) {
                unrecorded += 1;
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        let marked = tally.preserved_pages;
        if marked != self.nr_preserved || unrecorded != 0 {
            return Err(AuditError::Count { marked, recorded: self.nr_preserved });
        }
        let recorded: u64 = nodes.buddy.zones().map(|zone| zone.count_preserved()).sum();
        if recorded != marked {
            return Err(AuditError::Count { marked, recorded });
        }
        Ok(tally)
    }
}

impl From<MarkError> for AuditError {
    fn from(error: MarkError) -> Self {
        match error {
            MarkError::Map(error) => Self::Map(error),
            _ => Self::OutOfPages,
        }
    }
}
