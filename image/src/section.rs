//! One dataset in one layer: a lookup by the hash index, and a walk over its entries in order.

use crate::error::Damaged;
use crate::format::{DELETED, ENTRY_HEAD, LINE, LINE_BYTES, filter_mask, home, offset_in, tagged};
use crate::layer::Layer;
use crate::tail::Part;
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use std::sync::Arc;

/// A dataset's entries in a layer; it has at least one.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    layer: Arc<Layer>,
    part: Part,
    filter_at: usize,
}

/// An entry: a record, or the mark that the layers below have one that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    /// `None`: the key is deleted.
    pub(crate) value: Option<&'a [u8]>,
}

impl Section {
    pub(crate) fn new(layer: Arc<Layer>, part: Part) -> Section {
        Section { layer, part, filter_at: part.filter_at() }
    }

    pub(crate) fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }

    /// What the layer has of a key: nothing, a value, or (`Some(None)`) that it is deleted.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Result<Option<Option<&[u8]>>, Damaged> {
        if self.part.filter_words > 0 {
            let word =
                self.layer.read_u64(self.filter_at + 8 * home(hash, self.part.filter_words) as usize)?;
            if word & filter_mask(hash) != filter_mask(hash) {
                return Ok(None);
            }
        }
        for number in home(hash, self.part.homes) as usize..self.part.lines {
            let line = self.layer.read_line(self.part.lines_at + number * LINE_BYTES)?;
            for slot in tagged(line, hash) {
                if let Some(offset) = offset_in(line, slot)
                    && let Some(value) = self.value_if(offset as usize, key)?
                {
                    return Ok(Some(value));
                }
            }
            // A line is filled from its front.
            if offset_in(line, LINE as usize - 1).is_none() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The value of the entry at an offset, if it is the key's: as `entry`, and shorter.
    #[inline]
    fn value_if(&self, offset: usize, key: &[u8]) -> Result<Option<Option<&[u8]>>, Damaged> {
        let at = self.part.records_at.saturating_add(offset);
        let head = self.layer.read(at, ENTRY_HEAD)?;
        let &[k0, k1, v0, v1, v2, v3] = head else { return Err(self.layer.damage(at)) };
        let key_at = at + ENTRY_HEAD;
        if u16::from_le_bytes([k0, k1]) as usize != key.len() || self.layer.read(key_at, key.len())? != key {
            return Ok(None);
        }
        match u32::from_le_bytes([v0, v1, v2, v3]) {
            DELETED => Ok(Some(None)),
            len => Ok(Some(Some(self.layer.read(key_at + key.len(), len as usize)?))),
        }
    }

    /// The entry at an offset, and the offset of the next one.
    #[inline]
    fn entry(&self, offset: usize) -> Result<(Entry<'_>, usize), Damaged> {
        let at = self.part.records_at.saturating_add(offset);
        let broken = || self.layer.damage(at);
        let head = self.layer.read(at, ENTRY_HEAD)?;
        let &[k0, k1, v0, v1, v2, v3] = head else { return Err(broken()) };
        let (key, value) = (u16::from_le_bytes([k0, k1]) as usize, u32::from_le_bytes([v0, v1, v2, v3]));
        let value = (value != DELETED).then_some(value as usize);
        let len = key + value.unwrap_or(0);
        let next = offset.saturating_add(ENTRY_HEAD + len);
        if key > KEY_MAX || value.is_some_and(|value| value > VALUE_MAX) || next > self.part.records_len {
            return Err(broken());
        }
        let body = self.layer.read(at + ENTRY_HEAD, len)?;
        let (key, rest) = body.split_at_checked(key).ok_or_else(broken)?;
        Ok((Entry { key, value: value.map(|_| rest) }, next))
    }

    /// A walk from the first entry whose key isn't less than `key`.
    pub(crate) fn walk_from(&self, key: &[u8]) -> Result<Walk<'_>, Damaged> {
        let (mut low, mut high) = (0, self.part.fences());
        while low < high {
            let middle = low.midpoint(high);
            let offset = self.layer.read_u64(self.part.fences_at + middle * 8)?;
            let (entry, _) = self.entry(offset as usize)?;
            if entry.key <= key { low = middle + 1 } else { high = middle }
        }
        let fence = low.checked_sub(1).map(|fence| self.layer.read_u64(self.part.fences_at + fence * 8));
        let mut walk = Walk { section: self, at: fence.transpose()?.unwrap_or(0) as usize };
        loop {
            let before = walk.at;
            match walk.next()? {
                Some(entry) if entry.key < key => {}
                _ => return Ok(Walk { section: self, at: before }),
            }
        }
    }
}

/// A walk over the entries of a section, ascending by key.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    section: &'a Section,
    at: usize,
}

impl<'a> Walk<'a> {
    /// The next entry; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Damaged> {
        if self.at >= self.section.part.records_len {
            return Ok(None);
        }
        let (entry, next) = self.section.entry(self.at)?;
        self.at = next;
        Ok(Some(entry))
    }
}
