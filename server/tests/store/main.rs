//! The stores against one suite. A store is named here by a [`Harness`]; the suite and the model know
//! nothing of what is behind it, so that another database joins by another harness.

mod conformance;
mod gatekeeping;
mod model;
mod sqlite;
mod support;

use downbeat_core::ids::Name;
use downbeat_server::store::Store;

/// One database that stores can be opened on, with raw access beside them as a person's SQL tool has
/// it.
pub(crate) trait Harness: Sync {
    /// The store under test.
    type Store: Store;
    /// A new, empty database.
    fn new() -> Self;
    /// Another connection to it.
    fn open(&self) -> Self::Store;
    /// `INSERT OR REPLACE` (or what is nearest) of one record, key and value as text where asked for.
    fn raw_replace(&self, farm: &Name, dataset: &Name, key: &[u8], value: &[u8], text: bool);
    /// `DELETE` of one record.
    fn raw_delete(&self, farm: &Name, dataset: &Name, key: &[u8]);
}
