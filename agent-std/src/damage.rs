//! What an agent does about content that is damaged under it: its life ends, as if its process had
//! crashed and lost its disk, and another one begins without what is damaged. So nothing of the
//! protocol is special about it: the generation is retrieved again like any that isn't held, and
//! readers get meanwhile what they get of a joining agent (PROTOCOL §5, §6).

use crate::clock::Reading;
use crate::driver::Driver;
use crate::line::Link;
use crate::shelf;
use crate::start::random_u64;
use crate::status::What;
use crate::worker::Job;
use downbeat_core::agent::Start;
use downbeat_core::ids::{Generation, Incarnation};
use downbeat_core::serving::SwitchPlan;
use downbeat_trace::Traced;
use tokio::time::Instant;

impl Driver {
    /// Looks whether anything that is needed was found damaged, by a reader, the worker or a delta.
    pub(crate) fn look_for_damage(&mut self, reading: Reading) {
        let of = |digest| Generation { epoch: 0, digest };
        let needed = self.shelf.digests().filter(|digest| self.agent.keeps(of(*digest)));
        let damaged = needed.into_iter().find(|digest| self.is_damaged(of(*digest)));
        let Some(digest) = damaged else { return };
        // Without a number for the next life the damaged one goes on; readers get errors, and the
        // next turn tries again.
        let Ok(number) = random_u64() else { return };
        let plan = self.agent.plan();
        let named = [plan.active, plan.staged].into_iter().flatten().find(|named| named.digest == digest);
        self.begin_again(reading, Incarnation(number.max(1)));
        self.board.tell(reading.local, What::Damaged(named.unwrap_or(of(digest))));
    }

    /// Whether readers of a generation meet damage. What was superseded they go over from, or have
    /// asked for by its name.
    fn is_damaged(&self, generation: Generation) -> bool {
        let held = self.shelf.get(generation.digest);
        held.is_some_and(|held| held.image.is_damaged() && !held.is_superseded())
    }

    /// Ends this life, and begins another with what was served last, if that is whole.
    fn begin_again(&mut self, reading: Reading, incarnation: Incarnation) {
        let boot = self.agent.plan().boot;
        let on_shelf = |good: &Generation| self.shelf.get(good.digest).is_some();
        let last_good = self.last_good.filter(on_shelf).filter(|good| !self.is_damaged(*good));
        let start = Start { incarnation, boot, now: reading.local, page: None, last_good };
        let recorder = self.agent.recorder().clone();
        self.agent = Traced::new(recorder, reading.host, &self.hello.farm, self.config, start);
        self.hello.incarnation = incarnation;

        let nothing = SwitchPlan::nothing(boot, self.config.mode, self.config.activation);
        let held: Vec<_> = self.shelf.digests().filter_map(|digest| self.shelf.get(digest)).collect();
        let is_kept = |digest| last_good.is_some_and(|good| good.digest == digest);
        self.life.clone().change(incarnation, || {
            shelf::publish(&mut self.plan, &self.shelf, &nothing, is_kept);
        });
        // What readers keep of it they don't find again by its digest.
        held.iter().filter(|held| held.image.is_damaged()).for_each(|held| held.supersede());
        self.board.tell(reading.local, What::Published(nothing));

        self.link = Link::Down { until: Instant::now() };
        self.receiver = None;
        self.arrived.clear();
        self.have = None;
        // What is being verified is the ended life's.
        self.verification += 1;
        self.verifying = None;
        self.copied = false;
        self.last_good = last_good;
        self.settled = None;
        self.ask_worker(reading.local, Job::Forget { keep: last_good });
    }
}
