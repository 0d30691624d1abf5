//! A world without a zero: the same state with every name counted from where it stands. Instants are
//! relative to now, epochs and tokens to the table's, contents and lives are numbered as they are met,
//! and what lies far back keeps its order only. So a farm that runs for ever comes back to states that
//! it was in, and a search of it ends without a bound on time.
//!
//! The form is a world like any other, from which steps can be taken. That taking a step and renaming
//! commute is what `tests/renaming.rs` shows for random states: everything that a search without a
//! horizon finds stands on it. The form for searches with a horizon is in `canonical`.

mod names;
mod past;

use crate::canonical::fingerprint;
use crate::configuration::Configuration;
use crate::record::{GoesLive, Record};
use crate::world::{Committing, Host, Packet, Payload, Reader, Scheduled, Server, Store, World};
use downbeat_core::message::{Grant, Refusal, Reply, ReplyBody, Request, RequestBody, Stamp, ToAgent};
use downbeat_core::serving::Mode;
use downbeat_core::symmetry::{Renaming, first_regular, plan, request_body, route, view};
use downbeat_core::table::{Hold, Lock, SyncTable};
use downbeat_core::time::{Rate, ServerTime, Span};
use downbeat_core::timeline::Mark;
use names::Names;
use past::Past;

/// The time of every line at real time 0.
const LINE_BEGIN: i64 = 100;

/// How far back the activation of what went live keeps its distance: more than the two ticks by
/// which the widest enclosure of these runs lets a switch be late (S8).
const LATEST: i64 = 3;

/// The distance of an activation from now: of those that lie far back only the order counts.
fn ordered(since: i64, all: &[i64]) -> i64 {
    if since >= -LATEST {
        return since;
    }
    let mut between: Vec<i64> =
        all.iter().copied().filter(|other| (since..-LATEST).contains(other)).collect();
    between.sort_unstable();
    between.dedup();
    -LATEST - between.len() as i64
}

impl World {
    /// The same state under names that are counted from where it stands.
    pub fn normal(&self, config: &Configuration) -> World {
        let mut names = Names::new(config, self);
        // First every name is met, then each gets its new one.
        self.renamed(config, &mut names);
        names.settle();
        let mut world = self.renamed(config, &mut names);
        world.network.sort_by_cached_key(fingerprint);
        world
    }

    fn renamed(&self, config: &Configuration, names: &mut Names) -> World {
        let record = self.record_renamed(names);
        let server = self.server_renamed(config, names);
        let hosts = (0..self.hosts.len()).map(|index| self.host_renamed(config, index, names)).collect();
        let network = self.network.iter().map(|packet| self.packet_renamed(config, packet, names)).collect();
        World {
            now: 0,
            lines: names.lines(),
            server,
            hosts,
            network,
            faults: self.faults,
            operations: self.operations,
            step: self.step,
            incarnations: names::LIVES,
            record,
            // Of several servers, each with a clock of its own, there is no run without an end.
            processes: self.processes.clone(),
        }
    }

    /// When a clock last erred, as long as that still bounds when it may err again.
    fn since_error(&self, last: Option<i64>, rate: Rate) -> Option<i64> {
        let since = last.filter(|_| rate > Rate::ZERO).map(|last| self.now - last);
        since.map(|since| -since.min(Configuration::ticks_per_error(rate)))
    }

    fn record_renamed(&self, names: &mut Names) -> Record {
        let record = &self.record;
        let first = names.past.first;
        let rank = |rank: u64| rank.saturating_sub(first as u64);
        let kept = &record.goes_live[first..];
        let passed: Vec<i64> = kept.iter().map(|live| self.real(live) - self.now).collect();
        let goes_live = kept.iter().zip(&passed).map(|(live, since)| GoesLive {
            generation: names.generation(live.generation),
            at: ServerTime::from_nanos(LINE_BEGIN + ordered(*since, &passed)),
            line: names.place(self.lines[live.line as usize].id),
            replaced: live.replaced,
        });
        let goes_live = goes_live.collect();
        let grant = record.grant.filter(|grant| !grant.1.passed(self.server_now()) || self.keeps_lock(names));
        Record {
            goes_live,
            promise: names.current(record.promise),
            grant: grant.map(|(token, expires)| (names.token_of(token), names.current(expires))),
            last_token: names.token_of(record.last_token),
            seen: record.seen.iter().copied().map(rank).collect(),
            seen_strict: rank(record.seen_strict),
            joined: record.joined.clone(),
            restarted: record
                .restarted
                .iter()
                .zip(&record.joined)
                .map(|(again, in_)| *again && !in_)
                .collect(),
            clock_broken: record.clock_broken,
            broken: record.broken,
            happened: 0,
        }
    }

    /// Whether the lock still keeps somebody out, or somebody may still come with its token: an expired
    /// one that nobody knows is as good as none.
    fn keeps_lock(&self, names: &Names) -> bool {
        let lock = self.server.store.table.lock;
        lock.is_some_and(|lock| lock.is_live(self.server_now()) || names.knows_token(lock.token))
    }

    fn server_renamed(&self, config: &Configuration, names: &mut Names) -> Server {
        let server = &self.server;
        Server {
            store: self.store_renamed(&server.store, names),
            mark: Mark {
                until: names.current(server.mark.until),
                stored_at: names.current(server.mark.stored_at),
            },
            up: server.up,
            committing: server.committing.as_ref().map(|committing| Committing {
                request: self.packet_renamed(config, &committing.request, names),
                received: names.current(committing.received),
                read: names.current(committing.read),
            }),
            backups: server.backups.iter().map(|backup| self.store_renamed(backup, names)).collect(),
            remembered: server.remembered.clone(),
            error: server.error,
            last_error: self.since_error(server.last_error, config.server_rate),
            astray: server.astray,
        }
    }

    fn store_renamed(&self, store: &Store, names: &mut Names) -> Store {
        let table = &store.table;
        let now = self.server_now();
        let lock = table.lock.filter(|_| self.keeps_lock(names));
        Store {
            table: SyncTable {
                timeline: names.timeline(table.timeline),
                staged: names.generation(table.staged),
                active: table.active.map(|active| names.generation(active)),
                activation: names.current(table.activation),
                next_earliest: names.current(table.next_earliest),
                grid: names.reading(table.timeline, first_regular(table.grid, table.settings.interval, now)),
                landing: table.landing.map(|landing| names.current(landing)),
                held: table.held.map(|held| Hold { until: held.until.map(|until| names.current(until)) }),
                last_token: names.token_of(table.last_token),
                last_advance: names.request(table.last_advance),
                lock: lock.map(|lock| Lock {
                    holder: names.request(lock.holder),
                    token: names.token_of(lock.token),
                    granted_at: names.current(lock.granted_at),
                    expires: names.current(lock.expires),
                    due: lock.due.map(|due| names.current(due)),
                    next: names.current(lock.next),
                }),
                ..table.clone()
            },
            production: names.version(store.production),
            // A new line's clock may be behind: what has passed may be to come again.
            scheduled: store.scheduled.map(|record| Scheduled {
                effective: names.reading(table.timeline, record.effective),
                expires: record.expires.map(|expires| names.reading(table.timeline, expires)),
            }),
        }
    }

    fn host_renamed(&self, config: &Configuration, index: usize, names: &mut Names) -> Host {
        let host = &self.hosts[index];
        names.agent = index;
        if let Some(number) = host.agent.asks() {
            names.asks(index, host.agent.incarnation(), number);
        }
        let (agent, _) = host.agent.renamed(self.local_now(index), Names::life(index), names);
        let mut held: Vec<_> = host
            .held
            .iter()
            .map(|(digest, parts)| (names.digest(*digest), parts.map(|part| names.content(part))))
            .collect();
        held.sort();
        let first = names.past.first as u64;
        Host {
            prior: *agent.clock(),
            agent,
            offset: World::first_reading(index),
            boot: Names::boot_of(index),
            last_error: self.since_error(host.last_error, config.rate),
            served: host.served.iter().map(|served| names.generation(*served)).collect(),
            pinned: host.pinned.map(|pinned| names.generation(pinned)),
            page: plan(names, &host.page),
            page_epsilon: if host.page.mode == Mode::Strict { Span::ZERO } else { host.page_epsilon },
            overlap: host.overlap.map(|page| plan(names, &page)),
            old_page: host.old_page.map(|page| plan(names, &page)),
            held,
            incoming: host.incoming.iter().map(|part| names.content(*part)).collect(),
            reader: host.reader.as_ref().map(|reader| Reader {
                plan: plan(names, &reader.plan),
                began: 0,
                floor: reader.floor.saturating_sub(first),
                excused: reader.excused,
            }),
            ..*host
        }
    }

    fn packet_renamed(&self, config: &Configuration, packet: &Packet, names: &mut Names) -> Packet {
        let agent = packet.agent as usize;
        names.agent = agent;
        let payload = match &packet.payload {
            Payload::Request(request) => {
                names.asks(agent, request.incarnation, request.number);
                // Where nobody waits for the answer, the instant that it echoes is not looked at.
                let awaited = self.hosts[agent].agent.waits_for(request.incarnation, request.number);
                let sent =
                    if awaited { names.local(request.sent) } else { names.local(self.local_now(agent)) };
                let line = Some(self.line().id);
                let mut body = request_body(names, line, &request.body);
                if let RequestBody::Route { have, .. } = &mut body {
                    *have = None;
                }
                Payload::Request(Request {
                    number: names.number(agent, request.incarnation, request.number),
                    incarnation: names.incarnation(agent, request.incarnation),
                    sent,
                    body,
                })
            }
            Payload::Answer(ToAgent::Reply(reply), content) => {
                let content = content.map(|content| names.content(content));
                Payload::Answer(ToAgent::Reply(self.reply_renamed(agent, reply, names)), content)
            }
            Payload::Answer(other, content) => Payload::Answer(other.clone(), *content),
        };
        Packet { payload, ticked: packet.ticked && config.slow_network, ..*packet }
    }

    fn reply_renamed(&self, agent: usize, reply: &Reply<u16>, names: &mut Names) -> Reply<u16> {
        let line = reply.stamp.timeline;
        let now = self.line_time(line, self.now).expect("a line that was named exists");
        let mut table = |table| view(names, line, now, table);
        let body = match &reply.body {
            ReplyBody::Table(read) => ReplyBody::Table(table(read)),
            ReplyBody::NotDue(read) => ReplyBody::NotDue(table(read)),
            ReplyBody::Advanced(read) => ReplyBody::Advanced(table(read)),
            ReplyBody::Busy { table: read, retry_after } => {
                ReplyBody::Busy { table: table(read), retry_after: *retry_after }
            }
            // An agent goes on alike whatever the reason is.
            ReplyBody::Refused { table: read, .. } => {
                ReplyBody::Refused { table: table(read), why: Refusal::NotHolder }
            }
            ReplyBody::Granted { grant, table: read } => ReplyBody::Granted {
                table: table(read),
                grant: Grant {
                    token: names.token(grant.token),
                    granted_at: names.on_line(line, grant.granted_at),
                    due: grant.due.map(|due| names.on_line(line, due)),
                },
            },
            ReplyBody::Route(found) => ReplyBody::Route(route(names, found)),
            other => other.clone(),
        };
        Reply {
            number: names.number(agent, reply.incarnation, reply.number),
            incarnation: names.incarnation(agent, reply.incarnation),
            stamp: Stamp {
                timeline: names.timeline(line),
                echo: names.local(reply.stamp.echo),
                received: names.reading(line, reply.stamp.received),
                answered: names.reading(line, reply.stamp.answered),
            },
            body,
        }
    }
}
