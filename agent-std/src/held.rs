//! A generation as an agent holds it: its image, and what the host made of it. Never changes.
//!
//! How one is filled from what arrives is in `filling`, how one is found again after a restart in
//! `disk`, where those that an agent holds stand in `shelf`.

use downbeat_image::Image;
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// What the host made of a generation while it was staged.
pub(crate) type MadeView = Arc<dyn Any + Send + Sync>;

/// A generation that is held.
pub(crate) struct Held {
    pub(crate) image: Image,
    /// `None` where the host asks for none.
    pub(crate) view: Option<MadeView>,
    /// Another one of the same digest took its place on the shelf: its image was compacted, or was
    /// damaged and retrieved again. Readers that keep this one look for the other.
    superseded: AtomicBool,
}

impl Held {
    /// No generation, for where one is to come.
    pub(crate) fn nothing() -> Arc<Held> {
        static NOTHING: LazyLock<Arc<Held>> = LazyLock::new(|| Arc::new(Held::new(Image::default(), None)));
        NOTHING.clone()
    }

    pub(crate) fn new(image: Image, view: Option<MadeView>) -> Held {
        Held { image, view, superseded: AtomicBool::new(false) }
    }

    /// Notes that another one is on the shelf, or that none is to be read for now.
    pub(crate) fn supersede(&self) {
        // Release: whoever sees it finds the other one on the shelf.
        self.superseded.store(true, Ordering::Release);
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }
}
