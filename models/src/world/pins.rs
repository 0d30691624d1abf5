//! Pinned reads: a host keeps the generations that its readers got last, so that a request which spans
//! several servers stays on one generation over later switches (PROTOCOL §6).

use super::World;
use crate::configuration::Configuration;
use crate::record::{Broken, Happened};
use downbeat_core::serving::Serving;

impl World {
    /// Notes what readers get, where the host keeps it for pinned reads.
    pub(crate) fn keep_served(&mut self, config: &Configuration, index: usize, serving: Serving) {
        let Some(generation) = serving.generation().filter(|_| config.kept > 0) else { return };
        let served = &mut self.hosts[index].served;
        if served.first() != Some(&generation) {
            served.retain(|before| *before != generation);
            served.insert(0, generation);
            served.truncate(config.kept as usize);
            self.drop_content(index);
        }
    }

    /// A reader pins what it gets now.
    pub(crate) fn pin(&mut self, index: usize) {
        self.hosts[index].pinned = self.read(index).generation();
    }

    /// It reads that generation again: exactly what it was, or an error once it is no longer kept (S6).
    pub(crate) fn read_pinned(&mut self, index: usize) {
        let Some(generation) = self.hosts[index].pinned.take() else { return };
        let serving = self.read(index).generation();
        if serving != Some(generation) && !self.hosts[index].served.contains(&generation) {
            return self.record.note(Happened::PinDropped);
        }
        let same = self.content(index, generation).is_some_and(|[first, last]| {
            first.digest() == generation.digest && last.digest() == generation.digest
        });
        if !same {
            self.record.break_(Broken::Agreement);
        }
        if serving != Some(generation) {
            self.record.note(Happened::PinRead);
        }
    }
}
