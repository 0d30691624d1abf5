//! What is played: the ordinary demo, or a scene in which one guard is off and matters. Each scene with
//! the guard on is fine (`--guarded`, and a test): so what falls without it falls for want of it.

use super::cast::{Common, FARTHER, LINK, Role, roles};
use clap::ValueEnum;
use downbeat_core::guard::{Guard, Guards};
use downbeat_core::serving::Mode;
use downbeat_core::time::Span;

/// A guard to switch off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Break {
    /// A strict agent that is cut off serves on past its promise
    NoPromise,
    /// An agent's bounds don't widen with age, and its clock is 1.5 % fast (it was told 2 % at most)
    NoAging,
    /// A strict agent's clock is set back as it is cut off, and nobody looks at a second clock
    ClockStep,
    /// The server grants a lock without looking whether T has passed
    NoDueCheck,
}

/// What happens to one agent after the first cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Act {
    /// Which agent.
    pub(crate) agent: usize,
    /// By how much its clock is stepped.
    pub(crate) step: Option<Span>,
}

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) roles: Vec<Role>,
    pub(crate) common: Common,
    pub(crate) server_guards: Guards,
    pub(crate) own_agent: bool,
    /// After the first cycle its link is cut, and its clock perhaps stepped.
    pub(crate) act: Option<Act>,
    /// Whether a scheduled record is entered.
    pub(crate) schedule: bool,
    /// For people: what is broken.
    pub(crate) title: &'static str,
}

/// The agent behind the slow link, whose relay can be cut.
const FAR: usize = 1;

impl Scene {
    /// The demo as it should be.
    pub(crate) fn ordinary(mode: Mode, agents: usize) -> Scene {
        Scene {
            roles: roles(agents),
            common: Common { mode, guards: Guards::ALL, second_source: true },
            server_guards: Guards::ALL,
            own_agent: true,
            act: None,
            schedule: true,
            title: "",
        }
    }

    /// A scene in which a guard matters; `guarded` leaves it on.
    pub(crate) fn broken(broken: Break, guarded: bool, agents: usize, interval: Span) -> Scene {
        let without = |guard| if guarded { Guards::ALL } else { Guards::ALL.without(guard) };
        let mut scene = Scene { schedule: false, ..Scene::ordinary(Mode::Strict, agents.max(3)) };
        match broken {
            Break::NoPromise => {
                scene.common.guards = without(Guard::Promise);
                scene.act = Some(Act { agent: FAR, step: None });
                scene.title = "the agent 'far' is cut off, and serves on past its promise";
            }
            Break::NoAging => {
                scene.common.mode = Mode::Prompt;
                scene.common.guards = without(Guard::Aging);
                scene.title = "bounds don't widen with age, and the clock of 'zone' is 1.5 % fast";
                let Some(role) = scene.roles.first_mut() else { return scene };
                role.rate_ppm = 15_000;
                role.bound_ppm = 20_000;
                role.wrong = "gains 15,000 ppm, is told 20,000".to_owned();
            }
            Break::ClockStep => {
                scene.common.second_source = guarded;
                let back = Span::from_nanos(-interval.as_nanos() / 2 * 3);
                scene.act = Some(Act { agent: FAR, step: Some(back) });
                scene.title =
                    "the clock of 'far' is set back as it is cut off, and no second clock is looked at";
            }
            Break::NoDueCheck => {
                scene.common.mode = Mode::Prompt;
                scene.server_guards = without(Guard::DueCheck);
                scene.own_agent = false;
                scene.roles.iter_mut().for_each(|role| role.link = Some(LINK));
                // It reads before another agent's advance, and its lock arrives after it.
                if let Some(role) = scene.roles.get_mut(FAR) {
                    role.link = Some(FARTHER);
                    role.wrong = "170 ms round trip; the others 60 ms".to_owned();
                }
                scene.title = "the server grants locks without looking at T, and all agents are far away";
            }
        }
        if guarded {
            scene.title = "the guard is on";
        }
        scene
    }
}
