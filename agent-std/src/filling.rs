//! A generation on its way into memory (step 234): the bytes of its object go through core's
//! streaming reader as they arrive, and nothing of it is visible before all of it is proven (S5).

use crate::content::Content;
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use downbeat_core::ids::{Generation, Name};
use downbeat_core::message::{DATASETS_MAX, Route};
use downbeat_core::object::{Expected, ObjectError, Reader};
use heapless::Vec as Bounded;

/// Why what has arrived can't be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is not the object that was announced: it is retrieved again.
    Object(ObjectError),
    /// The route is not one snapshot, which is all that is asked for.
    Route,
    /// It is longer than the host allows.
    TooLarge {
        /// Its length in bytes.
        len: u64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Object(error) => error.fmt(f),
            Fault::Route => {
                f.write_str("the server names another route than one snapshot; upgrade the older end")
            }
            Fault::TooLarge { len } => write!(
                f,
                "the generation is {len} bytes long, more than this agent's content limit; raise the limit, \
                 or subscribe to fewer datasets"
            ),
        }
    }
}

/// A whole generation, proven by its digests.
pub(crate) struct Filled {
    pub(crate) content: Content,
    /// Name and bytes of its object, where they are to go to a disk.
    pub(crate) object: Option<(downbeat_core::ids::Digest, Vec<u8>)>,
}

/// What arrives, and what became of it so far.
pub(crate) struct Filling {
    pub(crate) target: Generation,
    name: downbeat_core::ids::Digest,
    reader: Reader<Vec<u8>>,
    content: Content,
    raw: Option<Vec<u8>>,
    fault: Option<Fault>,
}

impl Filling {
    /// Begins with a route to `target`. `keep_raw`: the object's bytes are kept for the disk.
    pub(crate) fn begin(
        target: Generation,
        route: &Route,
        datasets: &Bounded<Name, DATASETS_MAX>,
        limit: u64,
        keep_raw: bool,
    ) -> Filling {
        let object = route.objects.first().copied();
        let name = object.map_or_else(Default::default, |object| object.name);
        let fault = match object {
            Some(object) if route.objects.len() == 1 => {
                (object.len > limit).then_some(Fault::TooLarge { len: object.len })
            }
            _ => Some(Fault::Route),
        };
        let expected = Expected { name, base: None, target, datasets: datasets.clone() };
        Filling {
            target,
            name,
            reader: Reader::new(expected, vec![0; KEY_MAX + VALUE_MAX]),
            content: Content::default(),
            raw: (keep_raw && fault.is_none()).then(Vec::new),
            fault,
        }
    }

    /// Takes the next bytes. After a fault they are dropped.
    pub(crate) fn keep(&mut self, mut bytes: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        if let Some(raw) = &mut self.raw {
            raw.extend_from_slice(bytes);
        }
        loop {
            match self.reader.next(&mut bytes) {
                Ok(Some(record)) => {
                    self.content.push(record.dataset, record.key, record.value.unwrap_or_default());
                }
                Ok(None) => return,
                Err(error) => return self.fail(Fault::Object(error)),
            }
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.raw = None;
        self.content = Content::default();
    }

    /// All has arrived.
    pub(crate) fn finish(self) -> Result<Filled, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.reader.finish().map_err(Fault::Object)?;
        Ok(Filled { content: self.content, object: self.raw.map(|raw| (self.name, raw)) })
    }
}
