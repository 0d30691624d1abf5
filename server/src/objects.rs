//! The objects that agents fetch (PROTOCOL §4 `Route`, `Fetch`): for each generation that an agent may
//! need and each set of datasets that one subscribed to, a snapshot that is built once, when it is
//! first asked for. Deltas and compression come later.

use crate::farm::Farm;
use crate::shared::{Refused, Shared};
use crate::store::{Store, StoreError};
use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_core::message::ObjectRef;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Sets of datasets for which objects are kept at a time; the oldest makes room.
const KEPT_MAX: usize = 32;

/// A whole object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) reference: ObjectRef,
    pub(crate) bytes: Vec<u8>,
}

/// Where an object is, or will be once it is built.
struct Place {
    generation: Generation,
    /// Sorted, each once; empty for all.
    datasets: Vec<Name>,
    object: Arc<OnceCell<Arc<Object>>>,
}

/// The objects of a farm.
#[derive(Default)]
pub(crate) struct Objects(Mutex<Vec<Place>>);

impl Objects {
    /// The object with a name; `None` where it is superseded.
    pub(crate) fn find(&self, name: Digest) -> Option<Arc<Object>> {
        self.lock()
            .iter()
            .filter_map(|place| place.object.get())
            .find(|object| object.reference.name == name)
            .cloned()
    }

    /// Forgets every object that doesn't lead to one of these generations.
    pub(crate) fn keep_only(&self, generations: impl Iterator<Item = Generation>) {
        let generations: Vec<_> = generations.collect();
        self.lock().retain(|place| generations.contains(&place.generation));
    }

    fn place(&self, generation: Generation, datasets: &[Name]) -> Arc<OnceCell<Arc<Object>>> {
        let mut datasets = datasets.to_vec();
        datasets.sort();
        datasets.dedup();
        let mut places = self.lock();
        let known = places.iter().find(|place| place.generation == generation && place.datasets == datasets);
        if let Some(place) = known {
            return place.object.clone();
        }
        if places.len() >= KEPT_MAX {
            places.remove(0);
        }
        let object = Arc::new(OnceCell::new());
        places.push(Place { generation, datasets, object: object.clone() });
        object
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object that leads to `target`, of the datasets (of all, where none is named). `None` where the
/// target is neither staged nor active: it is superseded.
pub(crate) async fn to(
    shared: &Shared,
    farm: &Arc<Farm>,
    target: Generation,
    datasets: &[Name],
) -> Result<Option<Arc<Object>>, Refused> {
    let table = farm.table();
    if target != table.staged && Some(target) != table.active {
        return Ok(None);
    }
    let place = farm.objects.place(target, datasets);
    let built = place.get_or_try_init(|| build(shared, farm, target, datasets)).await?;
    Ok(Some(built.clone()))
}

async fn build(
    shared: &Shared,
    farm: &Arc<Farm>,
    target: Generation,
    datasets: &[Name],
) -> Result<Arc<Object>, Refused> {
    let (name, datasets) = (farm.name.clone(), datasets.to_vec());
    let object = shared
        .reader
        .run(move |store| {
            let mut bytes = Vec::new();
            let reference = store.snapshot(&name, target.epoch, &datasets, &mut |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
            Ok::<_, StoreError>(Object { reference, bytes })
        })
        .await??;
    tracing::debug!(farm = %farm.name, epoch = target.epoch, bytes = object.bytes.len(), "object built");
    Ok(Arc::new(object))
}
