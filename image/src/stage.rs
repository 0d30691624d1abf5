//! Staging a delta: what changed becomes an overlay above the image that it starts from, which
//! stays as it is. The work grows with the change, and with the overlays that are merged on the
//! way; never with the base.
//!
//! **Which overlays are merged.** The newer of two always; the older one too once what is being
//! written is so large that its square is at least twice the delta times the older overlay. Then a
//! delta is written again about as often as the root of the number of deltas between two
//! compactions: twice or thrice where each changes 1 %, about thirty times where each changes
//! 0.01 %, which is still little.

use crate::error::{Damaged, WriteError};
use crate::image::Image;
use crate::layer::Layer;
use crate::place::Place;
use crate::scan::Merge;
use crate::section::Entry;
use crate::writer::{LayerWriter, Target, image_of};
use downbeat_core::content::{DatasetSum, record_digest};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::object::ManifestEntry;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Applies a delta to an image. Dropped, it leaves nothing behind.
///
/// Input in order: [`Stager::push`] for each change, ascending by dataset and key;
/// [`Stager::finish`].
pub struct Stager<'a> {
    image: &'a Image,
    older: Older<'a>,
    /// The layers below the new one, newest first.
    kept: &'a [Arc<Layer>],
    /// Of each dataset, with the bytes of keys and values.
    sums: BTreeMap<Name, (DatasetSum, u64)>,
    writer: LayerWriter,
}

impl<'a> Stager<'a> {
    /// Begins with the image that the delta starts from, and about how many bytes the delta has.
    ///
    /// # Errors
    /// The disk takes nothing, or the image is damaged.
    pub fn new(place: &Place, image: &'a Image, delta_bytes: u64) -> Result<Stager<'a>, WriteError> {
        let layers = image.shared_layers();
        let (merged, kept) = layers.split_at(overlays_to_merge(layers, delta_bytes));
        let below = kept.first().ok_or(WriteError::Order)?;
        let writer = LayerWriter::overlay(place, below)?;
        let sums = image.datasets().map(|dataset| {
            let sums = (dataset.sum(), dataset.content_bytes());
            (dataset.name().clone(), sums)
        });
        let sums = sums.collect();
        Ok(Stager { image, older: Older::new(image, merged)?, kept, sums, writer })
    }

    /// Takes a change: a key's new value, or `None` where it is deleted. What changes nothing is
    /// left out.
    ///
    /// # Errors
    /// The image is damaged, the disk takes no more, or the change is out of order or over a limit.
    /// The stager is to be dropped.
    pub fn push(&mut self, dataset: &Name, key: &[u8], value: Option<&[u8]>) -> Result<(), WriteError> {
        let old = self.image.get(dataset.as_str(), key)?;
        if old == value {
            return Ok(());
        }
        // Summed up in place, not by the entry interface, which would clone the name each time.
        if !self.sums.contains_key(dataset) {
            self.sums.insert(dataset.clone(), (DatasetSum::EMPTY, 0));
        }
        if let Some((sum, bytes)) = self.sums.get_mut(dataset) {
            let len = |value: &[u8]| (key.len() + value.len()) as u64;
            if let Some(old) = old {
                sum.remove(record_digest(dataset, key, old));
                *bytes = bytes.saturating_sub(len(old));
            }
            if let Some(value) = value {
                sum.add(record_digest(dataset, key, value));
                *bytes = bytes.saturating_add(len(value));
            }
        }
        while let Some((name, entry)) = self.older.ahead
            && (name, entry.key) <= (dataset, key)
        {
            if (name, entry.key) < (dataset, key) {
                self.writer.push(name, entry.key, entry.value)?;
            }
            self.older.advance()?;
        }
        self.writer.push(dataset, key, value)
    }

    /// Bytes of the keys and values of what the delta leads to, as far as it was taken.
    pub fn content_bytes(&self) -> u64 {
        self.sums.values().fold(0, |all, (_, bytes)| all.saturating_add(*bytes))
    }

    /// Ends the delta: its result has the sums that the target's manifest lists for the selected
    /// datasets. The new image is synchronized with the disk, and open; the old one stays usable.
    ///
    /// # Errors
    /// [`WriteError::Disagrees`]: the result is not what everybody else has at that generation, so a
    /// snapshot is needed. Others as for [`Stager::push`]. Nothing is left of it.
    pub fn finish(mut self, digest: Digest, manifest: &[ManifestEntry]) -> Result<Image, WriteError> {
        self.sums.retain(|_, (sum, _)| !sum.is_empty());
        for entry in manifest {
            if self.sums.get(&entry.dataset).map(|(sum, _)| *sum) != Some(entry.sum) {
                return Err(WriteError::Disagrees(entry.dataset.clone()));
            }
        }
        let listed = |name: &Name| manifest.iter().any(|entry| entry.dataset == *name);
        if let Some(name) = self.sums.keys().find(|name| !listed(name)) {
            return Err(WriteError::Disagrees(name.clone()));
        }
        let bytes = self.sums.into_iter().map(|(name, (_, bytes))| (name, bytes)).collect();
        while let Some((name, entry)) = self.older.ahead {
            self.writer.push(name, entry.key, entry.value)?;
            self.older.advance()?;
        }
        let selection = self.image.selection().to_vec();
        let layer = self.writer.finish(Target { digest, selection, manifest, bytes: Some(bytes) })?;
        let layers = std::iter::once(Arc::new(layer)).chain(self.kept.iter().cloned());
        image_of(layers.collect())
    }
}

/// How many of the newest layers, none of them the base, are merged with a delta.
fn overlays_to_merge(layers: &[Arc<Layer>], delta_bytes: u64) -> usize {
    let overlays = layers.len().saturating_sub(1);
    let lens = layers.iter().take(overlays).map(|layer| layer.len() as u64);
    how_many(&lens.collect::<Vec<_>>(), delta_bytes)
}

/// As above, from the lengths of the overlays, newest first.
fn how_many(overlays: &[u64], delta_bytes: u64) -> usize {
    let delta = delta_bytes.max(1) as u128;
    let pays =
        |size: u128, older: u64| size.saturating_mul(size) >= (2 * delta).saturating_mul(older as u128);
    match *overlays {
        [] => 0,
        [only] => pays(delta, only) as usize,
        [newer, older] => 1 + pays(delta + newer as u128, older) as usize,
        // Longer chains aren't opened.
        _ => overlays.len(),
    }
}

/// The entries of the overlays that are merged, deletions too, ascending by dataset and key.
struct Older<'a> {
    datasets: std::vec::IntoIter<(&'a Name, Merge<'a>)>,
    current: Option<(&'a Name, Merge<'a>)>,
    ahead: Option<(&'a Name, Entry<'a>)>,
}

impl<'a> Older<'a> {
    fn new(image: &'a Image, merged: &[Arc<Layer>]) -> Result<Older<'a>, Damaged> {
        let is_merged = |layer: &Arc<Layer>| merged.iter().any(|other| Arc::ptr_eq(layer, other));
        let mut datasets = Vec::new();
        for dataset in image.all_datasets() {
            let sections = dataset.sections().filter(|section| is_merged(section.layer()));
            datasets.push((dataset.name(), Merge::new(sections, &[])?));
        }
        let mut older = Older { datasets: datasets.into_iter(), current: None, ahead: None };
        older.advance()?;
        Ok(older)
    }

    fn advance(&mut self) -> Result<(), Damaged> {
        loop {
            if let Some((name, merge)) = &mut self.current
                && let Some(entry) = merge.next()?
            {
                self.ahead = Some((*name, entry));
                return Ok(());
            }
            self.current = self.datasets.next();
            if self.current.is_none() {
                self.ahead = None;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::LAYERS_MAX;

    #[test]
    fn the_newer_of_two_overlays_is_merged_and_the_older_one_where_it_pays() {
        assert_eq!(how_many(&[], 10), 0);
        assert_eq!([how_many(&[5], 10), how_many(&[6], 10)], [1, 0]);
        assert_eq!([how_many(&[10, 20], 10), how_many(&[10, 21], 10)], [2, 1]);
        assert_eq!([how_many(&[90, 500], 10), how_many(&[80, 500], 10)], [2, 1]);
        assert_eq!(how_many(&[u64::MAX, u64::MAX], u64::MAX), 2);
    }

    /// What is written for so many deltas of 10 bytes, and how long the overlays are at most then.
    fn written(deltas: u64) -> (u64, usize) {
        let (mut overlays, mut written, mut longest): (Vec<u64>, _, _) = (Vec::new(), 0, 0);
        for _ in 0..deltas {
            let merged = how_many(&overlays, 10);
            let size = overlays.drain(..merged).sum::<u64>() + 10;
            overlays.insert(0, size);
            written += size;
            longest = longest.max(overlays.len());
        }
        assert_eq!(overlays.iter().sum::<u64>(), deltas * 10, "nothing is lost");
        (written, longest)
    }

    #[test]
    fn merging_costs_as_the_root_of_the_number_of_deltas() {
        for (deltas, times) in [(12, 3), (64, 7), (1_250, 33)] {
            let (written, longest) = written(deltas);
            assert!(written <= deltas * 10 * times, "{written} for {deltas} deltas");
            assert_eq!(longest, LAYERS_MAX - 1);
        }
    }
}
