//! Drops a tenth of what there is and puts it in again, so that every generation frees what it inherited.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use heirloom::AllocError;

use super::index::{Index, NewFile};
use super::objects::Objects;
use super::plan::ObjectsPlan;
use super::random::Random;
use super::walk_input::read_text;

/// The part that is churned: one in so many.
const ONE_IN: usize = 10;

/// Drops a tenth of the files, at least one, and reads them again. A file that is gone or no text any more stays out.
pub(crate) fn churn_index(index: &mut Index, random: &mut Random) -> Result<(), AllocError> {
    let alive: Vec<usize> = (0..index.files.len()).filter(|&row| index.files[row].is_alive == 1).collect();
    let picked = random.sample(alive.len().div_ceil(ONE_IN), alive.len());
    let rows: Vec<usize> = picked.into_iter().map(|at| alive[at]).collect();
    // The paths leave the heap with their rows.
    let paths: Vec<Vec<u8>> = rows.iter().map(|&row| index.files[row].path.to_vec()).collect();
    index.drop_files(&rows);
    for path in paths {
        if let Ok(Some(text)) = read_text(Path::new(OsStr::from_bytes(&path))) {
            index.add(NewFile { path: &path, bytes: &text.bytes, modified_ns: text.modified_ns })?;
        }
    }
    Ok(())
}

/// Drops a tenth of the objects, at least one, and makes as many new ones.
pub(crate) fn churn_objects(
    objects: &mut Objects,
    plan: ObjectsPlan,
    random: &mut Random,
) -> Result<(), AllocError> {
    let places = random.sample(objects.table.len().div_ceil(ONE_IN), objects.table.len());
    objects.replace(&places, plan, random)
}
