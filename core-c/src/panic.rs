//! What becomes of a panic, which no input is to be able to cause: it ends the program, and never goes
//! on into C. On a host std ends the process where it would leave a function of this interface; on a
//! target without an operating system it is here: what the firmware has asked for, and then nothing.

use crate::code::Code;
use core::ffi::c_char;

/// Told where it happened: the file's name (without an end mark), its length, and the line. It need not
/// come back.
pub type Hook = Option<unsafe extern "C" fn(file: *const c_char, len: usize, line: u32)>;

/// Sets what is called at a panic, on targets without an operating system.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_on_panic(hook: Hook) -> Code {
    set(hook)
}

#[cfg(not(target_os = "none"))]
fn set(_: Hook) -> Code {
    Code::Unsupported
}

#[cfg(target_os = "none")]
use bare::set;

#[cfg(target_os = "none")]
mod bare {
    use super::Hook;
    use crate::code::Code;
    use core::hint::spin_loop;
    use core::panic::PanicInfo;
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicPtr, Ordering};

    static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

    pub(super) fn set(hook: Hook) -> Code {
        HOOK.store(hook.map_or(null_mut(), |hook| hook as *mut ()), Ordering::Release);
        Code::Ok
    }

    #[panic_handler]
    fn panicked(info: &PanicInfo<'_>) -> ! {
        let hook = HOOK.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: only what is null or was a hook is ever stored there, and both have this form.
        let hook = unsafe { core::mem::transmute::<*mut (), Hook>(hook) };
        if let (Some(hook), Some(at)) = (hook, info.location()) {
            // SAFETY: the header's contract.
            unsafe { hook(at.file().as_ptr().cast(), at.file().len(), at.line()) };
        }
        loop {
            spin_loop();
        }
    }
}
