//! The loop around embassy's tasks. It sleeps with WFI: QEMU takes the WFE of embassy's own loop for
//! "go on", and would keep a core of its host busy.

use core::sync::atomic::{AtomicBool, Ordering};
use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

/// Whether a task was woken since the tasks were last gone through.
static WOKEN: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn wake(_context: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Lets `begin` spawn tasks, and runs them for ever. To be called once.
pub fn run(begin: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(core::ptr::null_mut()));
    begin(executor.spawner());
    loop {
        WOKEN.store(false, Ordering::Release);
        // SAFETY: only here, and `wake` doesn't call it.
        unsafe { executor.poll() };
        cortex_m::interrupt::disable();
        // An interrupt that comes from here on ends the sleep although it is masked, so none is missed.
        if !WOKEN.load(Ordering::Acquire) {
            cortex_m::asm::wfi();
        }
        // SAFETY: no critical section is open here.
        unsafe { cortex_m::interrupt::enable() };
        // What waited is taken before the tasks are gone through again.
        cortex_m::asm::isb();
    }
}
