//! Compaction: the layers of an image become one base. It costs as much as the whole generation,
//! so it is for a thread that no reader and no staging waits for; readers of the old image go on.

use crate::error::WriteError;
use crate::image::Image;
use crate::place::Place;
use crate::writer::{LayerWriter, Target, image_of};
use downbeat_core::content::{DatasetSum, record_digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Records between two looks at whether to stop.
const LOOK_AFTER: u64 = 4_096;

/// A base is written anew once its overlays have more than one such part of its bytes. Deltas of
/// 1 % then cause it every twelfth time. A smaller part would keep files and lookups leaner and
/// cost more writing: about this many bytes for each byte that changes.
pub const COMPACT_AT: u64 = 8;

impl Image {
    /// Whether its overlays have grown so much that [`compact`] pays.
    pub fn wants_compaction(&self) -> bool {
        let (base, overlays) = self.bytes();
        overlays > base / COMPACT_AT
    }
}

/// Writes the same generation as a base. All sums are computed anew, and have to be those of the
/// image, so of the generation.
///
/// # Errors
/// The image is damaged, or the disk takes no more; the image is as it was, and nothing is left of
/// the new one.
pub fn compact(place: &Place, image: &Image) -> Result<Image, WriteError> {
    compact_unless(place, image, &AtomicBool::new(false))
}

/// As [`compact`], until another thread sets `stop`; it is looked at every few thousand records.
///
/// # Errors
/// [`WriteError::Stopped`], or as for [`compact`].
pub fn compact_unless(place: &Place, image: &Image, stop: &AtomicBool) -> Result<Image, WriteError> {
    let mut written = 0u64;
    let mut writer = LayerWriter::base(place, image.digest())?;
    for dataset in image.datasets() {
        let mut sum = DatasetSum::EMPTY;
        for record in dataset.iter() {
            let (key, value) = record?;
            sum.add(record_digest(dataset.name(), key, value));
            writer.push(dataset.name(), key, Some(value))?;
            if written.is_multiple_of(LOOK_AFTER) && stop.load(Ordering::Relaxed) {
                return Err(WriteError::Stopped);
            }
            written += 1;
        }
        if sum != dataset.sum() {
            return Err(WriteError::Disagrees(dataset.name().clone()));
        }
    }
    let manifest = image.manifest();
    let selection = image.selection().to_vec();
    let target = Target { digest: image.digest(), selection, manifest: &manifest, bytes: None };
    image_of(vec![Arc::new(writer.finish(target)?)])
}
