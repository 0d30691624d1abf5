//! The images that an agent keeps, on the worker's thread: which files stay, what is proven in the
//! background, when layers are compacted, and that what is large is given back here and not by a
//! reader or the driver.
//!
//! A file is deleted only while nothing is being written: what is written is not among the kept
//! images until it is whole. What is written goes first; compaction has a thread of its own, with
//! the host's lowest interest, and readers and staging never wait for it.

use crate::disk::Disk;
use crate::held::Held;
use crate::worker::Outcome;
use downbeat_core::ids::{Digest, Generation};
use downbeat_image::{Image, LayerId, Place, WriteError, compact_unless};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// For how long nothing must be asked for before the worker does something of its own.
const PAUSE: Duration = Duration::from_millis(50);
/// How often what readers still held is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// The images of an agent.
pub(crate) struct Keeper {
    disk: Option<Disk>,
    place: Place,
    /// One for each digest, the newest last.
    kept: Vec<Arc<Held>>,
    /// Not kept any more, and perhaps still read.
    retired: Vec<Arc<Held>>,
    /// Not looked at yet as a whole.
    unproven: VecDeque<Arc<Held>>,
    /// What is served, and what the disk names as the last good one.
    good: Option<Generation>,
    noted: Option<Noted>,
    compaction: Option<Compaction>,
    /// Could not be compacted; it isn't tried again.
    uncompactable: Option<LayerId>,
    /// A generation is on its way.
    writing: bool,
    sweep_due: bool,
}

/// What the disk names as the last good generation.
struct Noted {
    generation: Generation,
    layers: Vec<LayerId>,
}

impl Noted {
    fn new(generation: Generation, image: &Image) -> Noted {
        Noted { generation, layers: image.layers().collect() }
    }
}

/// A compaction on its way.
struct Compaction {
    of: Arc<Held>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Image, WriteError>>,
}

impl Keeper {
    /// Begins with what was found at the start.
    pub(crate) fn new(disk: Option<Disk>, place: Place, found: Option<(Generation, Arc<Held>)>) -> Keeper {
        let mut keeper = Keeper {
            disk,
            place,
            kept: Vec::new(),
            retired: Vec::new(),
            unproven: VecDeque::new(),
            good: None,
            noted: None,
            compaction: None,
            uncompactable: None,
            writing: false,
            // Files that no image found needs were left by a process that ended.
            sweep_due: true,
        };
        if let Some((generation, held)) = found {
            keeper.good = Some(generation);
            keeper.noted = Some(Noted::new(generation, &held.image));
            keeper.add(held);
        }
        keeper
    }

    /// The image of a generation.
    pub(crate) fn of(&self, digest: Digest) -> Option<Arc<Held>> {
        self.kept.iter().find(|held| held.image.digest() == digest).cloned()
    }

    /// Keeps another image, in place of one of the same generation.
    pub(crate) fn add(&mut self, held: Arc<Held>) {
        let digest = held.image.digest();
        self.retired.extend(self.kept.extract_if(.., |kept| kept.image.digest() == digest));
        self.unproven.push_back(held.clone());
        self.kept.push(held);
    }

    /// A generation begins to be written, or doesn't go on to be.
    pub(crate) fn set_writing(&mut self, writing: bool) {
        self.writing = writing;
        // What failed has left layers that were steps on its way.
        self.sweep_due = true;
    }

    /// These are held now besides what is being written, and this one is served.
    pub(crate) fn settle(&mut self, good: Option<Generation>, held: &[Digest]) -> Option<Outcome> {
        self.retired.extend(self.kept.extract_if(.., |kept| !held.contains(&kept.image.digest())));
        self.good = good.or(self.good);
        self.sweep_due = true;
        self.note().or_else(|| self.sweep())
    }

    /// Something is damaged: nothing is kept but the image of `keep`.
    pub(crate) fn forget(&mut self, keep: Option<Generation>) -> Option<Outcome> {
        let kept = |held: &Arc<Held>| keep.is_some_and(|keep| keep.digest == held.image.digest());
        self.retired.extend(self.kept.extract_if(.., |held| !kept(held)));
        self.unproven.retain(kept);
        self.compaction.iter().for_each(|compaction| compaction.stop.store(true, Ordering::Relaxed));
        self.good = keep;
        self.sweep_due = true;
        if keep.is_none() {
            self.noted = None;
            let forgotten = self.disk.as_ref().map_or(Ok(()), Disk::forget_good);
            return kept_up(forgotten).or_else(|| self.sweep());
        }
        self.note().or_else(|| self.sweep())
    }

    /// Has the disk name what is served as the last good generation.
    fn note(&mut self) -> Option<Outcome> {
        let (good, disk) = (self.good?, self.disk.as_ref()?);
        let image = &self.kept.iter().find(|held| held.image.digest() == good.digest)?.image;
        let noted = Noted::new(good, image);
        let same = |before: &Noted| before.generation == good && before.layers == noted.layers;
        if self.noted.as_ref().is_some_and(same) {
            return None;
        }
        let written = disk.note_good(good, image.id());
        if written.is_ok() {
            self.noted = Some(noted);
        }
        kept_up(written)
    }

    /// Deletes the layers that nothing kept needs.
    fn sweep(&mut self) -> Option<Outcome> {
        if !self.sweep_due || self.writing || self.compaction.is_some() {
            return None;
        }
        self.sweep_due = false;
        let noted = self.noted.iter().flat_map(|noted| noted.layers.iter().copied());
        let kept = self.kept.iter().flat_map(|held| held.image.layers());
        kept_up(self.place.keep_only(noted.chain(kept)))
    }

    /// How long to wait for the next job before doing something without being asked.
    pub(crate) fn idle_after(&self) -> Option<Duration> {
        let soon = self.sweep_due || self.compaction.is_some() || !self.unproven.is_empty();
        if soon || self.to_compact().is_some() {
            return Some(PAUSE);
        }
        (!self.retired.is_empty()).then_some(LOOK)
    }

    /// Nothing is asked for: something that can wait.
    pub(crate) fn idle(&mut self) -> Option<Outcome> {
        // The last one to hold an image unmaps it, which may take a while.
        self.retired.retain(|held| Arc::strong_count(held) > 1);
        if self.compaction.as_ref().is_some_and(|compaction| compaction.thread.is_finished()) {
            return self.compacted();
        }
        if let Some(held) = self.unproven.pop_front() {
            return held.image.verify().err().map(|damaged| Outcome::Damaged(damaged.to_string()));
        }
        if let Some(of) = self.to_compact() {
            return self.compact(of);
        }
        self.sweep()
    }

    /// The newest image whose overlays have grown too much, while nothing else is written.
    fn to_compact(&self) -> Option<Arc<Held>> {
        let free = !self.writing && self.compaction.is_none();
        let wants =
            |held: &&Arc<Held>| held.image.wants_compaction() && self.uncompactable != Some(held.image.id());
        free.then(|| self.kept.last().filter(wants).cloned())?
    }

    fn compact(&mut self, of: Arc<Held>) -> Option<Outcome> {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, held, stopped) = (self.place.clone(), of.clone(), stop.clone());
        let work = move || {
            give_way();
            compact_unless(&place, &held.image, &stopped)
        };
        match std::thread::Builder::new().name("downbeat-compact".to_string()).spawn(work) {
            Ok(thread) => self.compaction = Some(Compaction { of, stop, thread }),
            Err(error) => {
                self.uncompactable = Some(of.image.id());
                return Some(not_compacted(&error));
            }
        }
        None
    }

    fn compacted(&mut self) -> Option<Outcome> {
        let Compaction { of, thread, .. } = self.compaction.take()?;
        let done = thread.join().unwrap_or(Err(WriteError::Stopped));
        let at = self.kept.iter().position(|held| Arc::ptr_eq(held, &of));
        match (done, at.and_then(|at| self.kept.get_mut(at))) {
            (Ok(image), Some(kept)) => {
                let held = Arc::new(Held::new(image, of.view.clone()));
                *kept = held.clone();
                self.retired.push(of.clone());
                self.unproven.push_back(held.clone());
                self.sweep_due = true;
                // Noted anew before the layers that the disk names so far are deleted.
                let warning = self.note();
                Some(Outcome::Compacted { of, held, warning: warning.and_then(Outcome::warning) })
            }
            (Err(WriteError::Stopped), _) | (_, None) => None,
            (Err(error), Some(_)) => {
                self.uncompactable = Some(of.image.id());
                Some(not_compacted(&error))
            }
        }
    }
}

impl Drop for Keeper {
    /// The directory is free only once nothing is written into it.
    fn drop(&mut self) {
        if let Some(Compaction { stop, thread, .. }) = self.compaction.take() {
            stop.store(true, Ordering::Relaxed);
            // Whatever came of it, nobody asks any more; its file is deleted at the next start.
            let _ = thread.join();
        }
    }
}

/// This thread's work can wait: where the host's processors are busy, others come first.
fn give_way() {
    // On Linux this is the calling thread alone. Refused, it costs others a little time.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 19);
}

fn kept_up(done: std::io::Result<()>) -> Option<Outcome> {
    let error = done.err()?;
    Some(Outcome::Warning(format!(
        "the state directory can't be kept up: {error}; what it held before stands, make room or repair it"
    )))
}

fn not_compacted(cause: &dyn std::fmt::Display) -> Outcome {
    Outcome::Warning(format!("an image can't be compacted, and is read as it is: {cause}"))
}
