//! Delays that differ from agent to agent without any of them knowing another: hashes of who and
//! what, spread over a span. No random numbers; the same inputs give the same delay.

use crate::ids::AgentId;
use crate::time::Span;

/// What a delay is for, so that one agent's delays don't all fall alike.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Purpose {
    Retrieve = 1,
    FirstRead = 2,
    Sample = 3,
    BackOff = 4,
}

/// A part of `over` that is this agent's for `purpose` and `salt`: at least zero, less than `over`.
pub(crate) fn spread(agent: AgentId, purpose: Purpose, salt: u64, over: Span) -> Span {
    let over = over.or_zero().as_nanos() as u128;
    Span::from_nanos(((hash(agent, purpose as u64, salt) as u128 * over) >> 64) as i64)
}

/// FNV-1a over the words, finished by a multiply and shift: quick, small, and even enough.
fn hash(agent: AgentId, purpose: u64, salt: u64) -> u64 {
    let words = [purpose.to_le_bytes(), salt.to_le_bytes()];
    let bytes = agent.0.iter().chain(words.iter().flatten());
    let mixed = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3));
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_fill_their_span_and_stay_inside() {
        let over = Span::from_nanos(1_000);
        let mut tenths = [0u32; 10];
        for id in 0..2_000u16 {
            let mut agent = AgentId::default();
            agent.0[..2].copy_from_slice(&id.to_le_bytes());
            let delay = spread(agent, Purpose::Retrieve, 7, over).as_nanos();
            assert!((0..1_000).contains(&delay));
            tenths[delay as usize / 100] += 1;
        }
        assert!(tenths.iter().all(|count| (120..280).contains(count)), "{tenths:?}");
        assert_eq!(spread(AgentId::default(), Purpose::Sample, 1, Span::ZERO), Span::ZERO);
    }

    #[test]
    fn a_delay_is_the_same_in_every_build() {
        // A run is repeated from its seed and its trace: these numbers are part of both.
        let delay = |agent, salt| spread(AgentId([agent; 16]), Purpose::BackOff, salt, Span::MAX).as_nanos();
        assert_eq!(
            [delay(0, 0), delay(1, 7), delay(2, u64::MAX)],
            [8_761_698_587_001_799_459, 6_099_885_874_924_718_185, 2_093_626_183_515_295_085]
        );
    }
}
