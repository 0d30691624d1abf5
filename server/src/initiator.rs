//! The agent that the server carries itself (FORMATS "roles"), so that a farm whose agents may only
//! read has cycles. It is core's agent, asked and answered in memory; it decides nothing that any
//! other agent would not, and it holds no content: every generation is whole to it at once.

use crate::farm::Farm;
use crate::shared::{Refused, Shared};
use downbeat_core::agent::{Config, Start};
use downbeat_core::effect::{Effect, Effects, PollAt, Verified};
use downbeat_core::ids::{AgentId, Digest, Incarnation, RequestId};
use downbeat_core::message::{
    ErrorCode, ObjectRef, Reply, ReplyBody, Request, RequestBody, Route, Stamp, ToAgent, VERSION, Welcome,
};
use downbeat_core::serving::Mode;
use downbeat_trace::{Input, Traced};
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
    let start = Start { incarnation, boot, now, page: None, last_good: None };
    let recorder = shared.time.recorder().clone();
    let mut own = Own { agent: Traced::new(recorder, now, &farm.name, config, start), shared, farm };
    let mut stop = own.shared.stop.clone();
    let effects = own.give(&Input::Connected);
    own.carry_out(effects).await;
    loop {
        let wait = own.wait();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(wait) => {}
        }
        let effects = own.give(&Input::Wake);
        own.carry_out(effects).await;
    }
    // A grant that is held is given back (step 232).
    let effects = own.give(&Input::ShutDown);
    own.carry_out(effects).await;
}

struct Own {
    agent: Traced,
    shared: Arc<Shared>,
    farm: Arc<Farm>,
}

impl Own {
    /// Gives the machine an input. Its clock is the host's own.
    fn give(&mut self, input: &Input) -> Effects {
        let now = self.shared.time.local();
        self.agent.give(now, now, input)
    }

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
                    queue.extend(self.give(&Input::Verified { target, found: Verified::Whole }));
                    continue;
                }
                Effect::Copy { .. } => {
                    queue.extend(self.give(&Input::Copied));
                    continue;
                }
                Effect::Event(event) => {
                    tracing::trace!(farm = %self.farm.name, ?event, "own agent");
                    continue;
                }
                Effect::Publish(_) | Effect::Begin { .. } | Effect::Keep { .. } => continue,
            };
            queue.extend(self.give(&Input::Receive(answer)));
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
