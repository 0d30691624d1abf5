//! Ordered walks over all layers of a dataset: of two entries of one key, the newer layer's counts.

use crate::error::Damaged;
use crate::image::Dataset;
use crate::section::{Entry, Section, Walk};

/// Entries of several layers as one sequence, ascending by key. Deletions are given out too.
#[derive(Clone, Debug)]
pub(crate) struct Merge<'a> {
    /// Newest first.
    sources: Vec<Source<'a>>,
}

#[derive(Clone, Debug)]
struct Source<'a> {
    walk: Walk<'a>,
    ahead: Option<Entry<'a>>,
}

impl<'a> Merge<'a> {
    /// From the first key that isn't less than `from`; the sections are newest first.
    pub(crate) fn new(
        sections: impl IntoIterator<Item = &'a Section>,
        from: &[u8],
    ) -> Result<Merge<'a>, Damaged> {
        let begin = |section: &'a Section| {
            let mut walk = section.walk_from(from)?;
            Ok(Source { ahead: walk.next()?, walk })
        };
        Ok(Merge { sources: sections.into_iter().map(begin).collect::<Result<_, _>>()? })
    }

    /// The next key's newest entry; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>, Damaged> {
        let mut newest: Option<Entry<'a>> = None;
        for source in &self.sources {
            if let Some(entry) = source.ahead
                && newest.is_none_or(|least| entry.key < least.key)
            {
                newest = Some(entry);
            }
        }
        let Some(found) = newest else { return Ok(None) };
        for source in &mut self.sources {
            if source.ahead.is_some_and(|entry| entry.key == found.key) {
                source.ahead = source.walk.next()?;
            }
        }
        Ok(Some(found))
    }
}

/// Key and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Records of a dataset, ascending by key: key and value of each. After damage it ends.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    state: State<'a>,
    prefix: &'a [u8],
}

#[derive(Clone, Debug)]
enum State<'a> {
    Going(Merge<'a>),
    Damaged(Damaged),
    Ended,
}

impl<'a> Scan<'a> {
    /// Of the keys that begin with `prefix`.
    pub(crate) fn new(dataset: &'a Dataset, prefix: &'a [u8]) -> Scan<'a> {
        let state = Merge::new(dataset.sections(), prefix).map_or_else(State::Damaged, State::Going);
        Scan { state, prefix }
    }

    fn advance(&mut self) -> Result<Option<Record<'a>>, Damaged> {
        let merge = match &mut self.state {
            State::Going(merge) => merge,
            State::Damaged(damaged) => return Err(*damaged),
            State::Ended => return Ok(None),
        };
        while let Some(Entry { key, value }) = merge.next()? {
            if !key.starts_with(self.prefix) {
                break;
            }
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Result<Record<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Ended;
        }
        next
    }
}
