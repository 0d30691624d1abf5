//! A lookup allocates nothing. In a file of its own, because the allocator is the whole program's.

mod common;

use common::{Model, change, snapshot, stage};
use downbeat_image::Place;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc`, so from the system's allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_lookup_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let mut model = Model::new();
    change(&mut model, (0..40).map(|key| (key % 3, key, Some((key, 2_900)))));
    let base = snapshot(&place, &model);
    let changes = change(&mut model, (0..10).map(|key| (key % 3, key, (key > 4).then_some((key, 7)))));
    let image = stage(&place, &base, &changes, &model).unwrap();
    assert_eq!(allocations(|| drop(Box::new(1))), 1, "it counts");
    let keys: Vec<String> = (0..50).map(|key| format!("k{key:02}")).collect();
    let mut found = 0;
    // The first round proves the blocks, the second finds them proven.
    for _ in 0..2 {
        let counted = allocations(|| {
            for key in &keys {
                for dataset in ["d0", "d1", "d2", "nothing"] {
                    found += image.get(dataset, key.as_bytes()).is_ok_and(|value| value.is_some()) as u32;
                }
            }
        });
        assert_eq!(counted, 0);
    }
    assert_eq!(found, 2 * model.values().map(|records| records.len() as u32).sum::<u32>());
}
