//! The page by which a plan reaches readers in other threads: core's `PlanCell` in memory of the
//! caller. One publishes, any number look, and none of them ever waits.

use crate::code::{Code, told};
use crate::memory::{self, Placed, shared};
use crate::types::{Plan, Serving};
use core::ffi::c_void;
use core::mem::offset_of;
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::ids::BootId;
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;

/// Bytes of memory that a page takes on the largest target: what the header's type has.
pub const PAGE_SIZE: usize = 288;
/// Its alignment.
pub const PAGE_ALIGNMENT: usize = 8;

const _: () = assert!(size_of::<Page>() <= PAGE_SIZE && align_of::<Page>() <= PAGE_ALIGNMENT);

/// A published plan.
#[repr(C)]
pub struct Page {
    stamp: u32,
    cell: PlanCell,
}

// SAFETY: `repr(C)`, the stamp is first, and it is written last.
unsafe impl Placed for Page {
    const STAMP: u32 = 0xd0b2_9a6e;
}

const _: () = assert!(offset_of!(Page, stamp) == 0);

/// Reads the reader's clock.
pub type Clock = Option<unsafe extern "C" fn(context: *mut c_void) -> i64>;

/// Bytes of memory that a page takes here.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_page_size() -> usize {
    size_of::<Page>()
}

/// The alignment of that memory.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_page_alignment() -> usize {
    align_of::<Page>()
}

/// Makes a page that holds this plan.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_page_init(page: *mut Page, len: usize, plan: *const Plan) -> Code {
    let make = || {
        memory::check_room(page, len)?;
        // SAFETY: the header's contract.
        let plan = SwitchPlan::try_from(&unsafe { memory::given(plan)? })?;
        // SAFETY: it is long enough and aligned, and nobody else's yet.
        unsafe {
            (&raw mut (*page).cell).write(PlanCell::new(&plan));
            (&raw mut (*page).stamp).write(Page::STAMP);
        }
        Ok(())
    };
    told(make())
}

/// Publishes a plan.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_page_publish(page: *const Page, plan: *const Plan) -> Code {
    let publish = || {
        // SAFETY: the header's contract.
        let (page, plan) = unsafe { (shared(page)?, memory::given(plan)?) };
        let plan = SwitchPlan::try_from(&plan)?;
        PlanWriter::new(&page.cell).ok_or(Code::PageBusy)?.publish(&plan);
        Ok(())
    };
    told(publish())
}

/// The version of the published plan.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_page_version(page: *const Page, version: *mut u32) -> Code {
    // SAFETY: the header's contract.
    let ask = || unsafe { memory::put(version, shared(page)?.cell.version()) };
    told(ask())
}

/// The published plan, as a whole.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_page_load(page: *const Page, plan: *mut Plan) -> Code {
    // SAFETY: the header's contract.
    let ask = || unsafe { memory::put(plan, Plan::from(&shared(page)?.cell.load().1)) };
    told(ask())
}

/// What a read gets now: loads the plan, then looks at the clock, then answers.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_page_look(
    page: *const Page,
    boot: u64,
    clock: Clock,
    context: *mut c_void,
    serving: *mut Serving,
) -> Code {
    let look = || {
        let clock = clock.ok_or(Code::NullPointer)?;
        // SAFETY: the header's contract.
        let (version, plan) = unsafe { shared(page)? }.cell.load();
        // SAFETY: the header's contract.
        let now = LocalTime::from_nanos(unsafe { clock(context) });
        // SAFETY: the header's contract.
        unsafe { memory::put(serving, Serving::of(&plan, BootId(boot), now, version)) }
    };
    told(look())
}

/// What a read gets by a plan that was loaded before the clock was looked at.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_serving_of(
    plan: *const Plan,
    boot: u64,
    now_ns: i64,
    serving: *mut Serving,
) -> Code {
    let answer = || {
        // SAFETY: the header's contract.
        let plan = SwitchPlan::try_from(&unsafe { memory::given(plan)? })?;
        let now = LocalTime::from_nanos(now_ns);
        // SAFETY: the header's contract.
        unsafe { memory::put(serving, Serving::of(&plan, BootId(boot), now, 0)) }
    };
    told(answer())
}
