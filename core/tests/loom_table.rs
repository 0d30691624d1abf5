//! Every interleaving of several connections that work on one table: two agents that both saw T
//! passed, an operator who holds the farm and lets it go, a reader whose `Read` renews the promise,
//! and the server's clock, by which a lease ends between grant and advance.
//!
//! What runs is core's `transition` and `operator` in the order in which `server/src/shared.rs` has
//! them: an answer from the table as last published where nothing is to be written, else one
//! transaction that holds the row, reads the clock, decides, writes, publishes. The store itself is
//! SQLite's and not here: a transaction is a mutex held from the reading of the row to its write.
//! Each seeded bug breaks this shape and must be refuted. Run by `.ci/loom`. Bounds: three
//! connections of two requests each, one step of the clock; preemptions as written at each test.
#![cfg(downbeat_loom)]

use downbeat_core::guard::{Guard, Guards};
use downbeat_core::ids::{AgentId, Digest, Epoch, Incarnation, Name, RequestId, TimelineId, Token};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::operator::{hold, unhold};
use downbeat_core::server::{Facts, Verdict, answer_from_snapshot, transition};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::{SyncTable, next_activation};
use downbeat_core::time::{ServerTime, Span};
use loom::model::Builder;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;

/// T of the first generation.
const T: ServerTime = ServerTime::from_nanos(1_000_000_000_000);
/// When the connections begin, in seconds after T: late enough for a renewal.
const BEGIN: u32 = 40;
/// When a lease that was granted at the beginning is over, and a promise made then is worth a renewal.
const LATER: u32 = 60;

fn after(seconds: u32) -> ServerTime {
    T + Span::from_secs(seconds.into())
}

/// A record is due at every instant, so the next activation is as early as it can be: right at the
/// promise, or right after the lead.
struct Content;
impl Facts for Content {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        Some(at_or_after)
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(Digest([2; 32]))
    }
}

/// What was committed, in the order of the commits, at the instants of the clock that held then.
#[derive(Clone, Copy, Debug)]
enum Committed {
    Granted { token: Token, granted_at: ServerTime, expires: ServerTime, staged_t: ServerTime },
    Advanced { token: Token, epoch: Epoch, activation: ServerTime },
    Held,
}

struct Row {
    table: SyncTable,
    log: Vec<(ServerTime, Committed)>,
}

/// One farm of a server.
struct Server {
    clock: AtomicU32,
    row: Mutex<Row>,
    /// The table as last committed.
    published: Mutex<SyncTable>,
}

/// What somebody was told: epoch k and the promise P_k.
type Told = (Epoch, ServerTime);

impl Server {
    fn new() -> Arc<Server> {
        let name = Name::new("f").unwrap();
        let (settings, limits) = (Settings::default(), Limits::default());
        let due = Some(T + settings.lead);
        let table =
            SyncTable::new_farm(name, TimelineId::default(), Digest([1; 32]), settings, limits, due, T)
                .unwrap();
        Arc::new(Server {
            clock: AtomicU32::new(BEGIN),
            published: Mutex::new(table.clone()),
            row: Mutex::new(Row { table, log: Vec::new() }),
        })
    }

    fn now(&self) -> ServerTime {
        after(self.clock.load(Ordering::Relaxed))
    }

    /// One transaction: `change_in` of the server.
    fn change<R>(
        &self,
        decide: impl FnOnce(&SyncTable, ServerTime) -> (SyncTable, R, Option<Committed>),
    ) -> R {
        let early = cfg!(downbeat_bug = "clock_before_row").then(|| self.now());
        let mut row = self.row.lock().unwrap();
        let now = self.now();
        let read = row.table.clone();
        if cfg!(downbeat_bug = "torn_transaction") {
            drop(row);
            let (table, reply, committed) = decide(&read, now);
            row = self.row.lock().unwrap();
            row.table = table;
            row.log.extend(committed.map(|committed| (now, committed)));
            return reply;
        }
        let (table, reply, committed) = decide(&read, early.unwrap_or(now));
        row.log.extend(committed.map(|committed| (now, committed)));
        if table != read {
            row.table = table.clone();
            // The thread that commits also publishes, in the same order.
            *self.published.lock().unwrap() = table;
        }
        reply
    }

    /// `Shared::ask` of the server.
    fn ask(&self, id: RequestId, request: &RequestBody) -> ReplyBody<u16> {
        let snapshot = matches!(request, RequestBody::Read)
            .then(|| (self.published.lock().unwrap().clone(), self.now()));
        if let Some((table, now)) = snapshot {
            if cfg!(downbeat_bug = "renewal_unwritten") {
                // A reading connection makes the renewal on its own copy.
                return transition(&table, id, request, now, &Content, Guards::ALL).unwrap().reply;
            }
            if let Some(reply) = answer_from_snapshot(&table, request, now) {
                return reply;
            }
        }
        self.change(|table, now| {
            let done = transition::<u16>(table, id, request, now, &Content, Guards::ALL).unwrap();
            let committed = match (&done.reply, done.table.lock) {
                (ReplyBody::Granted { grant, .. }, Some(lock)) if table.lock != done.table.lock => {
                    Some(Committed::Granted {
                        token: grant.token,
                        granted_at: lock.granted_at,
                        expires: lock.expires,
                        staged_t: table.activation,
                    })
                }
                (ReplyBody::Advanced(view), _) => {
                    let RequestBody::Advance { token, .. } = request else { unreachable!() };
                    let (epoch, activation) = (view.staged.epoch, view.activation);
                    Some(Committed::Advanced { token: *token, epoch, activation })
                }
                _ => None,
            };
            (done.table, done.reply, committed)
        })
    }

    /// What an agent that saw T passed does over its connection.
    fn initiate(&self, agent: u8) {
        let id = |number| RequestId { agent: AgentId([agent; 16]), incarnation: Incarnation(7), number };
        let ReplyBody::Granted { grant, table } = self.ask(id(1), &RequestBody::Lock) else { return };
        let activation = next_activation(&table, grant.due, grant.granted_at);
        self.ask(id(2), &RequestBody::Advance { token: grant.token, activation });
    }

    /// What an agent that only reads is told.
    fn read(&self) -> Told {
        let id = RequestId { agent: AgentId([9; 16]), incarnation: Incarnation(7), number: 1 };
        let ReplyBody::Table(table) = self.ask(id, &RequestBody::Read) else { unreachable!() };
        (table.staged.epoch, table.next_earliest)
    }

    /// An operator holds the farm until long after what could be granted now, and then lets it go.
    fn hold_and_unhold(&self) -> Told {
        let until = Some(after(BEGIN + 300));
        if cfg!(downbeat_bug = "hold_in_two") {
            self.change(|table, _| (SyncTable { lock: None, ..table.clone() }, (), Some(Committed::Held)));
        }
        let told = self.change(|table, now| {
            let once = !cfg!(downbeat_bug = "hold_in_two");
            let guards = if once { Guards::ALL } else { Guards::ALL.without(Guard::HoldClearsLock) };
            let held = hold(table, until, now, guards).expect("within max_hold");
            let told = (held.epoch(), held.next_earliest);
            (held, told, once.then_some(Committed::Held))
        });
        self.change(|table, _| (unhold(table), (), None));
        told
    }

    /// S1 to S4 over everything that was committed and told.
    fn judge(&self, told: &[Told]) {
        let row = self.row.lock().unwrap();
        let lead = row.table.settings.lead;
        let (mut epoch, mut last_token) = (1, 0);
        // The grant that nothing has released, with its lease and T of what was staged.
        let mut live: Option<(Token, ServerTime, ServerTime)> = None;
        for (now, committed) in &row.log {
            match *committed {
                Committed::Granted { token, granted_at, expires, staged_t } => {
                    assert!(
                        live.is_none_or(|(_, _, expires)| expires <= *now),
                        "S2 lock_exclusive: {:?}",
                        row.log
                    );
                    assert!(token > last_token, "S2 lock_exclusive: tokens {last_token}, {token}");
                    assert!(granted_at >= staged_t, "S1 single_initiator: granted before T");
                    last_token = token;
                    live = Some((token, granted_at, expires));
                }
                Committed::Advanced { token, epoch: to, activation } => {
                    assert_eq!(to, epoch + 1, "S1 single_initiator: {:?}", row.log);
                    let (holder, granted_at, expires) = live.take().expect("S3 fenced_writes: no grant");
                    assert_eq!(token, holder, "S3 fenced_writes: another's token");
                    assert!(expires > *now, "S3 fenced_writes: {expires:?} had passed at {now:?}");
                    assert!(activation >= granted_at + lead, "S4 activation_arithmetic");
                    let promised =
                        told.iter().filter(|(of, _)| *of == epoch).map(|(_, promise)| *promise).max();
                    assert!(
                        promised.is_none_or(|promise| activation >= promise),
                        "S4 activation_arithmetic: {activation:?} before the promise {promised:?}"
                    );
                    epoch = to;
                }
                Committed::Held => live = None,
            }
        }
        assert_eq!(
            (row.table.epoch(), row.table.last_token),
            (epoch, last_token),
            "what was committed is gone"
        );
    }
}

fn model(preemptions: Option<usize>, claim: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(claim);
}

fn beside<R: 'static>(
    server: &Arc<Server>,
    run: impl FnOnce(&Server) -> R + 'static,
) -> thread::JoinHandle<R> {
    let server = server.clone();
    thread::spawn(move || run(&server))
}

/// Two agents, and nothing else; every execution.
#[test]
fn one_initiator_and_one_grant_at_a_time() {
    model(None, || {
        let server = Server::new();
        let other = beside(&server, |server| server.initiate(1));
        server.initiate(2);
        other.join().unwrap();
        server.judge(&[]);
        // Nobody died and no lease ended.
        assert_eq!(server.row.lock().unwrap().table.epoch(), 2);
    });
}

/// Two agents, and an operator who holds the farm beside their grants: a grant that a hold cleared
/// begins nothing (S4: what the hold promised stands). At most three preemptions.
#[test]
fn a_hold_beside_grants_keeps_its_promise() {
    model(Some(3), || {
        let server = Server::new();
        let agents = [1, 2].map(|agent| beside(&server, move |server| server.initiate(agent)));
        let told = server.hold_and_unhold();
        agents.into_iter().for_each(|agent| agent.join().unwrap());
        server.judge(&[told]);
    });
}

/// Two agents, a lease that may end between grant and advance, and a reader whose read renews the
/// promise where no grant is live. At most three preemptions.
#[test]
fn nothing_is_written_after_the_lease_and_no_promise_is_broken() {
    model(Some(3), || {
        let server = Server::new();
        let agents = [1, 2].map(|agent| beside(&server, move |server| server.initiate(agent)));
        server.clock.store(LATER, Ordering::Release);
        let told = server.read();
        agents.into_iter().for_each(|agent| agent.join().unwrap());
        server.judge(&[told]);
    });
}
