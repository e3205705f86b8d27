//! A heap file as a store: what it holds outlives its owner by itself.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::points::{Point, point};
use super::{Channel, Found, Source, SourceError};
use crate::backing::place;

/// The file that the options name, and whose it may be beside this program's user's.
pub(super) struct HeapFile {
    pub(super) path: PathBuf,
    pub(super) trusted: Vec<u32>,
}

impl Source for HeapFile {
    fn channel(&self) -> Channel {
        Channel::File
    }

    fn find(&self, _name: &str) -> Result<Option<Found>, SourceError> {
        loop {
            if !holds_something(&self.path) {
                return Ok(None);
            }
            let heap = place::open(&self.path, false, Some(&self.trusted))?;
            point(Point::FinderOpened);
            // It was renamed, and has left its name to another one.
            if !place::lock(&self.path, &heap)? {
                continue;
            }
            point(Point::FinderFound);
            return Ok(Some(Found::Left { heap, luggage: Vec::new() }));
        }
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        crate::foreign::set_aside(&self.path).map_err(|error| io::Error::other(error.to_string()))
    }
}

/// False for no file, for one without a single page, and for one whose creator was killed before its header stood.
fn holds_something(path: &Path) -> bool {
    let has_pages = |metadata: std::fs::Metadata| metadata.len() > 0 && metadata.blocks() > 0;
    std::fs::metadata(path).is_ok_and(has_pages) && !place::is_unfinished(path)
}
