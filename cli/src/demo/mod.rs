//! `downbeat demo`: a server and some agents with wrong clocks in one process, real data, and readers
//! that see the agents go over to each day at the same instant. All of it is traced; at the end
//! `downbeat-trace` replays the traces and judges by them which properties of PROTOCOL §10 held. `--break`
//! shows what a guard is for.
//!
//! | file | what lives there |
//! |---|---|
//! | `scene` | what is played: the ordinary demo, and a scene for each guard that can be switched off |
//! | `cast`, `relay` | the agents and what is wrong with them; the slow link |
//! | `stage`, `timeline` | the embedded server, and its clock that the demo knows exactly |
//! | `rates` | the data, and what a day of it is |
//! | `watcher` | the readers |
//! | `ledger`, `cycle` | what is known of each epoch; a cycle as it was measured |
//! | `traces` | what core was given and answered, what readers saw, and what the judge says of it |
//! | `conduct`, `screen` | the course of it; what people see |

mod cast;
mod conduct;
mod cycle;
mod ledger;
mod rates;
mod relay;
mod scene;
mod screen;
mod stage;
mod timeline;
mod traces;
mod watcher;

use crate::agent::ModeName;
use crate::failure::Failure;
use crate::serve::Signals;
use crate::show;
use clap::Args;
use conduct::Conductor;
use downbeat_core::time::Span;
use ledger::Ledger;
use rates::Rates;
use scene::{Break, Scene};
use screen::Screen;
use serde_json::json;
use stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use traces::Names;
use watcher::Watcher;

/// Shows a farm of agents with wrong clocks that go over to each new day at the same instant
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// What agents do where they can't prove what is live
    #[arg(long, value_enum, default_value = "prompt")]
    mode: ModeName,
    /// How many agents
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=200))]
    agents: u16,
    /// Ends after so many cycles
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    cycles: u16,
    /// Time between activations
    #[arg(long, default_value = "2s", value_parser = show::parse_span)]
    interval: i64,
    /// Begins with this day (year-month-day) instead of any
    #[arg(long)]
    day: Option<String>,
    /// Prints one JSON object at the end, and nothing else
    #[arg(long)]
    json: bool,
    /// Switches one guard off, in a scene and a mode in which it matters
    #[arg(long = "break", value_enum, value_name = "GUARD")]
    broken: Option<Break>,
    /// Plays the scene of --break with the guard on
    #[arg(long, requires = "broken", hide = true)]
    guarded: bool,
}

impl Demo {
    /// Plays it.
    ///
    /// # Errors
    /// A property was broken, or the demo could not be played.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let interval = Span::from_nanos(self.interval);
        let far = self.broken == Some(Break::NoDueCheck);
        let interval = if far { interval.max(Span::from_secs(3)) } else { interval };
        let settings = stage::settings(interval, far)?;
        let agents = usize::from(self.agents);
        let scene = match self.broken {
            Some(broken) => Scene::broken(broken, self.guarded, agents, interval),
            None => Scene::ordinary(self.mode.mode(), agents),
        };
        let rates = Rates::load();
        let next_day = self.first_day(&rates)?;
        let stage = Stage::start(settings, scene.server_guards, scene.own_agent)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::own(format!("the host gives no threads ({error})")))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let (signals, flag) = (runtime.block_on(async { Signals::new() })?, interrupted.clone());
        // So that the temporary folder is removed then, too.
        runtime.spawn(async move {
            signals.wait().await;
            flag.store(true, Ordering::Relaxed);
        });
        let mut members = Vec::new();
        for role in scene.roles.clone() {
            let recorder = stage.traces().of(&role.name)?;
            members.push(runtime.block_on(role.start(
                stage.control(),
                stage::FARM,
                scene.common,
                recorder,
            ))?);
        }
        let readers =
            members.iter().map(|member| (member.agent.reader(), member.agent.incarnation())).collect();
        let notes = stage.traces().of("readers")?;
        let watcher = Watcher::start(readers, notes.clone())
            .map_err(|error| Failure::own(format!("the readers' thread can't be started ({error})")))?;
        let mut screen = Screen::new(self.json);
        self.open(&mut screen, &scene, interval);
        screen.introduce(&members);
        let events = stage.events()?;
        let mut conductor = Conductor {
            stage,
            scene,
            members,
            watcher,
            events,
            rates,
            screen,
            fed: None,
            next_day,
            staged_day: "no day yet",
            wanted: u64::from(self.cycles),
            ledger: Ledger::default(),
            cycles: Vec::new(),
            closed: 0,
            interrupted,
            acted: None,
            notes,
        };
        let made = conductor.stage.made.clone();
        conductor.staged(&made)?;
        let played = conductor.play();
        self.end(conductor, played, &runtime)
    }

    fn first_day(&self, rates: &Rates) -> Result<usize, Failure> {
        match &self.day {
            None => {
                // Another stretch of the data each time.
                let now = jiff::Timestamp::now().as_second().unsigned_abs() as usize;
                Ok(now.wrapping_mul(7_919) % rates.len().saturating_sub(usize::from(self.cycles) + 8).max(1))
            }
            Some(date) => (0..rates.len()).find(|number| rates.day(*number).date == date).ok_or_else(|| {
                Failure::Usage(format!(
                    "there are no rates of {date:?}: name a business day from {} to {}, as year-month-day",
                    rates.day(0).date,
                    rates.day(rates.len() - 1).date
                ))
            }),
        }
    }

    fn open(&self, screen: &mut Screen, scene: &Scene, interval: Span) {
        let mode =
            if scene.common.mode == ModeName::Strict.mode() { ModeName::Strict } else { ModeName::Prompt };
        screen.say(&format!(
            "A data server and {} agents in {} mode, a day of the European Central Bank's rates every {}.",
            scene.roles.len(),
            mode.text(),
            show::span(interval.as_nanos())
        ));
        if !scene.title.is_empty() {
            screen.say(&format!("Scene: {}.", scene.title));
        }
    }

    /// The judgement, the summary, and whether all was well. What was broken counts, however the play
    /// ended.
    fn end(
        &self,
        conductor: Conductor,
        played: Result<(), Failure>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(), Failure> {
        let Conductor { cycles, scene, mut screen, members, watcher, stage, .. } = conductor;
        let tracks = watcher.end();
        let names = Names::of(&members);
        for member in members {
            runtime.block_on(member.stop());
        }
        let told = stage.close(|traces| traces.judge(&names))?;
        let mode = if scene.common.mode == ModeName::Strict.mode() { "strict" } else { "prompt" };
        screen.summary(&cycles, &told, &tracks);
        if self.json {
            let all: Vec<_> = cycles.iter().map(cycle::Cycle::json).collect();
            show::json(
                &json!({ "mode": mode, "violations": told.violations(), "cycles": all, "replay": told.json() }),
            );
        } else {
            told.broken.iter().skip(1).for_each(|broken| println!("also: {broken}"));
        }
        if let Some(first) = told.broken.first() {
            return Err(Failure::Broken { text: format!("broken: {first}"), told: self.json });
        }
        played?;
        if self.broken.is_some() && !self.guarded {
            return Err(Failure::refused(
                "the guard is off, and no property was seen broken",
                "play it again with more --cycles",
            ));
        }
        Ok(())
    }
}
