//! A generation on its way into its image (step 234): the objects of a route, one after the other,
//! each above the image that the one before it led to. Nothing of it is visible before all of it is
//! proven (S5).
//!
//! How a packed object is unpacked is in `unpack`, where the bytes come from in `arriving`. What is
//! left of a route that fails is only files that nobody names, which are deleted.

use crate::unpack::{Packed, form};
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_core::message::{DATASETS_MAX, ObjectRef, Route};
use downbeat_core::object::{
    ENDS_MAX, Expected, Form, ManifestEntry, ObjectError, PackedError, Reader, ends_of,
};
use downbeat_image::{Image, Place, SnapshotWriter, Stager, WriteError};
use heapless::Vec as Bounded;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Why what has arrived can't be taken.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not the object that was announced.
    Object(ObjectError),
    /// It is packed, and not in the way that is taken.
    Packed(PackedError),
    /// It is packed, and its bytes don't have the name that the route gives.
    Name,
    /// It is packed, and what is in it can't be decompressed, or isn't as long as is said.
    Stream(String),
    /// It is a delta that starts from another generation than the one that is held.
    Base,
    /// The route leads nowhere.
    Route,
    /// It is larger than the host allows: an object of it, or its keys and values together.
    TooLarge {
        /// The bytes of that.
        len: u64,
    },
    /// Its image can't be written, or what comes out isn't the generation.
    Image(WriteError),
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Fault {
        Fault::Object(error)
    }
}
impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Fault {
        Fault::Image(error)
    }
}
impl From<PackedError> for Fault {
    fn from(error: PackedError) -> Fault {
        match error {
            PackedError::TooLong { len, .. } => Fault::TooLarge { len },
            error => Fault::Packed(error),
        }
    }
}
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Stream(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Object(error) => error.fmt(f),
            Fault::Packed(error) => error.fmt(f),
            Fault::Name => f.write_str("the packed object's bytes don't have its name; fetch it again"),
            Fault::Stream(cause) => write!(f, "the packed object can't be unpacked: {cause}; fetch it again"),
            Fault::Base => f.write_str(
                "the delta starts from another generation than the one that is held; a snapshot is needed",
            ),
            Fault::Route => f.write_str("the route has no objects; upgrade the older end"),
            Fault::TooLarge { len } => write!(
                f,
                "the generation takes {len} bytes or more, over this agent's content limit; raise the limit, \
                 or subscribe to fewer datasets"
            ),
            Fault::Image(error) => write!(f, "the generation's image can't be made: {error}"),
        }
    }
}

/// How an agent takes in generations.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Where images are written.
    pub(crate) place: Place,
    /// The datasets that the agent subscribed to; none: all.
    pub(crate) datasets: Bounded<Name, DATASETS_MAX>,
    /// The largest generation that is taken, in bytes of keys and values, and the longest object,
    /// packed or not.
    pub(crate) limit: u64,
}

impl Intake {
    /// What the agent subscribed to, as images have it: ascending, each once.
    pub(crate) fn selection(&self) -> Vec<Name> {
        selection(&self.datasets)
    }

    /// Makes the image of `target`: by this route, whose objects' bytes come one after the other
    /// from `source`, and starting from the image `base` where it begins with a delta. Reads no
    /// more than the objects.
    pub(crate) fn fill(
        &self,
        target: Generation,
        route: &Route,
        base: Option<&Image>,
        source: &mut impl BufRead,
    ) -> Result<Image, Fault> {
        if let Some(object) = route.objects.iter().find(|object| object.len > self.limit) {
            return Err(Fault::TooLarge { len: object.len });
        }
        let mut reached = base.cloned();
        for (number, object) in route.objects.iter().enumerate() {
            let end = (number + 1 == route.objects.len()).then_some(target);
            reached = Some(self.take(*object, end, reached.as_ref(), source)?);
        }
        // A base that nothing was applied to is not the target.
        reached.filter(|_| !route.objects.is_empty()).ok_or(Fault::Route)
    }

    /// Takes one object, which leads to `end`, or to a generation on the way.
    fn take(
        &self,
        object: ObjectRef,
        end: Option<Generation>,
        from: Option<&Image>,
        source: &mut impl BufRead,
    ) -> Result<Image, Fault> {
        let mut file = source.take(object.len);
        let beginning = form(&mut file)?;
        match Form::of(&beginning) {
            Some(Form::Plain) => self.apply(object, end, from, &mut (&beginning[..]).chain(file)),
            Some(Form::Packed) => {
                let mut packed = Packed::begin(object.name, &beginning, file, self.limit)?;
                let image = self.apply(packed.object(), end, from, &mut packed)?;
                packed.finish()?;
                Ok(image)
            }
            None => Err(Fault::Object(ObjectError::Magic)),
        }
    }

    /// Applies an object, unpacked, to the image that it starts from.
    fn apply(
        &self,
        object: ObjectRef,
        end: Option<Generation>,
        from: Option<&Image>,
        input: &mut impl Read,
    ) -> Result<Image, Fault> {
        let mut piece = vec![0; PIECE];
        let mut len = input.by_ref().take(ENDS_MAX as u64).read(&mut piece)?;
        while len < ENDS_MAX
            && let more @ 1.. = input.by_ref().read(piece.get_mut(len..ENDS_MAX).unwrap_or_default())?
        {
            len += more;
        }
        let (base, leads_to) = ends_of(piece.get(..len).unwrap_or_default())?;
        let target = end.unwrap_or(leads_to);
        let datasets = self.datasets.clone();
        let expected = Expected { name: object.name, base, target, datasets };
        let mut reader = Reader::<_>::new(expected, vec![0; KEY_MAX + VALUE_MAX]);
        let mut output = match base {
            None => Output::Base(SnapshotWriter::new(&self.place, target.digest, &self.selection())?),
            Some(base) => {
                let from = from.filter(|from| from.digest() == base.digest).ok_or(Fault::Base)?;
                Output::Overlay(Stager::new(&self.place, from, object.len)?)
            }
        };
        let mut total = 0;
        while len > 0 {
            total += len as u64;
            if total > object.len {
                return Err(Fault::Stream("more comes out of it than its head says".to_string()));
            }
            let mut bytes = piece.get(..len).unwrap_or_default();
            while let Some(record) = reader.next(&mut bytes)? {
                output.push(record.dataset, record.key, record.value)?;
            }
            len = input.read(&mut piece)?;
        }
        reader.finish()?;
        // Of a delta only now: what comes last may make room for what came first. Until then there's no
        // more than the limit for what it starts from and the limit for the object itself.
        match output.content_bytes() {
            len if len > self.limit => Err(Fault::TooLarge { len }),
            _ => Ok(output.finish(target.digest, reader.manifest())?),
        }
    }
}

/// An image that is being written.
enum Output<'a> {
    Base(SnapshotWriter),
    Overlay(Stager<'a>),
}

impl Output<'_> {
    fn push(&mut self, dataset: &Name, key: &[u8], value: Option<&[u8]>) -> Result<(), WriteError> {
        match self {
            // A snapshot deletes nothing, which core's reader has seen to.
            Output::Base(writer) => writer.push(dataset, key, value.unwrap_or_default()),
            Output::Overlay(stager) => stager.push(dataset, key, value),
        }
    }

    /// Bytes of keys and values of what it leads to.
    fn content_bytes(&self) -> u64 {
        match self {
            Output::Base(writer) => writer.content_bytes(),
            Output::Overlay(stager) => stager.content_bytes(),
        }
    }

    fn finish(self, digest: Digest, manifest: &[ManifestEntry]) -> Result<Image, WriteError> {
        match self {
            Output::Base(writer) => writer.finish(manifest),
            Output::Overlay(stager) => stager.finish(digest, manifest),
        }
    }
}

/// Datasets as images have them: ascending, each once.
pub(crate) fn selection(datasets: &Bounded<Name, DATASETS_MAX>) -> Vec<Name> {
    let mut selection: Vec<Name> = datasets.iter().cloned().collect();
    selection.sort();
    selection.dedup();
    selection
}

#[cfg(test)]
mod tests;
