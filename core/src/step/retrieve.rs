//! Step 234: a generation is retrieved into one of the two buffers, object by object, and verified
//! as a whole before anything can see it (S5). The bytes stay with the host.

use super::{Seen, Step};
use crate::agent::Out;
use crate::agent::{Accepts, Agent};
use crate::effect::{Cache, Effect, Event, Verified};
use crate::guard::Guard;
use crate::ids::Generation;
use crate::message::{FETCH_MAX, RequestBody, Route};
use crate::time::LocalTime;

/// A generation on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Retrieving {
    pub(crate) target: Generation,
    cache: Cache,
    /// Not before this instant: the stagger, or a back-off.
    from: LocalTime,
    /// What is held doesn't count: a route that started from it led elsewhere.
    anew: bool,
    stage: Stage,
}

/// How far a retrieval has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Stage {
    /// The way there is asked for.
    Routing,
    /// Object by object, along the agent's `route`.
    Fetching { object: u8, offset: u64 },
    /// The host looks at it.
    Verifying,
}

impl Stage {
    fn is_fetching(&self) -> bool {
        matches!(self, Stage::Fetching { .. })
    }
}

impl Retrieving {
    pub(crate) fn begin(target: Generation, cache: Cache, from: LocalTime) -> Retrieving {
        Retrieving { target, cache, from, anew: false, stage: Stage::Routing }
    }

    /// As [`Retrieving::begin`], after something came that wasn't the target. Where it may have been
    /// a delta a snapshot repairs it, whichever of the two ends was wrong.
    fn begin_anew(target: Generation, cache: Cache, from: LocalTime, accepts: Accepts) -> Retrieving {
        Retrieving { anew: accepts == Accepts::Packed, ..Retrieving::begin(target, cache, from) }
    }

    /// Which cache it is for.
    pub(crate) fn cache(&self) -> Cache {
        self.cache
    }

    /// Whether the way there is known and its objects are being fetched.
    pub(crate) fn is_fetching(&self) -> bool {
        self.stage.is_fetching()
    }

    pub(crate) fn wake(&self) -> Option<LocalTime> {
        match self.stage {
            Stage::Routing | Stage::Fetching { .. } => Some(self.from),
            Stage::Verifying => None,
        }
    }

    /// What is to be asked at `now`, if anything. `have` is held by the host, and is for as long as
    /// the answer may take.
    pub(crate) fn request(
        &self,
        now: LocalTime,
        have: Option<Generation>,
        route: &Route,
        accepts: Accepts,
    ) -> Option<RequestBody> {
        if !self.from.passed(now) {
            return None;
        }
        match &self.stage {
            Stage::Routing => Some(RequestBody::Route {
                target: self.target,
                have: have.filter(|_| !self.anew),
                snapshots_only: accepts == Accepts::Snapshots,
            }),
            Stage::Fetching { object, offset } => {
                let object = route.objects.get(*object as usize)?;
                let left = object.len.saturating_sub(*offset);
                let len = left.min(FETCH_MAX as u64) as u16;
                Some(RequestBody::Fetch { object: object.name, offset: *offset, len })
            }
            Stage::Verifying => None,
        }
    }
}

/// For checkers (`symmetry`).
impl Retrieving {
    /// The same with another target and other names for instants.
    pub(crate) fn renamed(
        &self,
        target: Generation,
        mut local: impl FnMut(LocalTime) -> LocalTime,
    ) -> Retrieving {
        Retrieving { target, from: local(self.from), ..self.clone() }
    }
}

impl Agent {
    fn retrieving(&mut self) -> Option<&mut Retrieving> {
        match &mut self.step {
            Step::Retrieving(retrieving) => Some(retrieving),
            _ => None,
        }
    }

    /// The request failed; it is made again at `again`, from where it stood.
    pub(super) fn retrieve_again(&mut self, again: LocalTime) {
        if let Some(retrieving) = self.retrieving() {
            retrieving.from = again;
        }
    }

    #[inline(never)]
    pub(super) fn on_route(&mut self, now: LocalTime, route: &Route, effects: &mut Out<'_>) {
        let again = self.backed_off(now);
        let Some(retrieving) = self.retrieving() else { return };
        if retrieving.stage != Stage::Routing || route.objects.is_empty() {
            retrieving.from = again;
            return self.event(Event::Unexpected, effects);
        }
        retrieving.stage = Stage::Fetching { object: 0, offset: 0 };
        let (target, cache) = (retrieving.target, retrieving.cache);
        self.route.clone_from(route);
        self.attempt = 0;
        self.push(Effect::Begin { target, cache }, effects);
        self.pass_empty_objects(now, effects);
    }

    #[inline(never)]
    pub(super) fn on_bytes(
        &mut self,
        now: LocalTime,
        offset: u64,
        total: u64,
        len: u16,
        effects: &mut Out<'_>,
    ) {
        let again = self.backed_off(now);
        let Step::Retrieving(retrieving) = &mut self.step else { return };
        let Stage::Fetching { object, offset: expected } = &mut retrieving.stage else {
            return self.event(Event::Unexpected, effects);
        };
        let of = self.route.objects.get(*object as usize).map_or(0, |object| object.len);
        let fits = expected.checked_add(len as u64).is_some_and(|end| end <= of);
        if offset != *expected || total != of || len == 0 || !fits {
            retrieving.from = again;
            return self.event(Event::Unexpected, effects);
        }
        *expected += len as u64;
        let keep = Effect::Keep { object: *object, offset, len };
        self.attempt = 0;
        self.push(keep, effects);
        self.pass_empty_objects(now, effects);
    }

    /// Goes on to the next object where one is complete, and to the check after the last.
    fn pass_empty_objects(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let Step::Retrieving(retrieving) = &mut self.step else { return };
        retrieving.from = now;
        if let Stage::Fetching { object, offset } = &mut retrieving.stage {
            while self.route.objects.get(*object as usize).is_some_and(|of| *offset >= of.len) {
                *object += 1;
                *offset = 0;
            }
            if (*object as usize) < self.route.objects.len() {
                return;
            }
            retrieving.stage = Stage::Verifying;
            let target = retrieving.target;
            self.route.objects.clear();
            self.push(Effect::Verify { target }, effects);
        }
    }

    /// What the host found. Only what is whole and agrees is staged (S5, S6).
    #[inline(never)]
    pub(crate) fn on_verified(
        &mut self,
        now: LocalTime,
        verified: Generation,
        found: Verified,
        effects: &mut Out<'_>,
    ) {
        let Step::Retrieving(Retrieving { target, cache, ref stage, .. }) = self.step else { return };
        // What the host won't take needn't come as a whole.
        let refused = stage.is_fetching() && matches!(found, Verified::Vetoed(_));
        if target != verified || !(refused || *stage == Stage::Verifying) {
            return;
        }
        if refused {
            self.outstanding = None;
        }
        let found = match found {
            Verified::Mismatch if !self.config.guards.on(Guard::WholeGeneration) => Verified::Whole,
            found => found,
        };
        match found {
            Verified::Whole => {
                self.attempt = 0;
                match cache {
                    // k may have gone live meanwhile; nothing older takes its place.
                    Cache::Active if self.is_current() => {}
                    Cache::Active => self.active = Some(target),
                    Cache::Staged => self.staged = Some(target),
                }
                self.spare = None;
            }
            Verified::Mismatch => {
                self.event(Event::Mismatch(target), effects);
                let from = self.backed_off(now);
                let again = Retrieving::begin_anew(target, cache, from, self.config.accepts);
                return self.go(now, Step::Retrieving(again), effects);
            }
            Verified::Vetoed(why) => {
                self.event(Event::Vetoed(target, why), effects);
                match cache {
                    Cache::Active => self.refused_active = Some((target, why)),
                    Cache::Staged => self.refused = Some((target, why)),
                }
                self.report_due = self.config.reports;
            }
        }
        self.after_retrieval(now, effects);
    }

    fn after_retrieval(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        if let Some(staged) = self.table.as_ref().map(|table| table.staged)
            && self.refused.is_none_or(|(refused, _)| refused != staged)
        {
            self.stage_if_held(staged);
        }
        self.refresh_plan(now, false, effects);
        self.keep_house(now, Seen::Now, effects);
        let Some(table) = &self.table else { return self.go(now, Step::Reading, effects) };
        if self.copying {
            // What comes next is decided when the copy is whole.
            return self.go(now, Step::Waiting { until: now + self.config.back_off.1 }, effects);
        }
        // Whether T has passed meanwhile the server says; here it is only asked whether it can have.
        let possibly_due =
            self.clock.possibly_reached(table.activation).is_none_or(|instant| instant.passed(now));
        if possibly_due && (self.is_current() || self.refused.is_some()) {
            let until = self.first_read(&table.clone()).max(now);
            return self.go(now, Step::Waiting { until }, effects);
        }
        self.proceed(now, false, now, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::message::ObjectRef;

    #[test]
    fn a_route_is_followed_while_its_objects_are_fetched() {
        let target = Generation { epoch: 3, digest: Digest([3; 32]) };
        let mut retrieving = Retrieving::begin(target, Cache::Staged, LocalTime::from_nanos(7));
        let object = ObjectRef { name: Digest([4; 32]), len: 1_000 };
        let route = Route { objects: [object].into_iter().collect() };
        let have = Some(Generation { epoch: 2, ..target });
        for (accepts, snapshots_only, anew) in
            [(Accepts::Snapshots, true, have), (Accepts::Packed, false, None)]
        {
            let asked = |have| Some(RequestBody::Route { target, have, snapshots_only });
            assert_eq!(retrieving.request(LocalTime::MAX, have, &route, accepts), asked(have));
            let from = LocalTime::from_nanos(7);
            let again = Retrieving::begin_anew(target, Cache::Staged, from, accepts);
            assert_eq!(
                again.request(from, have, &route, accepts),
                asked(anew),
                "{accepts:?} after a mismatch"
            );
        }
        let fetch = |offset, len| Some(RequestBody::Fetch { object: object.name, offset, len });
        for (stage, follows, asked) in [
            (Stage::Routing, false, None),
            (Stage::Fetching { object: 0, offset: 0 }, true, fetch(0, 768)),
            (Stage::Fetching { object: 0, offset: 768 }, true, fetch(768, 232)),
            (Stage::Verifying, false, None),
        ] {
            retrieving.stage = stage;
            assert_eq!(retrieving.is_fetching(), follows);
            let request = retrieving.request(LocalTime::MAX, have, &route, Accepts::Snapshots);
            assert_eq!(request.filter(|body| !matches!(body, RequestBody::Route { .. })), asked);
        }
    }
}
