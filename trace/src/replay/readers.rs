//! What readers got, compared with the plans that their agents published, and put together for the
//! judge.

use super::agent::Life;
use super::clocks::Moment;
use super::server::Servers;
use crate::fault::{CLOCKS, CONFORMS, FORMAT, Fault, Verdicts};
use crate::file::Place;
use crate::judge::history::{self, Content, GoesLive, History, Span, Switch, TableSeen};
use crate::line::Line;
use downbeat_core::ids::{Digest, Epoch, Generation, Incarnation, Name, TimelineId};
use downbeat_core::serving::{Mode, Serving};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{LocalTime, ServerTime};
use std::collections::BTreeMap;

const S5: &str = "S5 whole_generation";
const S11: &str = "S11 schedule_respected";

/// From when a scheduled record counts, until when, and after which epoch it was entered.
type Scheduled = (ServerTime, Option<ServerTime>, Epoch);

/// What all readers saw.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    tracks: BTreeMap<(Incarnation, u32), Track>,
    looks: BTreeMap<Name, Vec<TableSeen>>,
    scheduled: BTreeMap<(Name, String), Scheduled>,
    /// What each farm was fed, by the first epoch that can hold it and when that was answered.
    fed: BTreeMap<Name, BTreeMap<(Epoch, LocalTime), Digest>>,
}

/// What one reader saw.
#[derive(Debug, Default)]
struct Track {
    spans: Vec<Span>,
    last: Option<(LocalTime, Serving)>,
}

impl Readers {
    /// A read.
    pub(crate) fn read(
        &mut self,
        place: Place,
        who: (Incarnation, u32),
        life: Option<&Life>,
        moment: Moment,
        (got, records): (Serving, Option<Digest>),
        verdicts: &mut Verdicts,
    ) {
        let Some(life) = life else {
            let text = format!("a read of the life {:016x}, which never began", who.0.0);
            return verdicts.push(Fault::at(FORMAT, place, text));
        };
        let track = self.tracks.entry(who).or_default();
        let last = track.last.replace((moment.host, got));
        if last.is_some_and(|(host, _)| moment.host < host) {
            let text = format!("{}: a reader's reads are out of order", life.who());
            verdicts.push(Fault::at(FORMAT, place, text));
        }
        if life.is_excused(moment.host) || life.lost {
            // Nothing is promised, or nothing is known.
            track.last = Some((moment.host, Serving::Fenced));
            return;
        }
        let before = life.moments.partition_point(|known| known.host <= moment.host);
        let anchor = life.moments.get(before.saturating_sub(1)).copied().unwrap_or(moment);
        if let Some(by) = anchor.strays(moment, life.config.rate, life.config.granularity) {
            let by = by.as_nanos();
            let text = format!("{}: a read's clock is {by} ns beyond the bound of the life's", life.who());
            verdicts.push(Fault::at(CLOCKS, place, text));
        }
        let after = last.map_or(LocalTime::MIN, |(host, _)| host);
        if !life.explains(got, after, moment) {
            let text =
                format!("{}: a read got {got:?}, which no plan says that was published then", life.who());
            verdicts.push(Fault::at(CONFORMS, place, text));
        }
        let goes_on = last.is_some_and(|(_, last)| last == got);
        track.note(moment.host.as_nanos(), got, records, goes_on);
    }

    /// A look at the table from outside.
    pub(crate) fn look(&mut self, line: &Line) {
        let Line::Look { from, to, farm, timeline, now, staged, activation } = line else { return };
        self.looks.entry(farm.clone()).or_default().push(TableSeen {
            timeline: text(*timeline),
            epoch: staged.epoch,
            digest: staged.digest.to_string(),
            activation: activation.as_nanos(),
            now: now.as_nanos(),
            host: (from.as_nanos(), to.as_nanos()),
        });
    }

    /// A scheduled record was entered.
    pub(crate) fn scheduled(&mut self, farm: &Name, record: &str, scheduled: Scheduled) {
        self.scheduled.insert((farm.clone(), record.to_owned()), scheduled);
    }

    /// Production was made to hold these records.
    pub(crate) fn fed(&mut self, farm: &Name, from: Epoch, at: LocalTime, records: Digest) {
        self.fed.entry(farm.clone()).or_default().insert((from, at), records);
    }

    /// S5: what was found in a generation is all of it, and (where numbers are not used again) what was
    /// fed for it.
    pub(crate) fn held(
        &self,
        place: Place,
        life: &Life,
        generation: Generation,
        (records, unscheduled): (Digest, Digest),
        restored: bool,
        verdicts: &mut Verdicts,
    ) {
        let Generation { epoch, digest } = generation;
        verdicts.judge(S5, place, records == digest, || {
            format!("{}: the records of epoch {epoch} are not those of its digest", life.who())
        });
        let fed = self.fed.get(&life.farm).and_then(|fed| fed.range(..=(epoch, LocalTime::MAX)).next_back());
        let Some((_, fed)) = fed.filter(|_| !restored) else { return };
        verdicts.judge(S5, place, unscheduled == *fed, || {
            format!("{}: the records of epoch {epoch} are not what was fed for it", life.who())
        });
    }

    /// S11: a record is in a generation exactly if it counts at its T.
    #[expect(clippy::too_many_arguments, reason = "a sight has that many parts")]
    pub(crate) fn shown(
        &mut self,
        place: Place,
        farm: &Name,
        record: &str,
        generation: Generation,
        shown: bool,
        servers: &Servers,
        verdicts: &mut Verdicts,
    ) {
        let scheduled = self.scheduled.get(&(farm.clone(), record.to_owned()));
        let versions = servers.farms.get(farm).map(|farm| farm.versions.as_slice()).unwrap_or_default();
        let Some(version) = versions.iter().find(|version| version.table.staged == generation) else {
            let text = format!("epoch {} was read and never staged", generation.epoch);
            return verdicts.push(Fault::at(CONFORMS, place, text));
        };
        let at = version.table.activation;
        let due = scheduled.is_some_and(|(from, until, after)| {
            generation.epoch > *after && *from <= at && until.is_none_or(|until| at < until)
        });
        verdicts.judge(S11, place, shown == due, || {
            let says = if shown { "shows" } else { "lacks" };
            format!("epoch {} {says} the scheduled record {record}", generation.epoch)
        });
    }

    /// All of it, for the judge: farm by farm.
    pub(crate) fn histories(
        &mut self,
        lives: &BTreeMap<Incarnation, Life>,
        servers: &Servers,
    ) -> BTreeMap<Name, History> {
        let mut histories: BTreeMap<Name, History> = BTreeMap::new();
        for (farm, mut looks) in std::mem::take(&mut self.looks) {
            looks.sort_by_key(|look| look.host.0);
            histories.entry(farm).or_default().tables = looks;
        }
        let mut tracks: BTreeMap<Incarnation, Vec<Vec<Span>>> = BTreeMap::new();
        for ((life, _), track) in std::mem::take(&mut self.tracks) {
            tracks.entry(life).or_default().push(track.spans);
        }
        for (incarnation, life) in lives {
            let readers = tracks.remove(incarnation).unwrap_or_default();
            histories.entry(life.farm.clone()).or_default().lives.push(seen(life, readers));
        }
        for (farm, state) in &servers.farms {
            let history = histories.entry(farm.clone()).or_default();
            for version in state.versions.iter().filter(|version| version.committed.is_some()) {
                let limit = version.table.settings.early_limit.as_nanos();
                history.early_limit = history.early_limit.max(limit);
                let live = goes_live(&version.table, servers);
                history.live.extend(live.filter(|live| history.live.last() != Some(live)));
            }
        }
        histories
    }
}

fn seen(life: &Life, readers: Vec<Vec<Span>>) -> history::Life {
    let switches = life.switches.iter();
    history::Life {
        agent: life.config.agent.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        mode: match life.config.mode {
            Mode::Strict => history::Mode::Strict,
            Mode::Prompt => history::Mode::Prompt,
        },
        readers,
        switches: switches
            .map(|(to, went_by)| Switch {
                epoch: to.epoch,
                epsilon: to.epsilon.as_nanos(),
                went_by: went_by.as_nanos(),
            })
            .collect(),
    }
}

fn goes_live(table: &SyncTable, servers: &Servers) -> Option<GoesLive> {
    let host = servers.clocks.host(table.timeline, table.activation)?;
    Some(GoesLive {
        timeline: text(table.timeline),
        epoch: table.staged.epoch,
        digest: table.staged.digest.to_string(),
        host: host.as_nanos(),
    })
}

impl Track {
    fn note(&mut self, host: i64, got: Serving, records: Option<Digest>, goes_on: bool) {
        let Some(generation) = got.generation() else { return };
        let stale = matches!(got, Serving::Stale(_));
        let content = match records {
            None => Content::Unseen,
            Some(records) if records == generation.digest => Content::Whole,
            Some(_) => Content::Torn,
        };
        match self.spans.last_mut().filter(|_| goes_on) {
            Some(span) => {
                span.last = host;
                if content != Content::Unseen {
                    span.content = content;
                }
            }
            None => self.spans.push(Span {
                epoch: generation.epoch,
                digest: generation.digest.to_string(),
                stale,
                first: host,
                last: host,
                content,
            }),
        }
    }
}

fn text(timeline: TimelineId) -> String {
    format!("{}-{:016x}", timeline.counter, timeline.random)
}
