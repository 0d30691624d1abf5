//! Which life an agent is in, for readers: a look is of the life whose plan it got.

use downbeat_core::ids::Incarnation;
use std::sync::atomic::{AtomicU64, Ordering};

/// The incarnation; zero while a life ends and the next begins.
#[derive(Debug, Default)]
pub(crate) struct Life(AtomicU64);

impl Life {
    pub(crate) fn new(incarnation: Incarnation) -> Life {
        Life(AtomicU64::new(incarnation.0))
    }

    /// The life that goes on now.
    pub(crate) fn now(&self) -> Option<Incarnation> {
        // As strong as can be, and rarely asked: a look lies between two of these.
        let number = self.0.load(Ordering::SeqCst);
        (number != 0).then_some(Incarnation(number))
    }

    /// From one life to the next; `publish` replaces the plan of the one by that of the other.
    pub(crate) fn change(&self, to: Incarnation, publish: impl FnOnce()) {
        self.0.store(0, Ordering::SeqCst);
        publish();
        self.0.store(to.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_life_goes_on_while_the_plan_is_replaced() {
        let life = Life::new(Incarnation(1));
        assert_eq!(life.now(), Some(Incarnation(1)));
        life.change(Incarnation(2), || assert_eq!(life.now(), None));
        assert_eq!(life.now(), Some(Incarnation(2)));
    }
}
