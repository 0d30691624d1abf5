//! How much of the stack was ever used: cortex-m-rt paints it before main.

/// What it is painted with.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// The most bytes of the stack that were in use at once since the start.
pub fn high_water() -> u32 {
    let (top, mut at) = (&raw const _stack_start as usize, &raw const _stack_end as usize);
    // SAFETY: between the two ends that the linker script gives lies the stack: memory, and aligned.
    while at < top && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at += 4;
    }
    (top - at) as u32
}
