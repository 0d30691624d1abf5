//! An agent's life, fed to core's machine again: every input has to bring about exactly the effects
//! that the host was seen to get. Beside the machine, the true clock is known: so S12 is judged at
//! every input, and what readers saw can be compared with the plans that were published.

use super::clocks::{Moment, TWO_READINGS, Timelines};
use crate::fault::{CLOCKS, CONFORMS, Fault, Verdicts};
use crate::file::Place;
use crate::line::Input;
use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::{Effect, Effects, Event};
use downbeat_core::ids::{Epoch, Generation, Name};
use downbeat_core::message::{Reply, Switched, ToAgent};
use downbeat_core::serving::{Serving, SwitchPlan, serving};
use downbeat_core::time::{LocalTime, Span};

/// How long after a jump of its clock a life may take to find out (its host looks at least every half
/// second). Until then nothing of PROTOCOL §6 is promised; where nobody finds out, it is judged like
/// any other.
const DETECTION: Span = Span::from_secs(1);
/// What is beyond a bound by more than this between two looks is a jump, which a host can find out.
const JUMP: Span = Span::from_millis(10);

/// A plan as it came to be published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// Not before this.
    pub(crate) from: LocalTime,
    /// Certainly by then.
    pub(crate) surely: LocalTime,
    pub(crate) plan: SwitchPlan,
}

/// A jump of a clock that nobody found out yet.
#[derive(Debug)]
struct Jump {
    place: Place,
    /// Some time after this.
    from: LocalTime,
    by: Span,
    /// What was found since.
    meanwhile: Vec<Fault>,
}

/// The plan by which readers went over to an epoch, or will. One that is published when its switch is over
/// already came too late for them: until then they went by the one before it.
#[derive(Debug)]
struct WentBy {
    epoch: Epoch,
    from: LocalTime,
    /// ε at the switch, as it was known when the plan was published.
    epsilon: Span,
}

impl WentBy {
    /// What readers go by once `plan` is published at `now`, too.
    fn after(
        before: Option<WentBy>,
        plan: &SwitchPlan,
        epsilon: Option<Span>,
        now: LocalTime,
    ) -> Option<WentBy> {
        let Some(staged) = plan.staged else { return before };
        let before = before.filter(|before| before.epoch == staged.epoch);
        match before {
            Some(before) if before.from.passed(now) => Some(before),
            Some(before) if plan.staged_from.passed(now) => Some(WentBy { from: now, ..before }),
            _ => epsilon.map(|epsilon| WentBy { epoch: staged.epoch, from: plan.staged_from, epsilon }),
        }
    }
}

/// A life, as far as it is replayed.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) farm: Name,
    pub(crate) config: Config,
    machine: Agent,
    /// Its inputs' instants, in their order.
    pub(crate) moments: Vec<Moment>,
    pub(crate) plans: Vec<Published>,
    /// As it told them, each with ε of the plan by which its readers went over.
    pub(crate) switches: Vec<(Switched, Span)>,
    went_by: Option<WentBy>,
    /// Replies that it got, for comparison with the server's.
    pub(crate) replies: Vec<(Place, LocalTime, Reply<u16>)>,
    /// What was asked to be verified and not answered yet.
    verifying: Vec<Generation>,
    /// Between these its clock was wrong beyond its bound and it had not found out.
    pub(crate) excused: Vec<(LocalTime, LocalTime)>,
    jumped: Option<Jump>,
    /// It differs from its record: nothing more can be said of it.
    pub(crate) lost: bool,
    /// How often the true time was compared with its enclosure.
    pub(crate) enclosed: u64,
}

impl Life {
    pub(crate) fn begin(at: LocalTime, farm: Name, config: Config, start: Start) -> Life {
        let machine = Agent::new(config, start);
        let plan = *machine.plan();
        Life {
            farm,
            config,
            machine,
            moments: vec![Moment { host: at, local: start.now }],
            plans: vec![Published { from: at, surely: at, plan }],
            switches: Vec::new(),
            went_by: None,
            replies: Vec::new(),
            verifying: Vec::new(),
            excused: Vec::new(),
            jumped: None,
            lost: false,
            enclosed: 0,
        }
    }

    /// An input and its recorded effects.
    pub(crate) fn input(
        &mut self,
        place: Place,
        moment: Moment,
        input: &Input,
        out: &Effects,
        truth: &Timelines,
        verdicts: &mut Verdicts,
    ) {
        if self.lost {
            return;
        }
        self.moment(place, moment, input, verdicts);
        if !matches!(input, Input::ClockBroke) {
            self.enclosure(place, moment, truth, verdicts);
        }
        self.answers_what_was_asked(place, input, verdicts);
        let found = input.give(&mut self.machine, moment.local);
        if found != *out {
            self.lost = true;
            let who = self.who();
            return verdicts.push(Fault::at(CONFORMS, place, differs(&who, input, &found, out)));
        }
        // Inputs of one turn share a reading, which is from before the first one's plan was published.
        let earlier = self.plans.iter_mut().rev().skip_while(|published| published.from >= moment.host);
        for published in earlier.take_while(|published| published.surely == LocalTime::MAX) {
            published.surely = moment.host;
        }
        for effect in &found {
            match effect {
                Effect::Publish(plan) => {
                    self.plans.push(Published { from: moment.host, surely: LocalTime::MAX, plan: *plan });
                    let epsilon = self.machine.clock().epsilon(plan.staged_from);
                    self.went_by = WentBy::after(self.went_by.take(), plan, epsilon, moment.local);
                }
                Effect::Event(Event::Switched(switched)) => {
                    let went_by = self.went_by.as_ref().filter(|went_by| went_by.epoch == switched.epoch);
                    let epsilon = went_by.map_or(switched.epsilon, |went_by| went_by.epsilon);
                    self.switches.push((*switched, epsilon.max(switched.epsilon)));
                }
                Effect::Event(Event::ClockBroken) => self.clock_broken(place, moment, input, verdicts),
                Effect::Verify { target } => self.verifying.push(*target),
                _ => {}
            }
        }
        if let Input::Receive(ToAgent::Reply(reply)) = input {
            self.replies.push((place, moment.host, reply.clone()));
        }
        self.enclosure(place, moment, truth, verdicts);
    }

    /// The trace of the life is over.
    pub(crate) fn end(&mut self, verdicts: &mut Verdicts) {
        self.unnoticed(verdicts);
    }

    pub(crate) fn who(&self) -> String {
        let id: String = self.config.agent.0.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("agent {id}, life {:016x}", self.machine.incarnation().0)
    }

    /// Whether its clock was wrong then, and it found out in time.
    pub(crate) fn is_excused(&self, host: LocalTime) -> bool {
        self.excused.iter().any(|(from, to)| *from <= host && host <= *to)
    }

    /// The host's clock doesn't go back, and the life's own keeps within its bound of it.
    fn moment(&mut self, place: Place, moment: Moment, input: &Input, verdicts: &mut Verdicts) {
        let Some(last) = self.moments.last().copied() else { return };
        self.moments.push(moment);
        if moment.host < last.host {
            let by = (last.host - moment.host).as_nanos();
            let text = format!("{}: the host's clock goes back by {by} ns", self.who());
            verdicts.push(Fault::at(CLOCKS, place, text));
        }
        match last.strays(moment, self.config.rate, self.config.granularity) {
            Some(by) if by > JUMP && self.jumped.is_none() => {
                self.jumped = Some(Jump { place, from: last.host, by, meanwhile: Vec::new() });
            }
            Some(by) if by <= JUMP => verdicts.push(Fault::at(CLOCKS, place, self.beyond(by))),
            _ => {}
        }
        if matches!(input, Input::ClockBroke) {
            self.noticed(moment.host);
        } else if self.jumped.as_ref().is_some_and(|jump| moment.host - jump.from > DETECTION) {
            self.unnoticed(verdicts);
        }
    }

    fn noticed(&mut self, at: LocalTime) -> bool {
        let jump = self.jumped.take();
        self.excused.extend(jump.as_ref().map(|jump| (jump.from, at)));
        jump.is_some()
    }

    fn unnoticed(&mut self, verdicts: &mut Verdicts) {
        if let Some(jump) = self.jumped.take() {
            let text = format!("{}, and it did not find out", self.beyond(jump.by));
            verdicts.push(Fault::at(CLOCKS, jump.place, text));
            verdicts.faults.extend(jump.meanwhile);
        }
    }

    fn beyond(&self, by: Span) -> String {
        format!("{}: its clock is {} ns beyond its bound", self.who(), by.as_nanos())
    }

    /// S12: the server's time is inside the enclosure.
    fn enclosure(&mut self, place: Place, moment: Moment, truth: &Timelines, verdicts: &mut Verdicts) {
        let clock = self.machine.clock();
        let (Some(earliest), Some(latest)) = (clock.earliest(moment.local), clock.latest(moment.local))
        else {
            return;
        };
        let Some(now) = self.machine.timeline().and_then(|line| truth.at(line, moment.host)) else { return };
        self.enclosed += 1;
        verdicts.looked(S12, 1);
        let off = (earliest - now).as_nanos().max((now - latest).as_nanos());
        if off > TWO_READINGS.as_nanos() {
            let text = format!("{}: the server's time is {off} ns outside of the enclosure", self.who());
            let faults = self.jumped.as_mut().map_or(&mut verdicts.faults, |jump| &mut jump.meanwhile);
            faults.push(Fault::at(S12, place, text));
        }
    }

    /// S12, its other side: the enclosure is never empty while the assumptions hold.
    fn clock_broken(&mut self, place: Place, moment: Moment, input: &Input, verdicts: &mut Verdicts) {
        if !self.noticed(moment.host) && !matches!(input, Input::ClockBroke) {
            let text = format!("{}: the two ends of the enclosure crossed", self.who());
            verdicts.push(Fault::at(S12, place, text));
        }
    }

    /// The host verifies what it was asked to, once.
    fn answers_what_was_asked(&mut self, place: Place, input: &Input, verdicts: &mut Verdicts) {
        let Input::Verified { target, .. } = input else { return };
        match self.verifying.iter().position(|asked| asked == target) {
            Some(asked) => {
                self.verifying.remove(asked);
            }
            None => {
                let text = format!("{}: epoch {} is verified and nobody asked", self.who(), target.epoch);
                verdicts.push(Fault::at(CONFORMS, place, text));
            }
        }
    }

    /// Whether a reader that loaded its plan after `after` and looked at the clock at `moment` could
    /// get `got`.
    pub(crate) fn explains(&self, got: Serving, after: LocalTime, moment: Moment) -> bool {
        let oldest = self.plans.iter().rposition(|published| published.surely <= after).unwrap_or(0);
        let newest = self.plans.partition_point(|published| published.from <= moment.host);
        let loaded = self.plans.get(oldest..newest.max(oldest + 1)).unwrap_or_default();
        loaded.iter().any(|published| serving(&published.plan, moment.local) == got)
    }
}

/// The property's name.
pub(crate) const S12: &str = "S12 clock_enclosure";

fn differs(who: &str, input: &Input, found: &Effects, out: &Effects) -> String {
    let input = serde_json::to_string(input).unwrap_or_default();
    let at =
        found.iter().zip(out).position(|(one, other)| one != other).unwrap_or(found.len().min(out.len()));
    let (core, recorded) = (found.get(at), out.get(at));
    format!("{who}: to {input}, effect {} is {core:?} by core and {recorded:?} by the trace", at + 1)
}
