//! The objects that agents fetch (PROTOCOL §4 `Route`, `Fetch`): snapshots and deltas, built once for each
//! pair of generations and set of datasets, kept as files, served from there.
//!
//! - [`to`]: the route to a generation; what it takes is built, and whoever asks meanwhile waits for it,
//! - `keep`: what is built ahead of being asked for, and which objects are kept,
//! - `route`: the cheapest of the ways that there are,
//! - `build`, `pack`: an object out of the store, compressed,
//! - `folder`, `file`: where the files are, and how one is served.
//!
//! Any object may be used whose ends have the right digests, whoever built it and on whatever timeline:
//! a generation's digest is that of its content. Whether the log still tells what a delta needs is
//! decided by the store, by digests too.

mod build;
mod file;
mod folder;
mod keep;
mod pack;
mod route;

pub(crate) use file::Object;
pub(crate) use folder::Selection;
pub(crate) use keep::keep_ready;

use crate::farm::Farm;
use crate::shared::{Refused, Shared};
use crate::store::{SqliteStore, Store, StoreError};
use downbeat_core::ids::{Digest, Epoch, Generation, Name};
use downbeat_core::message::{ObjectRef, Route};
use downbeat_core::object::Form;
use folder::{Folder, Wanted};
use route::Edge;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OnceCell, Semaphore, watch};

/// Deltas to one generation, of one set of datasets, that are built on demand. Whoever has another
/// generation than those gets there on some other way.
const DELTAS_MAX: usize = 64;
/// Objects of a farm that are built at a time.
const BUILDS_MAX: usize = 2;
/// Routes that are remembered.
const ROUTES_MAX: usize = 1_024;

/// An object that there is, or that is being built.
#[derive(Clone)]
struct Place {
    wanted: Wanted,
    object: Arc<OnceCell<Arc<Object>>>,
    /// The name of the file that was found at the start; it isn't proven before the object is there.
    found: Option<ObjectRef>,
    /// The epoch that was staged when it wasn't needed any more. It goes a cycle later, since somebody may
    /// be fetching it, and no new route has it.
    idle: Option<Epoch>,
}

/// A set of datasets that somebody asked for, and the epoch that was staged then.
struct Asked {
    selection: Selection,
    epoch: Epoch,
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    asked: Vec<Asked>,
    /// Until the places change.
    routes: Vec<(Ask, Route)>,
}

/// The objects of a farm.
pub(crate) struct Objects {
    folder: Folder,
    state: Mutex<State>,
    builds: Semaphore,
    /// Whoever makes a new snapshot of what grew away from the last one.
    refreshing: tokio::sync::Mutex<()>,
}

/// What an agent asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) target: Generation,
    pub(crate) have: Option<Generation>,
    pub(crate) selection: Selection,
    /// It takes one uncompressed snapshot and nothing else.
    pub(crate) plain: bool,
}

impl Objects {
    /// Those of a farm that are beside the database. They are looked at, not proven.
    pub(crate) fn find_in(database: &Path, farm: &Name) -> Objects {
        let folder = Folder::new(database, farm);
        let place = |found: folder::Found| Place {
            wanted: found.wanted,
            object: Arc::default(),
            found: Some(ObjectRef { name: found.name, len: found.bytes }),
            idle: None,
        };
        let places = folder.found().into_iter().map(place).collect();
        Objects {
            folder,
            state: Mutex::new(State { places, ..State::default() }),
            builds: Semaphore::new(BUILDS_MAX),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// How many files there are, and their bytes.
    pub(crate) fn total(&self) -> (usize, u64) {
        let state = self.lock();
        let references = state.places.iter().filter_map(Place::reference);
        references.fold((0, 0), |(files, bytes), object| (files + 1, bytes + object.len))
    }

    /// An object that was being served is damaged on the disk: it is built again when it is asked for.
    pub(crate) fn forget(&self, object: &Arc<Object>) {
        self.forget_where(|place| place.object.get().is_some_and(|known| Arc::ptr_eq(known, object)));
    }

    /// The file that was found at the start is damaged; nothing is forgotten where somebody has built it
    /// again meanwhile.
    fn forget_found(&self, found: &Place) {
        self.forget_where(|place| Arc::ptr_eq(&place.object, &found.object) && place.object.get().is_none());
    }

    /// By place and not by name: objects of several sets of datasets have one name where the sets have the
    /// same records, and the files of the others are sound.
    fn forget_where(&self, is_gone: impl Fn(&Place) -> bool) {
        let mut state = self.lock();
        state.routes.clear();
        state.places.retain(|place| {
            let gone = is_gone(place);
            if let Some(object) = place.reference().filter(|_| gone) {
                self.folder.remove(&place.wanted.selection, object.name);
            }
            !gone
        });
    }

    /// The place of an object; made where there is none.
    fn place(&self, wanted: &Wanted) -> Place {
        let mut state = self.lock();
        if let Some(place) = state.places.iter_mut().find(|place| place.wanted == *wanted) {
            place.idle = None;
            return place.clone();
        }
        let place = Place { wanted: wanted.clone(), object: Arc::default(), found: None, idle: None };
        state.places.push(place.clone());
        place
    }

    /// All places of a set of datasets, of packed objects.
    fn packed(&self, selection: &Selection) -> Vec<Place> {
        let state = self.lock();
        let of = |place: &&Place| {
            place.wanted.selection == *selection && place.wanted.form == Form::Packed && place.idle.is_none()
        };
        state.places.iter().filter(of).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn reference(&self) -> Option<ObjectRef> {
        self.object.get().map(|object| object.reference).or(self.found)
    }

    /// Whether it is a snapshot that is there, or at least seems to be.
    fn is_snapshot(&self) -> bool {
        self.wanted.base.is_none() && self.reference().is_some()
    }
}

/// The object with a name; `None` where it is superseded.
///
/// # Errors
/// It was found at the start, is damaged, and can't be built again now.
pub(crate) async fn find(
    shared: &Arc<Shared>,
    farm: &Arc<Farm>,
    name: Digest,
) -> Result<Option<Arc<Object>>, Refused> {
    let named = |place: &&Place| place.reference().is_some_and(|object| object.name == name);
    let place = farm.objects.lock().places.iter().find(named).cloned();
    let Some(place) = place else { return Ok(None) };
    if let Some(object) = place.object.get() {
        return Ok(Some(object.clone()));
    }
    let object = get(shared, farm, place.wanted).await?;
    Ok((object.reference.name == name).then_some(object))
}

/// The route to a generation. `None` where it is neither staged nor active: it is superseded.
///
/// # Errors
/// What it takes could not be built.
pub(crate) async fn to(shared: &Arc<Shared>, farm: &Arc<Farm>, ask: Ask) -> Result<Option<Route>, Refused> {
    let table = farm.table();
    if ask.target != table.staged && Some(ask.target) != table.active {
        return Ok(None);
    }
    let remembered = {
        let mut state = farm.objects.lock();
        let epoch = table.staged.epoch;
        match state.asked.iter_mut().find(|asked| asked.selection == ask.selection) {
            Some(asked) => asked.epoch = epoch,
            None => state.asked.push(Asked { selection: ask.selection.clone(), epoch }),
        }
        state.routes.iter().find(|(known, _)| *known == ask).map(|(_, route)| route.clone())
    };
    if remembered.is_some() {
        return Ok(remembered);
    }
    if ask.plain {
        let wanted = Wanted { base: None, target: ask.target, selection: ask.selection, form: Form::Plain };
        let object = get(shared, farm, wanted).await?;
        return Ok(Some(Route { objects: [object.reference].into_iter().collect() }));
    }
    make_ways(shared, farm, &ask).await?;
    let edge = |place: Place| {
        let object = place.object.get()?.reference;
        Some(Edge { base: place.wanted.base, target: place.wanted.target, object })
    };
    let edges: Vec<_> = farm.objects.packed(&ask.selection).into_iter().filter_map(edge).collect();
    let Some(route) = route::cheapest(&edges, ask.have, ask.target) else {
        // What led there was found damaged just now.
        return Err(Refused::Overloaded);
    };
    let mut state = farm.objects.lock();
    if state.routes.len() >= ROUTES_MAX {
        state.routes.clear();
    }
    state.routes.push((ask, route.clone()));
    Ok(Some(route))
}

/// Sees to it that there is a good way to what is asked for: the delta from what the agent has, or the
/// snapshot that differs least and the delta from there, or a snapshot where all of these would have
/// more records than the generation itself.
async fn make_ways(shared: &Arc<Shared>, farm: &Arc<Farm>, ask: &Ask) -> Result<(), Refused> {
    let places = farm.objects.packed(&ask.selection);
    let snapshots: Vec<_> =
        places.iter().filter(|place| place.is_snapshot()).map(|place| place.wanted.target).collect();
    let crowded = |have: &Generation| {
        let known = |place: &&Place| place.wanted.target == ask.target;
        places.iter().filter(known).count() >= DELTAS_MAX
            && !places
                .iter()
                .any(|place| place.wanted.target == ask.target && place.wanted.base == Some(*have))
    };
    let have = ask.have.filter(|have| !crowded(have));
    let distances = Distances::look(shared, farm, ask.target, have.into_iter().chain(snapshots)).await?;
    let packed = |base, target| Wanted { base, target, selection: ask.selection.clone(), form: Form::Packed };
    let near = |from: &Generation| distances.to(*from).filter(|rows| *rows <= distances.records);
    if let Some(have) = have.filter(|have| near(have).is_some()) {
        get(shared, farm, packed(Some(have), ask.target)).await?;
        return Ok(());
    }
    let nearest = distances.rows.iter().filter(|(from, _)| Some(*from) != have && near(from).is_some());
    match nearest.min_by_key(|(from, rows)| (*rows, u64::MAX - from.epoch)) {
        Some((snapshot, _)) => {
            get(shared, farm, packed(None, *snapshot)).await?;
            if *snapshot != ask.target {
                get(shared, farm, packed(Some(*snapshot), ask.target)).await?;
            }
        }
        None => {
            get(shared, farm, packed(None, ask.target)).await?;
            keep::settle_soon(shared, farm);
        }
    }
    Ok(())
}

/// By how much generations may differ from one.
struct Distances {
    /// Records that the one has.
    records: u64,
    /// Generations from which a delta can start, and the most records that it has.
    rows: Vec<(Generation, u64)>,
}

impl Distances {
    async fn look(
        shared: &Shared,
        farm: &Farm,
        to: Generation,
        from: impl Iterator<Item = Generation>,
    ) -> Result<Distances, Refused> {
        let (name, from) = (farm.name.clone(), from.collect::<Vec<_>>());
        let look = move |store: &mut SqliteStore| {
            let kept = store.generations(&name)?;
            let pinned = store.pinned(&name)?;
            let is_known =
                |from: &Generation| pinned.contains(from) || kept.iter().any(|kept| kept.generation == *from);
            let records = kept.iter().find(|kept| kept.generation == to).map_or(0, |kept| kept.records);
            let mut rows = Vec::new();
            for from in from.into_iter().filter(is_known) {
                let (low, high) = (from.epoch.min(to.epoch), from.epoch.max(to.epoch));
                rows.push((from, store.log_rows(&name, low, high)?));
            }
            Ok::<_, StoreError>(Distances { records, rows })
        };
        Ok(shared.reader.run(look).await??)
    }

    fn to(&self, from: Generation) -> Option<u64> {
        self.rows.iter().find(|(known, _)| *known == from).map(|(_, rows)| *rows)
    }
}

/// An object, built by whoever asks for it first. It is built to its end even where nobody waits any
/// more.
async fn get(shared: &Arc<Shared>, farm: &Arc<Farm>, wanted: Wanted) -> Result<Arc<Object>, Refused> {
    let place = farm.objects.place(&wanted);
    if let Some(object) = place.object.get() {
        return Ok(object.clone());
    }
    let (shared, farm) = (shared.clone(), farm.clone());
    let made =
        tokio::spawn(
            async move { place.object.get_or_try_init(|| make(&shared, &farm, &place)).await.cloned() },
        );
    made.await.map_err(|_| Refused::Overloaded)?
}

/// Proves the file that was found, or builds one.
async fn make(shared: &Arc<Shared>, farm: &Arc<Farm>, place: &Place) -> Result<Arc<Object>, Refused> {
    let objects = &farm.objects;
    let _turn = objects.builds.acquire().await.map_err(|_| Refused::Overloaded)?;
    let (database, name) = (shared.database.clone(), farm.name.clone());
    let (wanted, folder, stop) = (place.wanted.clone(), objects.folder.clone(), shared.stop.clone());
    let found = place.found;
    let made = tokio::task::spawn_blocking(move || {
        if let Some(found) = found {
            match prove(&folder, &wanted, found) {
                Ok(object) => return Ok((object, false)),
                Err(error) => {
                    tracing::warn!(farm = %name, object = %found.name, %error, "a stored object is damaged; it is built again");
                    folder.remove(&wanted.selection, found.name);
                }
            }
        }
        build::build(&database, &name, &wanted, &folder, &stop).map(|object| (object, true))
    });
    let (object, is_new) = made.await.map_err(|_| Refused::Overloaded)??;
    let object = Arc::new(object);
    let wanted = &place.wanted;
    let mut state = objects.lock();
    state.routes.clear();
    // Nobody may need it any more.
    if !state.places.iter().any(|known| Arc::ptr_eq(&known.object, &place.object)) {
        objects.folder.remove(&wanted.selection, object.reference.name);
    }
    if is_new {
        let base = wanted.base.map(|base| base.epoch);
        tracing::debug!(farm = %farm.name, epoch = wanted.target.epoch, ?base, bytes = object.reference.len, "object built");
    }
    Ok(object)
}

/// Builds the packed object that leads to a generation, from another one or from nothing, as a server does
/// after a promotion: in the folder of objects beside the database. Gives its path. For measurements.
///
/// # Errors
/// What the store or the disk says; there is no such file then.
pub fn build_packed(
    database: &Path,
    farm: &Name,
    base: Option<Generation>,
    target: Generation,
) -> Result<PathBuf, StoreError> {
    let folder = Folder::new(database, farm);
    let wanted = Wanted { base, target, selection: Selection::default(), form: Form::Packed };
    let (_going_on, stop) = watch::channel(false);
    let object = build::build(database, farm, &wanted, &folder, &stop)?;
    Ok(folder.path(&wanted.selection, object.reference.name))
}

/// Opens a file that was found; it has to have its name.
fn prove(folder: &Folder, wanted: &Wanted, found: ObjectRef) -> io::Result<Object> {
    let object = Object::of(folder.open(&wanted.selection, found.name)?)?;
    if object.reference == found { Ok(object) } else { Err(io::ErrorKind::InvalidData.into()) }
}
