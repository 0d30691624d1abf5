//! The functions of an agent. Each follows its pointers, and leaves the rest to `machine`.

use crate::code::{Code, told};
use crate::config::{Config, Start};
use crate::effects::Effect;
use crate::machine::Machine;
use crate::memory::{self, exclusive, shared};
use crate::types::{Bytes, Found, Generation, Plan, Status};
use downbeat_core::agent::Input;
use downbeat_core::time::LocalTime;

/// Bytes of memory that an agent takes on the largest target: what the header's type has.
pub const AGENT_SIZE: usize = 6_144;
/// Its alignment.
pub const AGENT_ALIGNMENT: usize = 8;

const _: () = assert!(size_of::<Machine>() <= AGENT_SIZE && align_of::<Machine>() <= AGENT_ALIGNMENT);

fn at(nanos: i64) -> LocalTime {
    LocalTime::from_nanos(nanos)
}

/// Bytes of memory that an agent takes here.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_agent_size() -> usize {
    size_of::<Machine>()
}

/// The alignment of that memory.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_agent_alignment() -> usize {
    align_of::<Machine>()
}

/// Makes an agent.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_agent_init(
    agent: *mut Machine,
    len: usize,
    config: *const Config,
    start: *const Start,
) -> Code {
    let make = || {
        memory::check_room(agent, len)?;
        // SAFETY: the header's contract.
        let (config, start) = unsafe { (memory::given(config)?, memory::given(start)?) };
        // SAFETY: the header's contract.
        let (hello, of_start) = unsafe { (config.hello(start.incarnation)?, start.of_core()?) };
        let config = config.of_core()?;
        // SAFETY: it is long enough and aligned, and nobody else's.
        unsafe { Machine::place(agent, config, of_start, hello) };
        Ok(())
    };
    told(make())
}

/// An input at an instant.
///
/// # Safety
/// The header's contract.
unsafe fn input(agent: *mut Machine, now_ns: i64, input: Input<'_>) -> Code {
    // SAFETY: the caller vouches for it.
    told(unsafe { exclusive(agent) }.and_then(|machine| machine.input(at(now_ns), input)))
}

/// There is a connection.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_connected(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    told(unsafe { exclusive(agent) }.and_then(|machine| machine.connected(at(now_ns))))
}

/// The connection is gone.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_disconnected(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    unsafe { input(agent, now_ns, Input::Disconnected) }
}

/// Bytes of the stream, however they are cut.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_receive(agent: *mut Machine, now_ns: i64, rest: *mut Bytes) -> Code {
    // SAFETY: the header's contract.
    let Bytes { at: from, len } = match unsafe { memory::given(rest) } {
        Ok(rest) => rest,
        Err(code) => return code,
    };
    // SAFETY: the header's contract.
    let (machine, bytes) = match unsafe { (exclusive(agent), memory::bytes(from, len)) } {
        (Ok(machine), Ok(bytes)) => (machine, bytes),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let mut left = bytes;
    let result = machine.receive(at(now_ns), &mut left);
    let taken = len - left.len();
    // SAFETY: the header's contract; no more are taken than there are.
    let put = unsafe { memory::put(rest, Bytes { at: from.wrapping_add(taken), len: left.len() }) };
    told(result.and(put))
}

/// What the host found when it was asked to verify.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_verified(
    agent: *mut Machine,
    now_ns: i64,
    target: *const Generation,
    found: u32,
) -> Code {
    let Some(found) = Found::of_number(found) else { return Code::BadNumber };
    // SAFETY: the header's contract.
    match unsafe { memory::given(target) } {
        // SAFETY: the header's contract.
        Ok(target) => unsafe {
            input(agent, now_ns, Input::Verified { target: target.into(), found: found.into() })
        },
        Err(code) => code,
    }
}

/// Staged was copied to active.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_copied(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    unsafe { input(agent, now_ns, Input::Copied) }
}

/// The instant has come that was asked for, or some other.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_wake(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    unsafe { input(agent, now_ns, Input::Wake) }
}

/// The local clock can't be trusted as it was.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_clock_broke(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    told(unsafe { exclusive(agent) }.and_then(|machine| machine.clock_broke(at(now_ns))))
}

/// The host is about to end.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_shut_down(agent: *mut Machine, now_ns: i64) -> Code {
    // SAFETY: the header's contract.
    unsafe { input(agent, now_ns, Input::ShutDown) }
}

/// The next effect of the last input.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_next_effect(agent: *mut Machine, effect: *mut Effect) -> Code {
    if effect.is_null() {
        return Code::NullPointer;
    }
    // SAFETY: the header's contract.
    let next = match unsafe { exclusive(agent) } {
        Ok(machine) => machine.next_effect(),
        Err(code) => return code,
    };
    let Some((mut next, content)) = next else { return Code::Done };
    if let Some((offset, len)) = content {
        // Of the caller's own pointer, so that it stays good while the machine is used.
        let from = agent.cast::<u8>().cast_const().wrapping_add(offset);
        next.about.keep = crate::effects::Keep {
            bytes: Bytes { at: from, len },
            // SAFETY: the content belongs to an effect of this kind, which was written with that field.
            ..unsafe { next.about.keep }
        };
    }
    // SAFETY: the header's contract.
    told(unsafe { memory::put(effect, next) })
}

/// Writes the frame of the effect that was taken last.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_encode(
    agent: *const Machine,
    effect: *const Effect,
    now_ns: i64,
    buffer: *mut u8,
    len: usize,
    written: *mut usize,
) -> Code {
    let encode = || {
        if effect.is_null() || written.is_null() {
            return Err(Code::NullPointer);
        }
        // SAFETY: the header's contract; its number alone is looked at, whatever its kind.
        let number = unsafe { memory::given(&raw const (*effect).number)? };
        // SAFETY: the header's contract.
        let (machine, room) = unsafe { (shared(agent)?, memory::room(buffer, len)?) };
        let taken = machine.encode(number, at(now_ns), room)?;
        // SAFETY: the header's contract.
        unsafe { memory::put(written, taken) }
    };
    told(encode())
}

/// When the agent wants to be woken.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_poll_at(agent: *const Machine, at_ns: *mut i64) -> Code {
    // SAFETY: the header's contract.
    let ask = || unsafe { memory::put(at_ns, shared(agent)?.poll_at().as_nanos()) };
    told(ask())
}

/// The published plan.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_current_plan(agent: *const Machine, plan: *mut Plan) -> Code {
    // SAFETY: the header's contract.
    let ask = || unsafe { memory::put(plan, Plan::from(shared(agent)?.agent().plan())) };
    told(ask())
}

/// Whether content is still needed.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_keeps(
    agent: *const Machine,
    generation: *const Generation,
    keeps: *mut u8,
) -> Code {
    let ask = || {
        // SAFETY: the header's contract.
        let (machine, generation) = unsafe { (shared(agent)?, memory::given(generation)?) };
        // SAFETY: the header's contract.
        unsafe { memory::put(keeps, machine.agent().keeps(generation.into()).into()) }
    };
    told(ask())
}

/// What the agent knows, for people.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_get_status(
    agent: *const Machine,
    now_ns: i64,
    status: *mut Status,
) -> Code {
    // SAFETY: the header's contract.
    let ask = || unsafe { memory::put(status, shared(agent)?.status(at(now_ns))) };
    told(ask())
}
