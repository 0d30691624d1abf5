//! A new timeline, as an agent sees it (PROTOCOL §8): it takes no more samples or tables of the old
//! one; what it has published stands until the new one's first plan (in `plan`) replaces it.

use super::Agent;
use crate::agent::Out;
use crate::effect::Event;
use crate::ids::TimelineId;
use crate::step::Step;
use crate::time::LocalTime;

impl Agent {
    pub(crate) fn on_new_line(&mut self, now: LocalTime, timeline: TimelineId, effects: &mut Out<'_>) {
        if self.timeline.is_some() {
            self.event(Event::NewTimeline, effects);
        }
        self.timeline = Some(timeline);
        self.clock.clear();
        self.table = None;
        self.outstanding = None;
        self.refused = None;
        self.refused_active = None;
        self.carried = self.published.active.is_some() || self.published.staged.is_some();
        if self.link.is_up() {
            self.go(now, Step::Reading, effects);
        } else {
            self.step = Step::Waiting { until: now };
            self.route.objects.clear();
        }
    }
}
