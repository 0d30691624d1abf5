//! The agent that the server carries itself (FORMATS "roles"), so that a farm whose agents may only
//! read has cycles. It is core's agent, asked and answered in memory; it decides nothing that any
//! other agent would not, and it holds no content: every generation is whole to it at once.

use crate::farm::Farm;
use crate::shared::{Refused, Shared};
use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::{Effect, Effects, PollAt, Verified};
use downbeat_core::ids::{AgentId, Digest, Incarnation, RequestId};
use downbeat_core::message::{
    ErrorCode, ObjectRef, Reply, ReplyBody, Request, RequestBody, Route, Stamp, ToAgent, VERSION, Welcome,
};
use downbeat_core::serving::Mode;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The id of every server's own agent; its incarnation is random, which is what tells requests apart.
const OWN: AgentId = AgentId(*b"downbeat  server");

/// Runs the server's own agent of a farm until the server ends.
pub(crate) async fn run(shared: Arc<Shared>, farm: Arc<Farm>) {
    let incarnation = match getrandom::u64() {
        Ok(random) => Incarnation(random),
        Err(error) => return tracing::error!(%error, "no random numbers: the server's own agent can't run"),
    };
    let config = Config { samples: 0, reports: false, ..Config::new(OWN, Mode::Prompt) };
    let (boot, now) = (shared.time.boot(), shared.time.local());
    let mut own = Own {
        agent: Agent::new(config, Start { incarnation, boot, now, page: None, last_good: None }),
        shared,
        farm,
    };
    let mut stop = own.shared.stop.clone();
    let effects = own.agent.connected(own.shared.time.local());
    own.carry_out(effects).await;
    loop {
        let wait = own.wait();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(wait) => {}
        }
        let effects = own.agent.wake(own.shared.time.local());
        own.carry_out(effects).await;
    }
    // A grant that is held is given back (step 232).
    let effects = own.agent.shut_down(own.shared.time.local());
    own.carry_out(effects).await;
}

struct Own {
    agent: Agent,
    shared: Arc<Shared>,
    farm: Arc<Farm>,
}

impl Own {
    /// Until the machine wants to be woken; at most a second, since the host's clock is not the
    /// runtime's (a spurious wake-up does no harm).
    fn wait(&self) -> Duration {
        let most = Duration::from_secs(1);
        match self.agent.poll_at() {
            PollAt::Input => most,
            PollAt::At(at) => {
                let span = (at - self.shared.time.local()).or_zero();
                Duration::from_nanos(span.as_nanos().unsigned_abs()).clamp(Duration::from_micros(50), most)
            }
        }
    }

    /// Carries effects out, and those that their answers bring, until there are none.
    async fn carry_out(&mut self, effects: Effects) {
        let mut queue: VecDeque<Effect> = effects.into_iter().collect();
        while let Some(effect) = queue.pop_front() {
            let answer = match effect {
                Effect::Hello => self.welcome(),
                Effect::Send(request) => self.answer(request).await,
                Effect::Verify { target } => {
                    let now = self.shared.time.local();
                    queue.extend(self.agent.verified(now, target, Verified::Whole));
                    continue;
                }
                Effect::Copy { .. } => {
                    queue.extend(self.agent.copied(self.shared.time.local()));
                    continue;
                }
                Effect::Event(event) => {
                    tracing::trace!(farm = %self.farm.name, ?event, "own agent");
                    continue;
                }
                Effect::Publish(_) | Effect::Begin { .. } | Effect::Keep { .. } => continue,
            };
            queue.extend(self.agent.receive(self.shared.time.local(), &answer));
        }
    }

    fn welcome(&self) -> ToAgent<u16> {
        ToAgent::Welcome(Welcome {
            incarnation: self.agent.incarnation(),
            version: VERSION,
            timeline: self.shared.time.timeline(),
            server_rate: self.shared.time.rate(),
            limits: self.farm.table().limits,
            may_lock: true,
        })
    }

    async fn answer(&self, request: Request) -> ToAgent<u16> {
        let incarnation = request.incarnation;
        let received = self.shared.time.reading();
        let body = match self.body(&request).await {
            Ok(Some(body)) => body,
            Ok(None) => ReplyBody::Noted,
            Err(refused) => {
                if let Refused::Store(error) = refused {
                    tracing::warn!(farm = %self.farm.name, %error, "the server's own agent was refused");
                }
                return ToAgent::Error { incarnation, code: ErrorCode::Busy };
            }
        };
        let answered = self.shared.time.reading();
        if !received.allowed || !answered.allowed {
            return ToAgent::Error { incarnation, code: ErrorCode::Busy };
        }
        let stamp = Stamp {
            timeline: answered.timeline,
            echo: request.sent,
            received: received.time,
            answered: answered.time,
        };
        ToAgent::Reply(Reply { incarnation, number: request.number, stamp, body })
    }

    async fn body(&self, request: &Request) -> Result<Option<ReplyBody<u16>>, Refused> {
        if let RequestBody::Route { .. } = request.body {
            // An object without bytes: there is nothing to fetch.
            let mut route = Route::default();
            let pushed = route.objects.push(ObjectRef { name: Digest::default(), len: 0 });
            debug_assert!(pushed.is_ok(), "an empty route has room");
            return Ok(Some(ReplyBody::Route(route)));
        }
        let id = RequestId { agent: OWN, incarnation: request.incarnation, number: request.number };
        self.shared.ask(&self.farm, id, request.body.clone()).await
    }
}
